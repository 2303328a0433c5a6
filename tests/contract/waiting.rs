//! Waiting in FIFO order: nobody polls, nobody is forgotten, and no key is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{LockError, Mutex, Redlock, Released, Retry};
use tokio::task::JoinHandle;

use crate::support::{
    LONG, Random, SLACK, builder, calls, client, eventually, name, now, origin, plant, queues, value,
};

pub(crate) const KEY: &str = "job";
/// The interval at which a waiter checks the lock even if it was not notified.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A wait of this length means that a waiter [`by_notification`] was forgotten. Longer than a machine stands still.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(15);

/// FIFO order, but a waiter that was not notified sleeps for longer than [`FORGOTTEN`] instead of half a second.
pub(crate) fn by_notification() -> Retry {
    Retry::fifo_looking_again_after(FORGOTTEN * 3)
}

/// A node keeps a queue for ten seconds after the last registration. A queue that is gone earlier was left.
pub(crate) const LEFT_WITHIN: Duration = Duration::from_secs(9);

/// The nodes that have a queue.
pub(crate) fn queue_nodes(cluster: &LocalCluster) -> Vec<usize> {
    (0..cluster.len()).filter(|node| !queues(cluster, *node).is_empty()).collect()
}

/// Checks that all locks and queues are gone, before they would expire.
pub(crate) async fn ends_empty(cluster: &LocalCluster) {
    let empty = || {
        let keys = |node| cluster.keys(node).is_ok_and(|keys| keys.is_empty());
        (0..cluster.len()).all(keys) && queue_nodes(cluster).is_empty()
    };
    eventually(LEFT_WITHIN, "no key and no queue is left", empty).await;
}

/// Waits in a task. The waiter is in the queue when this function returns.
pub(crate) async fn waiter(cluster: &LocalCluster, redlock: &Redlock) -> JoinHandle<Duration> {
    waiter_as(cluster, redlock, Retry::fifo()).await
}

/// As [`waiter`], with another strategy.
async fn waiter_as(cluster: &LocalCluster, redlock: &Redlock, retry: Retry) -> JoinHandle<Duration> {
    let mutex = redlock.mutex(KEY).unwrap().retry(retry).max_wait(LONG);
    let task = tokio::spawn(async move {
        let guard = mutex.lock().await.unwrap();
        let acquired = now();
        assert_eq!(guard.release().await, Ok(Released::InTime));
        acquired.elapsed()
    });
    eventually(SLACK, "it is in a queue", || !queue_nodes(cluster).is_empty()).await;
    task
}

/// One section, in the format of the history checker.
pub(crate) async fn section(name: &str, mutex: &Mutex) -> Section {
    let requested_at = origin();
    let guard = mutex.lock().await.unwrap();
    let acquired_at = origin();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let now = origin();
    let section = Section {
        client: name.to_owned(),
        resource: KEY.to_owned(),
        sharing: Sharing::Exclusive,
        requested_at,
        acquired_at,
        deadline: now + u64::try_from(guard.remaining().as_nanos()).unwrap(),
        ended_at: Some(now),
        fencing_token: Some(guard.fencing_token().get()),
    };
    assert_eq!(guard.release().await, Ok(Released::InTime));
    section
}

/// Runs `each` sections by each of these clients at once, and checks the history of all.
pub(crate) async fn contend(clients: &[&Redlock], each: usize, change: impl Fn(usize, Mutex) -> Mutex) {
    let tasks = clients.iter().enumerate().map(|(i, redlock)| {
        let mutex = change(i, redlock.mutex(KEY).unwrap().max_wait(LONG));
        tokio::spawn(async move {
            let mut sections = Vec::new();
            for _ in 0..each {
                sections.push(section(&format!("client {i}"), &mutex).await);
            }
            sections
        })
    });
    let sections: Vec<Section> = try_join_all(tasks).await.unwrap().into_iter().flatten().collect();
    assert_eq!(sections.len(), clients.len() * each);
    check(&sections).assert_ok();
}

#[tokio::test]
async fn in_one_process_first_come_is_first_served() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let served = std::sync::Mutex::new(Vec::new());
    // Polled for the first time in this order, on one thread. Every third waiter gives up.
    let waits = (0..30_u32).map(|i| {
        let (mutex, served) = (redlock.mutex(KEY).unwrap().max_wait(LONG), &served);
        async move {
            if i % 3 == 2 {
                assert!(tokio::time::timeout(Duration::from_millis(50), mutex.lock()).await.is_err());
                return;
            }
            let guard = mutex.lock().await.unwrap();
            served.lock().unwrap().push(i);
            assert_eq!(guard.release().await, Ok(Released::InTime));
        }
    });
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(guard.release().await, Ok(Released::InTime));
    };
    tokio::join!(join_all(waits), release);
    let expected: Vec<u32> = (0..30).filter(|i| i % 3 != 2).collect();
    assert_eq!(*served.lock().unwrap(), expected);
    ends_empty(&cluster).await;
}

/// pottery, node-redlock: retry storms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_wait_ask_for_nothing() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let waits = (0..1000).map(|_| {
        let mutex = redlock.mutex(KEY).unwrap().max_wait(LONG);
        tokio::spawn(async move { mutex.lock().await.unwrap().release().await })
    });
    let waits: Vec<_> = waits.collect();
    eventually(SLACK, "one is in the queue", || queue_nodes(&cluster).len() == 1).await;
    let asked = || (0..3).map(|node| calls(&cluster, node, "set") + calls(&cluster, node, "evalsha")).sum();
    let before: u64 = asked();
    let watched = now();
    tokio::time::sleep(3 * LOOK_AGAIN).await;
    let asked = asked() - before;
    // The head checks at most twice a second. The last commands of its attempt may have arrived late.
    assert!(asked <= 2 * watched.elapsed().as_secs() + 10, "{asked} commands in {:?}", watched.elapsed());

    let cancelled: Vec<_> = waits.iter().step_by(2).collect();
    cancelled.iter().for_each(|wait| wait.abort());
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let ended = join_all(waits).await;
    let served = ended.into_iter().filter(|ended| matches!(ended, Ok(Ok(Released::InTime)))).count();
    assert!(served >= 500, "{served}");
    ends_empty(&cluster).await;
}

/// A single waiter that was forgotten would sleep for longer than all waits may take. Notifications are also cheap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_calls_a_waiter_in_another_process() {
    let cluster = LocalCluster::start(5).unwrap();
    let clients = join_all((0..4).map(|_| client(cluster.urls()))).await;
    // The first release may notify nobody, because nobody knows yet that the lock is contended.
    contend(&clients.iter().collect::<Vec<_>>(), 5, |_, mutex| mutex).await;
    let asked =
        || (0..5).map(|node| 2 * calls(&cluster, node, "set") + calls(&cluster, node, "evalsha")).sum();
    let (before, started): (u64, _) = (asked(), now());
    contend(&clients.iter().collect::<Vec<_>>(), 25, |_, mutex| mutex.retry(by_notification())).await;
    assert!(started.elapsed() < FORGOTTEN, "{:?}", started.elapsed());
    let asked = asked() - before;
    assert!(asked <= 100 * (3 * 5 + 5), "{asked} commands for 100 sections");
    ends_empty(&cluster).await;
}

/// A client that releases and locks again at once is faster than any waiter that has to be notified first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_a_hurry_lets_others_in() {
    let cluster = LocalCluster::start(3).unwrap();
    let patient = client(cluster.urls()).await;
    let mut waited = Vec::new();
    for _ in 0..10 {
        // A new client, which has never met a waiter.
        let hasty = client(cluster.urls()).await;
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let hurry = {
            let (mutex, stop, rounds) = (hasty.mutex(KEY).unwrap(), Arc::clone(&stop), Arc::clone(&rounds));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    drop(mutex.lock().await.unwrap());
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        eventually(SLACK, "it is busy", || rounds.load(Ordering::Relaxed) > 10).await;
        let before = rounds.load(Ordering::Relaxed);
        let guard = patient.mutex(KEY).unwrap().lock().await.unwrap();
        waited.push(rounds.load(Ordering::Relaxed) - before);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(guard.release().await, Ok(Released::InTime));
        hurry.await.unwrap();
    }
    println!("rounds of the other in each wait: {waited:?}");
    assert!(waited.iter().sum::<u64>() <= 200, "{waited:?}");
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_holders_lock_is_taken_after_its_ttl() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let ttl = Duration::from_millis(1500);
    let planted = now();
    for node in 0..3 {
        cluster.command(node, &["SET", KEY, "of one that is dead", "PX", "1500"]).unwrap();
    }
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let waited = planted.elapsed();
    // Servers expire keys by a clock of milliseconds.
    assert!(waited + Duration::from_millis(2) > ttl && waited < ttl + SLACK, "{waited:?}");
    assert_eq!(guard.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// Other implementations do not notify waiters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_holders_release_is_noticed() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    (0..3).for_each(|node| plant(&cluster, node, KEY));
    let waiting = waiter(&cluster, &redlock).await;
    for node in 0..3 {
        cluster.command(node, &["DEL", KEY]).unwrap();
    }
    let released = now();
    waiting.await.unwrap();
    assert!(released.elapsed() < LOOK_AGAIN + SLACK);
    ends_empty(&cluster).await;
}

/// Some wait in FIFO order, some poll, some are cancelled at any moment, and some never wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_crowd_gets_on_and_leaves_nothing() {
    let cluster = LocalCluster::start(3).unwrap();
    let clients = join_all((0..3).map(|_| client(cluster.urls()))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut random = Random::from_environment();
    let restless = clients.iter().cycle().take(12).enumerate().map(|(i, redlock)| {
        let (mutex, stop) = (redlock.mutex(KEY).unwrap().max_wait(LONG), Arc::clone(&stop));
        let mut random = Random::new(random.next());
        let polling = Retry::exponential(Duration::from_millis(1), Duration::from_millis(20));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let limit = random.up_to(Duration::from_millis(8));
                match i % 4 {
                    0 => drop(mutex.try_lock().await),
                    1 => drop(tokio::time::timeout(limit, mutex.clone().retry(polling).lock()).await),
                    _ => drop(tokio::time::timeout(limit, mutex.lock()).await),
                }
                tokio::time::sleep(limit / 4).await;
            }
        })
    });
    let restless: Vec<_> = restless.collect();
    let polling = Retry::exponential(Duration::from_millis(1), Duration::from_millis(50));
    let crowd: Vec<&Redlock> = clients.iter().cycle().take(6).collect();
    contend(&crowd, 10, |i, mutex| if i % 3 == 0 { mutex.retry(polling) } else { mutex }).await;
    stop.store(true, Ordering::Relaxed);
    try_join_all(restless).await.unwrap();
    ends_empty(&cluster).await;
}

/// A notified client does not attempt the lock, because its waiter has just left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_leaves_the_lock_to_the_next() {
    let cluster = LocalCluster::start(3).unwrap();
    let clients = join_all((0..3).map(|_| client(cluster.urls()))).await;
    let mut random = Random::from_environment();
    for round in 0..100 {
        let guard = clients[0].mutex(KEY).unwrap().lock().await.unwrap();
        let mutex = clients[1].mutex(KEY).unwrap().retry(by_notification()).max_wait(LONG);
        let leaves = tokio::spawn(async move { drop(mutex.lock().await) });
        eventually(SLACK, "it is in the queue", || !queue_nodes(&cluster).is_empty()).await;
        let mutex = clients[2].mutex(KEY).unwrap().retry(by_notification()).max_wait(LONG);
        let stays = tokio::spawn(async move { mutex.lock().await });
        if random.one_in(2) {
            tokio::time::sleep(random.up_to(Duration::from_millis(2))).await;
        }
        let release = async { assert_eq!(guard.release().await, Ok(Released::InTime)) };
        let cancel = async {
            tokio::time::sleep(random.up_to(Duration::from_micros(600))).await;
            leaves.abort();
        };
        tokio::join!(release, cancel);
        let released = now();
        let guard = stays.await.unwrap().unwrap();
        let waited = released.elapsed();
        assert!(waited < FORGOTTEN, "it was not called in round {round}: {waited:?}");
        assert_eq!(guard.release().await, Ok(Released::InTime));
        drop(leaves.await);
    }
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_in_line_counts_and_its_end_says_why() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let mutex = |wait| redlock.mutex(KEY).unwrap().max_wait(wait);
    let (first, behind) = (mutex(LONG), mutex(Duration::from_millis(200)));
    let first = tokio::spawn(async move { first.lock().await.unwrap().release().await });
    eventually(SLACK, "it is in the queue", || !queue_nodes(&cluster).is_empty()).await;
    let started = now();
    let error = behind.lock().await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(200) && started.elapsed() < SLACK);
    assert!(matches!(error, LockError::Timeout { .. }), "{error}");
    assert!(matches!(error.reason(), LockError::Contended { .. }), "{error}");
    assert!(error.votes().unwrap().denials().count() > 0, "what the first has heard: {error}");
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert_eq!(first.await.unwrap(), Ok(Released::InTime));

    // During an outage the error says so as well, and names the nodes.
    for node in 1..3 {
        cluster.kill(node).unwrap();
    }
    let (first, behind) = (mutex(LONG), mutex(Duration::from_secs(2)));
    let first = tokio::spawn(async move { first.lock().await.unwrap().release().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = behind.lock().await.unwrap_err();
    assert!(matches!(error.reason(), LockError::NoQuorum { .. }), "{error}");
    assert!(error.to_string().contains(&name(&cluster, 1)), "{error}");
    cluster.restart(1, Data::Kept).unwrap();
    assert_eq!(first.await.unwrap(), Ok(Released::InTime));
    assert_eq!(value(&cluster, 0, KEY), None);
}

/// A notified client hands the lock to another waiter in its process, which was never in the queue. On the queue node
/// the key is gone before the release, so that the release does not remove the notified client from the queue.
#[tokio::test]
async fn a_hand_over_leaves_nobody_in_the_queue() {
    let cluster = LocalCluster::start(3).unwrap();
    // A notified client is expected for this long.
    let redlock = builder(cluster.urls()).node_timeout(LONG / 2).connect().await.unwrap();
    let holder = client(cluster.urls()).await;
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let mutex = redlock.mutex(KEY).unwrap().max_wait(LONG);
    // On one thread and without a pause in between: the second waiter is handed the lock before it can do anything
    // else.
    let first = async { assert_eq!(mutex.lock().await.unwrap().release().await, Ok(Released::InTime)) };
    let second = mutex.lock();
    let release = async {
        eventually(SLACK, "one is in the queue", || queue_nodes(&cluster).len() == 1).await;
        let node = queue_nodes(&cluster)[0];
        assert_eq!(guard.release().await, Ok(Released::InTime));
        node
    };
    let ((), guard, node) = tokio::join!(first, second, release);
    let guard = guard.unwrap();
    cluster.command(node, &["DEL", KEY]).unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// The queue is on a node that has denied the holder, because another owner had a key there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_calls_where_it_held_no_key() {
    let cluster = LocalCluster::start(5).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let waiting = waiter(&cluster, &redlock).await;
    let node = queue_nodes(&cluster)[0];
    assert_eq!(guard.release().await, Ok(Released::InTime));
    waiting.await.unwrap();
    for round in 0..20 {
        ends_empty(&cluster).await;
        plant(&cluster, node, KEY);
        let guard = holder.mutex(KEY).unwrap().try_lock().await.unwrap();
        let waiting = waiter_as(&cluster, &redlock, by_notification()).await;
        cluster.command(node, &["DEL", KEY]).unwrap();
        assert_eq!(guard.release().await, Ok(Released::InTime));
        let released = now();
        waiting.await.unwrap();
        let waited = released.elapsed();
        assert!(waited < FORGOTTEN, "it was not called in round {round}: {waited:?}");
    }
    ends_empty(&cluster).await;
}

/// The bug: a client that was connected while a node got another id chose the queue node by the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_met_a_node_under_two_ids_wait_in_one_queue() {
    let cluster = LocalCluster::start(3).unwrap();
    let early = client(cluster.urls()).await;
    let record = "redlock-quorum:node";
    let id = || cluster.command(0, &["HGET", record, "id"]).unwrap().text().map(str::to_owned);
    let before = id();
    cluster.command(0, &["DEL", record]).unwrap();
    eventually(SLACK, "the node has another id", || id().is_some() && id() != before).await;
    let late = client(cluster.urls()).await;
    // Enough that the old id and the new one lead some to different nodes.
    for name in (0..16).map(|i| format!("job{i}")) {
        (0..3).for_each(|node| plant(&cluster, node, &name));
        let waiters = [&early, &late].map(|redlock| {
            let mutex = redlock.mutex(&name).unwrap().retry(by_notification()).max_wait(LONG);
            tokio::spawn(async move { mutex.lock().await.map(drop) })
        });
        let queue = format!("redlock-quorum:queue:{name}");
        let waiting = |node| cluster.command(node, &["ZCARD", &queue]).unwrap().int();
        eventually(SLACK, "both are in one queue", || (0..3).any(|node| waiting(node) == Some(2))).await;
        waiters.into_iter().for_each(|waiter| waiter.abort());
    }
}
