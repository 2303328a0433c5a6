//! Runs the fuzz targets on a few inputs, so that they are built and pass in every test run. `make fuzz` runs them for
//! a minute, guided by coverage.

#![cfg(all(feature = "config", feature = "tls"))]

use std::fs;
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../fuzz/targets/replies.rs"]
mod replies;
#[path = "../fuzz/targets/settings.rs"]
mod settings;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A runtime catches the panics of its tasks, so they are counted by a hook.
fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
}

/// The scripted nodes know the client's commands: if no reply is odd, the client gets its locks.
#[test]
fn nodes_in_order_grant_locks() {
    // Long leases. The short leases of the target may expire before they begin on a busy machine.
    assert_eq!(replies::run_with(&[], Duration::from_secs(10)), 2);
}

fn check(target: fn(&[u8]), data: &[u8]) {
    count_panics();
    let before = PANICS.load(Ordering::SeqCst);
    target(data);
    assert_eq!(PANICS.load(Ordering::SeqCst), before, "a task has panicked");
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = fs::read_dir(directory).expect("there are seeds");
    files.map(|file| fs::read(file.expect("a file").path()).expect("it can be read")).collect()
}

#[test]
fn the_seeds_hold() {
    for (name, target) in [("settings", settings::run as fn(&[u8])), ("replies", replies::run)] {
        let seeds = seeds(name);
        assert!(seeds.len() > 1, "{name}");
        seeds.iter().for_each(|seed| check(target, seed));
    }
}

proptest! {
    #[test]
    fn settings_of_any_bytes(data in vec(any::<u8>(), 0..400)) {
        check(settings::run, &data);
    }

    /// Mostly regular replies, so that odd ones are met after the handshake, too.
    #[test]
    fn replies_of_any_bytes(data in vec(prop_oneof![9 => Just(0_u8), 1 => any::<u8>()], 0..1000)) {
        check(replies::run, &data);
    }
}
