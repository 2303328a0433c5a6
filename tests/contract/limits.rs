//! The bounds of every setting, and the end of a client.

use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{ExtendError, LockError, Loss, NodeFailure, Redlock, Released, Retry, SettingsError};

use crate::support::{
    LONG, SLACK, builder, calls, client, contended, eventually, lost, no_quorum, now, plant, pttl, value,
};

const KEY: &str = "job";
/// A short wait, but longer than a machine stands still: an attempt that is cut short says nothing of the other owner.
const SHORT: Duration = Duration::from_secs(2);

/// redis-lock: seconds instead of milliseconds, so that a lock of 10 s lived for hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ttl_on_the_nodes_is_the_one_asked_for() {
    let cluster = LocalCluster::start(1).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut guard = redlock.mutex(KEY).unwrap().ttl(LONG).lock().await.unwrap();
    let lives = pttl(&cluster, 0, KEY);
    assert!(lives <= LONG && lives > LONG - SLACK, "{lives:?}");
    guard.extend(LONG * 2).await.unwrap();
    let lives = pttl(&cluster, 0, KEY);
    assert!(lives <= LONG * 2 && lives > LONG * 2 - SLACK, "{lives:?}");
    assert!(guard.remaining() < lives, "the client gives up before the node does");
}

/// badboy's redlock, rslock: a validity of 18446744073709551397 ms after an underflow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shortest_ttl_works() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let ttl = Duration::from_millis(10);
    let mutex = redlock.mutex(KEY).unwrap().ttl(ttl);
    for _ in 0..20 {
        // Waits as long as necessary, because a busy machine may need longer than the TTL for a round trip.
        let mut guard = mutex.lock().await.unwrap();
        assert!(guard.remaining() < ttl);
        eventually(SLACK, "it is over", || !guard.is_valid()).await;
        let lost = guard.extend(LONG).await;
        assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
        assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
    }
    // In time or too late, but never a lock with no time left.
    for _ in 0..100 {
        match mutex.try_lock().await {
            Ok(guard) => assert!(guard.remaining() < ttl),
            Err(LockError::TooLate { left, min_validity, .. }) => assert!(left <= min_validity),
            Err(error) => assert!(matches!(error, LockError::NoQuorum { .. }), "{error}"),
        }
    }
    eventually(SLACK, "nothing is left", || (0..3).all(|node| cluster.keys(node).unwrap().is_empty())).await;
}

/// A node that takes longer than the TTL: no underflow, no lock, no key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_slower_than_the_ttl_is_no_lock() {
    let cluster = LocalCluster::start(1).unwrap();
    let redlock = builder(cluster.urls()).node_timeout(Duration::from_secs(20)).connect().await.unwrap();
    let mutex = redlock.mutex(KEY).unwrap().ttl(Duration::from_millis(300));
    cluster.pause(0).unwrap();
    let started = now();
    let error = no_quorum(mutex.try_lock().await);
    assert!(started.elapsed() < SLACK, "the attempt ends with its TTL, not with the node timeout");
    let failures: Vec<_> = error.votes().unwrap().failures().collect();
    assert!(matches!(failures[..], [(_, NodeFailure::NoAnswer { .. })]), "{error}");
    cluster.resume(0).unwrap();
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert!(cluster.keys(0).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_lock_out_of_bounds_are_named() {
    let cluster = LocalCluster::start(1).unwrap();
    let redlock = client(cluster.urls()).await;
    let mutex = redlock.mutex(KEY).unwrap();
    let table = [
        (mutex.clone().ttl(Duration::ZERO), "ttl"),
        (mutex.clone().ttl(Duration::from_millis(9)), "ttl"),
        (mutex.clone().ttl(Duration::from_micros(9_999)), "ttl"),
        (mutex.clone().ttl(LONG * 2 + Duration::from_nanos(1)), "ttl"),
        (mutex.clone().ttl(Duration::MAX), "ttl"),
        (mutex.clone().min_validity(LONG), "min_validity"),
        (mutex.clone().min_validity(Duration::MAX), "min_validity"),
    ];
    for (mutex, setting) in table {
        for result in [mutex.try_lock().await, mutex.lock().await] {
            let error = result.unwrap_err();
            let LockError::Invalid(SettingsError::OutOfRange { setting: named, .. }) = &error else {
                panic!("{error:?}")
            };
            assert_eq!(*named, setting, "{error}");
        }
    }
    assert_eq!(calls(&cluster, 0, "set"), 0, "nothing was sent");

    let mut guard = mutex.lock().await.unwrap();
    let remaining = guard.remaining();
    for ttl in [Duration::ZERO, Duration::from_millis(9), LONG * 3, Duration::MAX] {
        let error = guard.extend(ttl).await.unwrap_err();
        assert!(matches!(error, ExtendError::Invalid(_)), "{error}");
    }
    assert!(guard.is_valid() && guard.remaining() <= remaining);
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

/// redlock-universal: a quorum of 1 of 3 is accepted. madelson, RedLock.net: the same server is accepted twice.
#[tokio::test]
async fn a_client_that_could_not_exclude_is_refused() {
    let urls = ["redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:3"];
    for quorum in [0, 1, 4, usize::MAX] {
        let error = builder(urls).quorum(quorum).connect().await.unwrap_err();
        assert!(matches!(error, SettingsError::Quorum { min: 2, nodes: 3, .. }), "{error}");
    }
    let twice = builder(["redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:1"]);
    let error = twice.connect().await.unwrap_err();
    assert_eq!(error, SettingsError::DuplicateNode { node: "127.0.0.1:1".into() });
    let none: [&str; 0] = [];
    assert_eq!(Redlock::connect(none).await.unwrap_err(), SettingsError::NoNodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_quorum_is_kept() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(cluster.urls()).quorum(3).connect().await.unwrap();
    let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    for node in 0..3 {
        assert_eq!(value(&cluster, node, KEY).as_deref(), Some(guard.token()));
    }
    assert_eq!(guard.release().await, Ok(Released::InTime));
    plant(&cluster, 1, "denied");
    contended(redlock.mutex("denied").unwrap().try_lock().await);
    cluster.kill(2).unwrap();
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    assert!(matches!(error, LockError::NoQuorum { needed: 3, .. }), "{error}");
}

/// distributed-lock-redis: two acquires of one lock object share an id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_has_a_token_of_its_own() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(cluster.urls()).owner("worker 7").connect().await.unwrap();
    let mutex = redlock.mutex(KEY).unwrap();
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..50 {
        let (first, second) = tokio::join!(mutex.try_lock(), mutex.try_lock());
        assert!(first.is_err() || second.is_err(), "both hold it");
        for guard in [first, second].into_iter().flatten() {
            contended(mutex.try_lock().await);
            assert!(guard.token().starts_with("worker 7:"));
            assert_eq!(guard.resource(), KEY);
            assert!(tokens.insert(guard.token().to_owned()));
        }
    }
    assert!(!tokens.is_empty());
}

/// distributed-lock-redis: a wait of 5 s ends after 192 µs. redlock-py: zero retries become three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_is_one_attempt() {
    let cluster = LocalCluster::start(1).unwrap();
    let redlock = client(cluster.urls()).await;
    plant(&cluster, 0, KEY);
    let mutex = redlock.mutex(KEY).unwrap();

    let before = calls(&cluster, 0, "set");
    let error = mutex.clone().max_wait(Duration::ZERO).lock().await.unwrap_err();
    assert!(matches!(error, LockError::Timeout { max_wait: Duration::ZERO, .. }), "{error}");
    contended(Err(error.reason().clone()));
    for attempts in [0, 1] {
        contended(mutex.clone().retry(Retry::fixed(attempts, LONG)).lock().await);
    }
    assert_eq!(calls(&cluster, 0, "set") - before, 3);

    let free = redlock.mutex("free").unwrap().max_wait(Duration::ZERO).retry(Retry::fixed(0, LONG));
    assert_eq!(free.lock().await.unwrap().release().await, Ok(Released::InTime));
}

/// rslock and badboy's redlock panic on a retry delay of zero.
#[tokio::test]
async fn the_edges_of_waiting_end_in_time() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    for node in 0..3 {
        plant(&cluster, node, KEY);
    }
    // On one thread, because a wait that never yields would then block everything.
    let zero = Duration::ZERO;
    for retry in [
        Retry::exponential(zero, zero),
        Retry::exponential(LONG, zero),
        Retry::exponential(Duration::MAX, Duration::MAX),
        Retry::fixed(u32::MAX, zero),
        Retry::fixed(u32::MAX, Duration::MAX),
    ] {
        let started = now();
        let error = redlock.mutex(KEY).unwrap().retry(retry).max_wait(SHORT).lock().await.unwrap_err();
        let waited = started.elapsed();
        assert!(waited >= SHORT && waited < SHORT + SLACK, "{retry:?}: {waited:?}");
        assert!(matches!(error, LockError::Timeout { .. }), "{retry:?}: {error}");
        contended(Err(error.reason().clone()));
    }
    // The longest wait does not overflow.
    let forever = redlock.mutex(KEY).unwrap().max_wait(Duration::MAX);
    let freed = async {
        tokio::time::sleep(SHORT).await;
        for node in 0..3 {
            cluster.command(node, &["DEL", KEY]).unwrap();
        }
    };
    let (guard, ()) = tokio::join!(forever.lock(), freed);
    assert_eq!(guard.unwrap().release().await, Ok(Released::InTime));
}

/// If the end of the wait cuts the last attempt short, the error does not blame the nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_another_owner_never_blames_the_nodes() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    for node in 0..3 {
        plant(&cluster, node, KEY);
    }
    let wait = |i: u64| {
        let max_wait = SHORT + Duration::from_micros(i * 37);
        let retry = Retry::exponential(Duration::from_millis(1), Duration::from_millis(5));
        let mutex = redlock.mutex(KEY).unwrap().max_wait(max_wait).retry(retry);
        async move { mutex.lock().await.unwrap_err() }
    };
    for error in futures::future::join_all((0..100).map(wait)).await {
        assert!(matches!(error, LockError::Timeout { .. }), "{error}");
        contended(Err(error.reason().clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_shut_down_locks_nothing_and_gives_back_what_is_held() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let waiting = redlock.mutex(KEY).unwrap();
    let waiter = tokio::spawn(async move { waiting.lock().await });
    // One of the nodes may not have been connected yet when the lock was taken.
    let has_tried = || (0..3).any(|node| calls(&cluster, node, "set") >= 2);
    eventually(SLACK, "the waiter tries", has_tried).await;

    redlock.shutdown().await;
    let told = tokio::time::timeout(SLACK, waiter).await.unwrap().unwrap();
    assert_eq!(told.unwrap_err(), LockError::ShutDown);
    for client in [&redlock, &redlock.clone()] {
        assert_eq!(client.mutex("other").unwrap().lock().await.unwrap_err(), LockError::ShutDown);
        assert_eq!(client.mutex("other").unwrap().try_lock().await.unwrap_err(), LockError::ShutDown);
    }
    assert!((0..3).all(|node| cluster.keys(node).unwrap().is_empty()));
    assert_eq!(lost(&guard).await, Loss::ShutDown { resource: KEY.to_owned() });
    assert!(!guard.is_valid());
    assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
}

/// rslock: `Drop` is compiled out with tokio. distributed-lock-redis: `Drop` does nothing.
#[test]
fn shutdown_waits_for_the_releases_of_dropped_guards() {
    let cluster = LocalCluster::start(3).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async {
        let redlock = client(cluster.urls()).await;
        for i in 0..100 {
            drop(redlock.mutex(format!("job-{i}")).unwrap().lock().await.unwrap());
        }
        redlock.shutdown().await;
    });
    // The runtime is gone, so nothing can be released any more.
    for node in 0..3 {
        assert_eq!(cluster.keys(node).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_guard_may_be_dropped_anywhere() {
    let cluster = LocalCluster::start(3).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let redlock = runtime.block_on(client(cluster.urls()));
    let lock = |name: &str| runtime.block_on(redlock.mutex(name).unwrap().lock()).unwrap();
    // Dropped on a thread without a runtime.
    let guard = lock("thread");
    std::thread::spawn(move || drop(guard)).join().unwrap();
    let gone = || (0..3).all(|node| cluster.keys(node).unwrap().is_empty());
    runtime.block_on(eventually(SLACK, "nothing is left", gone));
    // Dropped after the runtime: only the TTL can end the lock, and the lease has been lost already.
    let guard = lock("too late");
    assert!(guard.is_valid());
    drop(runtime);
    assert!(!guard.is_valid());
    drop((redlock, guard));
}
