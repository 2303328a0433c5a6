//! A client process that is stopped for longer than its lease lasts, and resumes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, Loss, Released, RunError};
use rustix::process::{Pid, Signal, kill_process};

use crate::holding::keeper_of;
use crate::support::{client, own_process, value};

const TEST: &str = "stopped::a_process_that_was_stopped_learns_at_its_first_step_that_it_has_lost";
/// The environment variable with the nodes, when the test starts itself as the client.
const NODES: &str = "REDLOCK_TEST_STOPPED_NODES";
/// The environment variable with a file that exists once the other client has acquired its locks.
const TAKEN: &str = "REDLOCK_TEST_STOPPED_TAKEN";

const WORKED_UNDER: &str = "worked under";
const LOOKED_AT: &str = "looked at";
const READY: &str = "both are held";

/// The pause between two steps, in which the process is to be stopped.
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn a_process_that_was_stopped_learns_at_its_first_step_that_it_has_lost() {
    match std::env::var(NODES) {
        Ok(nodes) => hold(&nodes, Path::new(&std::env::var(TAKEN).unwrap())),
        Err(_) => stop_and_let_go_on(),
    }
}

fn stop_and_let_go_on() {
    let cluster = LocalCluster::start(3).unwrap();
    let taken = cluster.directory().join("taken");
    let mut process = own_process(TEST)
        .env(NODES, cluster.urls().join(","))
        .env(TAKEN, &taken)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(READY)));
    kill_process(Pid::from_child(&process), Signal::STOP).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let redlock = runtime.block_on(client(cluster.urls()));
    let guards = [WORKED_UNDER, LOOKED_AT].map(|name| {
        let guard = runtime.block_on(redlock.mutex(name).unwrap().lock()).unwrap();
        (name, guard)
    });
    std::fs::write(&taken, "").unwrap();
    kill_process(Pid::from_child(&process), Signal::CONT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(process.wait().unwrap().success(), "{rest:#?}");
    for (name, guard) in guards {
        // The resumed client has released its own keys, and nothing else.
        assert!((0..3).any(|node| value(&cluster, node, name).as_deref() == Some(guard.token())), "{name}");
        assert_eq!(runtime.block_on(guard.release()), Ok(Released::InTime), "{name}");
    }
}

/// The client process. A plain thread checks one lock, and work is done under the other.
fn hold(nodes: &str, taken: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let redlock = keeper_of(nodes.split(',')).await;
        let guard = redlock.mutex(LOOKED_AT).unwrap().lock().await.unwrap();
        let looker = std::thread::spawn({
            let taken = taken.to_owned();
            move || look(&guard, &taken)
        });
        let mut steps = 0;
        let ended = redlock
            .mutex(WORKED_UNDER)
            .unwrap()
            .run(async |_| -> Result<(), ()> {
                println!("{READY}");
                loop {
                    tokio::time::sleep(PAUSE).await;
                    // If the process was stopped before the sleep's first poll, the sleep is over at once.
                    tokio::task::yield_now().await;
                    // The first step after the stop would find the file.
                    assert!(!taken.exists(), "a step of the body, after {steps}");
                    steps += 1;
                }
            })
            .await;
        assert!(matches!(ended, Err(RunError::Lost(Loss::Expired { .. }))), "{ended:?}");
        assert!(taken.exists(), "lost only by the pause, after {steps} steps of {PAUSE:?}");
        looker.join().unwrap();
    });
}

fn look(guard: &Guard, taken: &Path) {
    loop {
        // The file is checked first: if it exists, the lease had ended before the next question.
        let taken = taken.exists();
        let valid = guard.is_valid();
        assert!(!(taken && valid), "valid, and {:?} left", guard.remaining());
        if taken {
            assert!(guard.remaining().is_zero());
            assert!(guard.cancellation_token().is_cancelled());
            return;
        }
        std::thread::sleep(PAUSE);
    }
}
