//! Many locks and many waiters at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::{Mutex, Released, Retry};
use tokio::task::yield_now;

use crate::support::{LONG, now, origin};
use crate::topology::{Topology, World, on_every_topology};

on_every_topology!(many_names_at_once, one_name_for_many_in_turn, one_name_for_many_that_poll);

const TASKS: usize = 64;

async fn many_names_at_once(world: World) {
    let tasks = (0..TASKS).map(|task| {
        let mutex = world.redlock.mutex(format!("job-{task}")).unwrap();
        tokio::spawn(async move {
            for _ in 0..3 {
                let guard = mutex.lock().await.unwrap();
                yield_now().await;
                assert!(guard.is_valid());
                assert_eq!(guard.release().await, Ok(Released::InTime));
            }
        })
    });
    try_join_all(tasks).await.unwrap();
    world.ends_without_keys().await;
}

async fn one_name_for_many_in_turn(world: World) {
    one_name_for_many(world, Retry::fifo()).await;
}

async fn one_name_for_many_that_poll(world: World) {
    let retry = Retry::exponential(Duration::from_millis(2), Duration::from_millis(100));
    one_name_for_many(world, retry).await;
}

/// redis-lock, distributed-lock-redis: several holders at once.
async fn one_name_for_many(world: World, retry: Retry) {
    let counter = Arc::new(AtomicU64::new(0));
    let tasks = (0..TASKS).map(|task| {
        let client = if task % 2 == 0 { &world.redlock } else { &world.other };
        let mutex = client.mutex("job").unwrap().retry(retry).max_wait(LONG);
        let counter = Arc::clone(&counter);
        tokio::spawn(async move {
            let requested_at = origin();
            let guard = mutex.lock().await.unwrap();
            let acquired_at = origin();
            // Not atomic on purpose: two holders at once would lose an update.
            let before = counter.load(Ordering::Relaxed);
            yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            counter.store(before + 1, Ordering::Relaxed);
            assert!(guard.is_valid());
            let left = u64::try_from(guard.deadline().duration_since(now()).as_nanos()).unwrap();
            let section = Section {
                client: format!("task {task}"),
                resource: "job".into(),
                sharing: Sharing::Exclusive,
                requested_at,
                acquired_at,
                deadline: origin() + left,
                ended_at: Some(origin()),
                fencing_token: None,
            };
            assert_eq!(guard.release().await, Ok(Released::InTime));
            section
        })
    });
    let sections = try_join_all(tasks).await.unwrap();
    check(&sections).assert_ok();
    assert_eq!(counter.load(Ordering::Relaxed), TASKS as u64);
    world.ends_without_keys().await;
}

/// A guard keeps the late answers of its attempt. The bug: an answer whose command still waited for room in the
/// connection's queue kept that room. After a burst of locks nothing was sent to that node any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_locks_that_are_kept_is_in_nobodys_way() {
    let world = Topology::THREE.start().await;
    for burst in 0..10 {
        let mutex = |i| world.redlock.mutex(format!("job-{burst}-{i}")).unwrap();
        let mutexes: Vec<_> = (0..200).map(mutex).collect();
        let guards = join_all(mutexes.iter().map(Mutex::try_lock)).await;
        let guards: Vec<_> = guards.into_iter().map(Result::unwrap).collect();
        // With one node down both others are needed, and so is the queue of each connection.
        for node in world.living() {
            world.cluster.pause(node).unwrap();
            let one_more = world.redlock.mutex(format!("without {node}")).unwrap().try_lock().await;
            world.cluster.resume(node).unwrap();
            let one_more = one_more.unwrap_or_else(|error| panic!("burst {burst}: {error}"));
            assert_eq!(one_more.release().await, Ok(Released::InTime));
        }
        for guard in guards {
            assert_eq!(guard.release().await, Ok(Released::InTime));
        }
    }
    world.ends_without_keys().await;
}
