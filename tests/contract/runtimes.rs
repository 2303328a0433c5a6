//! Clients that are used in another tokio runtime than the one in which they were connected, like a static client in
//! several `#[tokio::test]`s. Connections and keeper live in the first runtime, and end with it.

use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, LockError, Loss, NodeFailure, Redlock, Released, Retry, RunError};
use tokio::runtime::{Builder, Runtime};

use crate::support::{LONG, SLACK, builder, client, eventually, now, queues};
use crate::waiting::KEY;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The client's runtime, the holder's runtime, and a client that keeps its locks alive.
fn scene(cluster: &LocalCluster) -> (Runtime, Runtime, Redlock) {
    let (home, guest) = (runtime(), runtime());
    let redlock = home.block_on(builder(cluster.urls()).keep_alive(true).connect()).unwrap();
    (home, guest, redlock)
}

fn hold(runtime: &Runtime, redlock: &Redlock, name: &str) -> Guard {
    runtime.block_on(redlock.mutex(name).unwrap().lock()).unwrap()
}

/// Runs the future to its end.
///
/// # Panics
///
/// If the future does not end within [`SLACK`], or if only the poll after the timeout would find it ready.
fn ends<T>(runtime: &Runtime, what: &str, future: impl Future<Output = T>) -> T {
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            () = tokio::time::sleep(SLACK) => None,
            ended = future => Some(ended),
        }
    });
    ended.unwrap_or_else(|| panic!("{what} goes on for ever"))
}

/// The bug: the keeper lived in the client's runtime, and `lost`, the token and `run` were silent for ever.
#[test]
fn leases_end_with_the_runtime_of_their_client_and_everybody_is_told() {
    let cluster = LocalCluster::start(3).unwrap();
    let (home, guest, redlock) = scene(&cluster);
    let (watched, told) = (hold(&guest, &redlock, "watched"), hold(&guest, &redlock, "told"));
    let (token, mutex) = (told.cancellation_token(), redlock.mutex("run").unwrap());
    let (begun, begins) = tokio::sync::oneshot::channel();
    let run = guest.spawn(async move {
        let body = async |_: &Guard| {
            begun.send(()).unwrap();
            std::future::pending::<Result<(), ()>>().await
        };
        mutex.run(body).await
    });
    guest.block_on(begins).unwrap();
    let losing = guest.spawn(async move { (watched.lost().await, watched) });
    drop(home);
    ends(&guest, "the token", token.cancelled());
    let (loss, watched) = ends(&guest, "lost", losing).unwrap();
    assert_eq!(loss, Loss::RuntimeEnded { resource: "watched".into() });
    assert!(loss.to_string().contains("connect once in each runtime"), "{loss}");
    let ended = ends(&guest, "run", run).unwrap();
    assert!(matches!(ended, Err(RunError::Lost(Loss::RuntimeEnded { .. }))), "{ended:?}");
    assert!(!watched.is_valid() && !told.is_valid());
    assert_eq!(redlock.stats().lost.runtime_ended, 3);
    assert_eq!(redlock.stats().leases_held, 0);
}

/// A runtime on one thread runs only while something blocks on it. The bug: the keeper's timer stopped with it.
#[test]
fn a_deadline_is_told_while_the_runtime_of_the_client_stands_still() {
    let cluster = LocalCluster::start(3).unwrap();
    let home = Builder::new_current_thread().enable_all().build().unwrap();
    let redlock = home.block_on(client(cluster.urls()));
    let mutex = redlock.mutex(KEY).unwrap().ttl(Duration::from_millis(300)).min_validity(Duration::ZERO);
    let guard = home.block_on(mutex.lock()).unwrap();
    let guest = runtime();
    let loss = ends(&guest, "lost", guard.lost());
    assert!(matches!(loss, Loss::Expired { .. }), "{loss}");
    let guard = home.block_on(mutex.max_wait(SLACK).lock()).unwrap();
    // A future that moves to another runtime takes its timer along.
    let mut lost = Box::pin(guard.lost());
    let first = runtime();
    first.block_on(async {
        tokio::select! {
            biased;
            loss = &mut lost => panic!("{loss}"),
            () = std::future::ready(()) => {}
        }
    });
    drop(first);
    assert!(matches!(ends(&guest, "lost", lost), Loss::Expired { .. }));
}

/// The bug: no node had a failure, and every lock failed with "no quorum" because of broken pipes, after `max_wait`.
#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    let cluster = LocalCluster::start(3).unwrap();
    let (home, guest, redlock) = scene(&cluster);
    let [released, mut extended, dropped] = ["1", "2", "3"].map(|name| hold(&guest, &redlock, name));
    drop(home);
    let failures = || redlock.nodes().into_iter().map(|node| node.failure().cloned()).collect::<Vec<_>>();
    assert_eq!(failures(), vec![Some(NodeFailure::RuntimeEnded); 3]);
    let advice = NodeFailure::RuntimeEnded.to_string();
    assert!(advice.contains("connect once in each runtime"), "{advice}");

    let mutex = redlock.mutex(KEY).unwrap().max_wait(LONG);
    let polling = mutex.clone().retry(Retry::exponential(SLACK, SLACK));
    for attempt in [
        ends(&guest, "lock", mutex.lock()),
        ends(&guest, "lock by trying", polling.lock()),
        ends(&guest, "try_lock", mutex.try_lock()),
    ] {
        let error = attempt.unwrap_err();
        assert_eq!(error, LockError::RuntimeEnded);
        assert!(error.to_string().contains("connect once in each runtime"), "{error}");
    }
    let extended = ends(&guest, "extend", extended.extend(LONG));
    assert!(extended.is_err());
    assert_eq!(ends(&guest, "release", released.release()), Ok(Released::AlreadyExpired));
    // None of these needs a runtime.
    drop(dropped);
    let inspection = ends(&guest, "inspect", redlock.inspect(KEY)).unwrap();
    drop(inspection);
    let surveyed = ends(&guest, "survey", redlock.survey());
    assert!(surveyed.iter().all(|node| node.failure() == Some(&NodeFailure::RuntimeEnded)));
    ends(&guest, "shutdown", redlock.shutdown());
    assert_eq!(ends(&guest, "lock", mutex.lock()).unwrap_err(), LockError::ShutDown);

    // Each client in a runtime of its own, as it should be.
    for _ in 0..2 {
        let home = runtime();
        let redlock = home.block_on(client(cluster.urls()));
        assert_eq!(home.block_on(hold(&home, &redlock, "own").release()), Ok(Released::InTime));
    }
}

/// All operations that are under way end with the runtime.
#[test]
fn what_is_under_way_ends_with_the_runtime() {
    let cluster = LocalCluster::start(3).unwrap();
    let other = runtime();
    let holder = other.block_on(client(cluster.urls()));
    let held = hold(&other, &holder, KEY);
    let (home, guest, redlock) = scene(&cluster);
    let mutex = redlock.mutex(KEY).unwrap().max_wait(LONG);
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let mutex = mutex.clone();
            guest.spawn(async move { mutex.lock().await.map(drop) })
        })
        .collect();
    let queued = || (0..3).any(|node| !queues(&cluster, node).is_empty());
    guest.block_on(eventually(SLACK, "it is in the queue", queued));
    // Hung nodes delay a release.
    let guard = hold(&guest, &redlock, "released");
    (0..3).for_each(|node| cluster.pause(node).unwrap());
    let mut releasing = Box::pin(guard.release());
    assert!(guest.block_on(async { futures::poll!(&mut releasing) }).is_pending());
    let releasing = guest.spawn(releasing);
    let surveying = {
        let redlock = redlock.clone();
        guest.spawn(async move { redlock.survey().await })
    };
    let started = now();
    drop(home);
    for wait in waits {
        assert_eq!(ends(&guest, "a wait", wait).unwrap(), Err(LockError::RuntimeEnded));
    }
    assert!(ends(&guest, "a release", releasing).unwrap().is_err());
    assert!(ends(&guest, "a survey", surveying).unwrap().iter().all(|node| node.failure().is_some()));
    ends(&guest, "shutdown", redlock.shutdown());
    assert!(started.elapsed() < SLACK);
    (0..3).for_each(|node| cluster.resume(node).unwrap());
    assert_eq!(ends(&other, "the holder's release", held.release()), Ok(Released::InTime));
}

/// A static client: the last test of a binary leaves its locks to the end of a runtime.
#[test]
fn guards_may_be_dropped_by_the_runtime_that_ends() {
    let cluster = LocalCluster::start(1).unwrap();
    for round in 0..20 {
        let home = runtime();
        let redlock = home.block_on(client(cluster.urls()));
        for task in 0..10 {
            let mutex = redlock.mutex(format!("{round}-{task}")).unwrap();
            home.spawn(async move {
                let guard = mutex.lock().await.unwrap();
                let _ = guard.lost().await;
            });
        }
        drop(home);
        assert_eq!(redlock.nodes()[0].failure(), Some(&NodeFailure::RuntimeEnded));
        assert_eq!(redlock.stats().leases_held, 0);
    }
}
