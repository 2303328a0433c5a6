//! Schedules of those who change a value and those who wait for it.

use std::sync::Arc;

use shuttle::{future, thread};

use super::*;
use crate::schedules::{ALL_WAIT, explore, explore_all, finds};

/// Sets 1 and 2 beside waiters for these numbers.
fn changes_beside(numbers: &[u8], waiter: fn(&Published<u8>, u8)) {
    let value = Arc::new(Published::new(0));
    let waiting = |least: &u8| {
        let (value, least) = (Arc::clone(&value), *least);
        thread::spawn(move || waiter(&value, least))
    };
    let waiting: Vec<_> = numbers.iter().map(waiting).collect();
    value.set(1);
    value.change_if(|value| {
        *value = 2;
        true
    });
    waiting.into_iter().for_each(|waiter| waiter.join().unwrap());
}

fn wait(value: &Published<u8>, least: u8) {
    future::block_on(value.wait_for(|value| *value >= least));
}

#[test]
fn no_change_is_missed() {
    explore_all(|| changes_beside(&[2], wait));
    explore(|| changes_beside(&[1, 2, 2], wait));
}

#[test]
fn no_version_is_missed() {
    explore_all(|| {
        let value = Arc::new(Published::new(()));
        let version = value.version();
        let waiting = Arc::clone(&value);
        let waiter = thread::spawn(move || future::block_on(waiting.changed_since(version)));
        value.set(());
        waiter.join().unwrap();
        assert_eq!(value.version(), version + 1);
    });
}

/// The search can fail: it finds a waiter that looks first and listens then.
#[test]
fn a_waiter_that_listens_too_late_is_found() {
    finds(ALL_WAIT, || {
        changes_beside(&[2], |value, least| {
            future::block_on(async {
                while value.with(|value| *value < least) {
                    value.changed.notified().await;
                }
            });
        });
    });
}
