//! Waiters that leave in the middle of what they do, or whose terms cannot be met: the lock is for the next one at once.

use std::time::Duration;

use redlock_quorum::testing::{Clients, Link, Linked, LocalCluster};
use redlock_quorum::{Guard, LockError, Redlock, Released};
use tokio::task::JoinHandle;

use crate::support::{LONG, Random, SLACK, client, eventually, now};
use crate::waiting::{KEY, LOOK_AGAIN, ends_empty, queue_nodes};

/// The second lock of those who wait for two.
const OTHER: &str = "other";

/// What a round may take after the release where nothing goes wrong.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A waiter that was forgotten sleeps on for half of [`LOOK_AGAIN`] at least. Between the two lies what a busy machine
/// takes.
const FORGOTTEN: Duration = Duration::from_millis(450);

/// How often each scene is played. `REDLOCK_TEST_ROUNDS=400` is what the lock is held to; it takes 15 s.
fn rounds() -> u32 {
    std::env::var("REDLOCK_TEST_ROUNDS").map_or(40, |text| text.parse().unwrap())
}

/// How long each round took after the release.
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

/// Waits as a task, and gives the lock back; answers when it had it.
fn waits(redlock: &Redlock, name: &str) -> JoinHandle<std::time::Instant> {
    let mutex = redlock.mutex(name).unwrap().max_wait(LONG);
    tokio::spawn(async move {
        let guard = mutex.lock().await.unwrap();
        let acquired = now();
        assert_eq!(guard.release().await, Ok(Released::InTime));
        acquired
    })
}

/// Before anybody waits. Whoever knows that a lock is wanted gets into its queue first, and leaves it on its own time.
async fn hold(cluster: &LocalCluster, redlock: &Redlock, name: &str) -> Guard {
    let guard = redlock.mutex(name).unwrap().max_wait(LONG).lock().await.unwrap();
    eventually(SLACK, "the holder has left the queue", || queue_nodes(cluster).is_empty()).await;
    guard
}

async fn in_queues(cluster: &LocalCluster, locks: usize) {
    let queues = || (0..cluster.len()).map(|node| crate::support::queues(cluster, node).len()).sum::<usize>();
    eventually(SLACK, "in the queues", || queues() >= locks).await;
}

/// The head is dropped around the release: before its call, between that and its attempt, or during the attempt; in
/// half of the rounds while it is still on its way into the queue. The call was lost with the attempt, and the next one
/// slept on beside a free lock.
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
            // Sleeping is too coarse for this.
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

/// Both are free at once, and both attempts under way: the one that comes second is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_locks_under_select_the_other_one_is_left_to_the_next() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let mut delays = Delays("two locks under select", Vec::new());
    for _ in 0..rounds() {
        let (one, other) = (hold(&cluster, &holder, KEY).await, hold(&cluster, &holder, OTHER).await);
        let mutexes = [KEY, OTHER].map(|name| redlock.mutex(name).unwrap().max_wait(LONG));
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

/// Whoever asks for more than can be had is in nobody's way: not in the process, and not in another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_whose_terms_cannot_be_met_makes_room() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    // Less than a round trip is left for the attempt, or nothing at all.
    let demanding = |ttl, min_validity| {
        let mutex = redlock.mutex(KEY).unwrap().max_wait(2 * LOOK_AGAIN);
        mutex.ttl(Duration::from_millis(ttl)).min_validity(Duration::from_micros(min_validity))
    };
    for other in [redlock.clone(), client(cluster.urls()).await] {
        for (ttl, min_validity) in [(10, 7_899), (1_000, 987_999)] {
            let guard = hold(&cluster, &holder, KEY).await;
            let mutex = demanding(ttl, min_validity);
            let first = tokio::spawn(async move { mutex.lock().await });
            in_queues(&cluster, 1).await;
            let mutex = demanding(ttl, min_validity);
            let second = tokio::spawn(async move { mutex.lock().await });
            let others = [waits(&other, KEY), waits(&other, KEY)];
            let released = now();
            assert_eq!(guard.release().await, Ok(Released::InTime));
            for waits in others {
                let delay = waits.await.unwrap().duration_since(released);
                assert!(delay < LOOK_AGAIN, "{ttl} ms: {delay:?}");
            }
            for demanding in [first, second] {
                let error = demanding.await.unwrap().unwrap_err();
                let LockError::Timeout { last, .. } = &error else { panic!("{error}") };
                let told = matches!(**last, LockError::TooLate { .. } | LockError::NoQuorum { .. });
                assert!(told, "its own reason: {error}");
            }
        }
    }
    assert_eq!(queue_nodes(&cluster), [0; 0]);
    ends_empty(&cluster).await;
}

/// It tried on, and the others slept until they looked again.
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
