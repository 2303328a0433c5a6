//! Waiters that leave at any moment, or whose settings cannot be met. The next waiter gets the lock at once.

use std::time::Duration;

use redlock_quorum::testing::{Clients, Link, Linked, LocalCluster};
use redlock_quorum::{Guard, LockError, Redlock, Released};
use tokio::task::JoinHandle;

use crate::support::{LONG, Random, SLACK, builder, client, eventually, now};
use crate::waiting::{FORGOTTEN, KEY, by_notification, ends_empty, queue_nodes};

/// The second lock of waiters that wait for two.
const OTHER: &str = "other";

/// How long a round may take after the release if nothing goes wrong.
const AT_ONCE: Duration = Duration::from_millis(100);

/// How long a waiter whose demands cannot be met keeps trying. A node timeout before the end of its wait is long enough
/// for the others, even if the machine stands still for a while.
const DEMANDED_FOR: Duration = Duration::from_secs(6);

/// How often each scene is played. The acceptance test of the lock is `REDLOCK_TEST_ROUNDS=400`, which takes 15 s.
fn rounds() -> u32 {
    std::env::var("REDLOCK_TEST_ROUNDS").map_or(40, |text| text.parse().unwrap())
}

/// The time from the release to the acquisition in each round.
struct Delays(&'static str, Vec<Duration>);

impl Delays {
    fn check(&self) {
        let Self(scene, delays) = self;
        let longer = |limit| delays.iter().filter(|delay| **delay > limit).count();
        let (late, rounds) = (longer(AT_ONCE), delays.len());
        println!("{scene}: {late} of {rounds} later than {AT_ONCE:?}, at most {:?}", delays.iter().max());
        assert_eq!(longer(FORGOTTEN), 0, "{scene}: {delays:?}");
    }
}

/// Waits in a task and releases the lock. The task returns when it acquired the lock.
fn waits(redlock: &Redlock, name: &str) -> JoinHandle<std::time::Instant> {
    let mutex = redlock.mutex(name).unwrap().retry(by_notification()).max_wait(LONG);
    tokio::spawn(async move {
        let guard = mutex.lock().await.unwrap();
        let acquired = now();
        assert_eq!(guard.release().await, Ok(Released::InTime));
        acquired
    })
}

/// Acquires the lock before anybody waits. A client that knows that a lock is contended first joins the queue, and
/// leaves it after a delay of its own.
async fn hold(cluster: &LocalCluster, redlock: &Redlock, name: &str) -> Guard {
    let guard = redlock.mutex(name).unwrap().max_wait(LONG).lock().await.unwrap();
    eventually(SLACK, "the holder has left the queue", || queue_nodes(cluster).is_empty()).await;
    guard
}

async fn in_queues(cluster: &LocalCluster, locks: usize) {
    let queues = || (0..cluster.len()).map(|node| crate::support::queues(cluster, node).len()).sum::<usize>();
    eventually(SLACK, "in the queues", || queues() >= locks).await;
}

/// The head is dropped around the release: before its notification, between notification and attempt, or during the
/// attempt; in half of the rounds while it is still joining the queue. The bug: the notification was lost with the
/// attempt, and the next waiter slept on although the lock was free.
async fn heads_that_leave(scene: &'static str, same_process: bool) {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let next = if same_process { redlock.clone() } else { client(cluster.urls()).await };
    let mut random = Random::from_environment();
    let mut delays = Delays(scene, Vec::new());
    for _ in 0..rounds() {
        let guard = hold(&cluster, &holder, KEY).await;
        let settled = random.one_in(2);
        let leaves = waits(&redlock, KEY);
        if settled {
            in_queues(&cluster, 1).await;
        }
        let stays = waits(&next, KEY);
        if settled && !same_process {
            let len = || (0..3).filter_map(|node| in_queue(&cluster, node)).max();
            eventually(SLACK, "both are in the queue", || len() == Some(2)).await;
        }
        let after = random.up_to(Duration::from_micros(1500));
        let release = async { assert_eq!(guard.release().await, Ok(Released::InTime)) };
        let cancel = async {
            // Sleeping would be too coarse.
            let started = now();
            while started.elapsed() < after {
                tokio::task::yield_now().await;
            }
            leaves.abort();
        };
        let released = now();
        tokio::join!(release, cancel);
        delays.1.push(stays.await.unwrap().duration_since(released));
        drop(leaves.await);
    }
    delays.check();
    ends_empty(&cluster).await;
}

fn in_queue(cluster: &LocalCluster, node: usize) -> Option<i64> {
    cluster.command(node, &["ZCARD", &format!("redlock-quorum:queue:{KEY}")]).ok()?.int()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_dropped_leaves_its_call_to_the_next() {
    heads_that_leave("heads dropped, same process", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_dropped_leaves_its_call_to_another_process() {
    heads_that_leave("heads dropped, another process", false).await;
}

/// Both locks are released at once, and both attempts are under way. The later one is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_locks_under_select_the_other_one_is_left_to_the_next() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let mut delays = Delays("two locks under select", Vec::new());
    for _ in 0..rounds() {
        let (one, other) = (hold(&cluster, &holder, KEY).await, hold(&cluster, &holder, OTHER).await);
        let mutexes = [KEY, OTHER].map(|name| redlock.mutex(name).unwrap().retry(by_notification()));
        let either = tokio::spawn(async move {
            tokio::select! {
                guard = mutexes[0].lock() => guard,
                guard = mutexes[1].lock() => guard,
            }
        });
        in_queues(&cluster, 2).await;
        let behind = [waits(&redlock, KEY), waits(&redlock, OTHER)];
        let released = now();
        assert_eq!(
            tokio::join!(one.release(), other.release()),
            (Ok(Released::InTime), Ok(Released::InTime))
        );
        drop(either.await.unwrap().unwrap());
        for behind in behind {
            delays.1.push(behind.await.unwrap().duration_since(released));
        }
    }
    delays.check();
    ends_empty(&cluster).await;
}

/// A waiter whose demands cannot be met delays no other waiter, neither in its process nor in another one.
async fn heads_that_make_room(same_process: bool) {
    let cluster = LocalCluster::start(3).unwrap();
    let connect = || builder(cluster.urls()).node_timeout(DEMANDED_FOR / 2).connect();
    let (holder, redlock) = (connect().await.unwrap(), connect().await.unwrap());
    let other = if same_process { redlock.clone() } else { connect().await.unwrap() };
    // The settings leave the attempt less than a round trip, or no time at all.
    let demanding = |ttl, min_validity| {
        let mutex = redlock.mutex(KEY).unwrap().retry(by_notification()).max_wait(DEMANDED_FOR);
        mutex.ttl(Duration::from_millis(ttl)).min_validity(Duration::from_micros(min_validity))
    };
    for (ttl, min_validity) in [(10, 7_899), (1_000, 987_999)] {
        let guard = hold(&cluster, &holder, KEY).await;
        let mutex = demanding(ttl, min_validity);
        let first = tokio::spawn(async move { mutex.lock().await });
        in_queues(&cluster, 1).await;
        let mutex = demanding(ttl, min_validity);
        let second = tokio::spawn(async move { mutex.lock().await });
        let others = [waits(&other, KEY), waits(&other, KEY)];
        assert_eq!(guard.release().await, Ok(Released::InTime));
        for waits in others {
            waits.await.unwrap();
        }
        let still = [&first, &second].iter().any(|demanding| !demanding.is_finished());
        assert!(still, "{ttl} ms: the others waited for as long as the two that could not be satisfied");
        for demanding in [first, second] {
            let error = demanding.await.unwrap().unwrap_err();
            let LockError::Timeout { last, .. } = &error else { panic!("{error}") };
            let told = matches!(**last, LockError::TooLate { .. } | LockError::NoQuorum { .. });
            assert!(told, "its own reason: {error}");
        }
    }
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_whose_terms_cannot_be_met_makes_room() {
    heads_that_make_room(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_whose_terms_cannot_be_met_makes_room_for_another_process() {
    heads_that_make_room(false).await;
}

/// The bug: the notified client kept trying, and the others slept until their next check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_called_client_that_has_no_quorum_leaves_its_call_to_another() {
    let linked = Linked::new(LocalCluster::start(3).unwrap(), 1).unwrap();
    let cluster = linked.nodes();
    let cut_off = client(linked.urls(0)).await;
    let (holder, other) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let mut delays = Delays("a called client without a quorum", Vec::new());
    for _ in 0..rounds() / 8 {
        let guard = hold(cluster, &holder, KEY).await;
        let first = waits(&cut_off, KEY);
        in_queues(cluster, 1).await;
        let queue_node = queue_nodes(cluster)[0];
        let second = waits(&other, KEY);
        eventually(SLACK, "both are in the queue", || in_queue(cluster, queue_node) == Some(2)).await;
        let others = || (0..3).filter(move |node| *node != queue_node);
        others().for_each(|node| linked.set_link(Clients::One(0), node, Link::Reset));
        let cut = || others().all(|node| cut_off.nodes()[node].failure().is_some());
        eventually(SLACK, "it is cut off", cut).await;
        let released = now();
        assert_eq!(guard.release().await, Ok(Released::InTime));
        delays.1.push(second.await.unwrap().duration_since(released));
        (0..3).for_each(|node| linked.set_link(Clients::One(0), node, Link::Open));
        first.await.unwrap();
        eventually(SLACK, "it is back", || cut_off.nodes().iter().all(|node| node.failure().is_none())).await;
    }
    delays.check();
    ends_empty(cluster).await;
}
