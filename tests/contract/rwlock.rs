//! Readers and writers.

use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::{Guard, LockError, LockState, Loss, Redlock, Released, RwLock};

use crate::support::{
    LONG, Random, SLACK, builder, client, contended, eventually, lost, now, origin, plant, pttl,
};
use crate::topology::Topology;
use crate::waiting::ends_empty;

const NODES: usize = 3;

async fn two_clients(cluster: &LocalCluster) -> [Redlock; 2] {
    [client(cluster.urls()).await, client(cluster.urls()).await]
}

fn locks(clients: &[Redlock; 2]) -> [RwLock; 2] {
    [0, 1].map(|i| clients[i].rwlock("job").unwrap().max_wait(LONG))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_share_and_exclude_writers() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let readers = [lock.read().await.unwrap(), other.read().await.unwrap(), lock.try_read().await.unwrap()];
    let mut tokens: Vec<u64> = readers.iter().map(|reader| reader.fencing_token().get()).collect();
    tokens.dedup();
    assert!(tokens.len() == 3 && tokens.is_sorted(), "{tokens:?}");
    assert!(matches!(other.try_write().await, Err(LockError::Contended { .. })));
    contended(clients[1].mutex("job").unwrap().try_lock().await);
    contended(clients[1].multi(["job", "another"]).unwrap().try_lock().await);
    for reader in readers {
        assert!(reader.is_valid());
        assert_eq!(reader.release().await, Ok(Released::InTime));
    }
    let writer = other.try_write().await.unwrap();
    assert!(writer.fencing_token().get() > tokens[2]);
    contended(lock.try_read().await);
    assert!(matches!(lock.try_write().await, Err(LockError::Contended { .. })));
    assert_eq!(writer.release().await, Ok(Released::InTime));
    let mutex = clients[0].mutex("job").unwrap().lock().await.unwrap();
    contended(other.try_read().await);
    assert_eq!(mutex.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_writer_keeps_new_readers_out() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let reader = lock.read().await.unwrap();
    let waiting = tokio::spawn(async move { other.write().await });
    let intent =
        || (0..NODES).all(|node| cluster.command(node, &["EXISTS", INTENT]).unwrap().int() == Some(1));
    eventually(SLACK, "it says that it waits", intent).await;
    contended(lock.try_read().await);
    assert!(reader.is_valid());
    assert_eq!(reader.release().await, Ok(Released::InTime));
    let writer = waiting.await.unwrap().unwrap();
    assert_eq!(writer.release().await, Ok(Released::InTime));
    let reader = lock.read().await.unwrap();
    assert_eq!(reader.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

const INTENT: &str = "redlock-quorum:intent:job";

/// A writer that gives up lets readers in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_leaves_is_forgotten() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let reader = lock.read().await.unwrap();
    // Longer than a machine stands still, because an attempt that is cut short says nothing of the readers.
    let error = other.clone().max_wait(Duration::from_secs(2)).write().await.unwrap_err();
    assert!(matches!(error.reason(), LockError::Contended { .. }), "{error}");
    let second = lock.read().await.unwrap();
    for reader in [reader, second] {
        assert_eq!(reader.release().await, Ok(Released::InTime));
    }
    // One that dies leaves an intent that ends by itself.
    for node in 0..NODES {
        cluster.command(node, &["SET", INTENT, "1", "PX", "1000"]).unwrap();
    }
    let reader = lock.read().await.unwrap();
    assert_eq!(reader.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// The bug: the key said that some writer waits, not which, so the first writer that went let readers in while the next
/// one waited. Where only some nodes had been told, a reader was notified instead of the writer, and denied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_leaves_lets_nobody_in_while_another_one_waits() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let reader = lock.read().await.unwrap();
    let wait = |lock: &RwLock| {
        let lock = lock.clone().max_wait(Duration::from_secs(60));
        tokio::spawn(async move { lock.write().await.map(drop) })
    };
    let (first, second) = (wait(&lock), wait(&other));
    let waiting = async |writers| {
        let waits = |node| cluster.command(node, &["HLEN", INTENT]).unwrap().int();
        eventually(SLACK, "they say so", || (0..NODES).all(|node| waits(node) == Some(writers))).await;
    };
    waiting(2).await;
    first.abort();
    waiting(1).await;
    assert_eq!(reader.release().await, Ok(Released::InTime));
    second.await.unwrap().unwrap();
    ends_empty(&cluster).await;
}

/// A reader that has crashed is in the way of a writer until its own TTL has passed, whatever others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_reader_blocks_for_its_ttl_alone() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let crashed = lock.clone().ttl(Duration::from_secs(1)).read().await.unwrap();
    let longer = other.read().await.unwrap();
    assert!(pttl(&cluster, 0, "job") > LONG / 2);
    assert_eq!(longer.release().await, Ok(Released::InTime));
    let left = || (0..NODES).all(|node| pttl(&cluster, node, "job") <= Duration::from_millis(1001));
    eventually(SLACK, "the key lives as long as the reader that is left", left).await;
    let writer = other.write().await.unwrap();
    assert!(!crashed.is_valid());
    assert_eq!(crashed.release().await, Ok(Released::AlreadyExpired));
    assert!(writer.is_valid());
    assert_eq!(writer.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_becomes_a_reader_without_a_gap() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    for _ in 0..20 {
        let writer = lock.write().await.unwrap();
        let (token, deadline) = (writer.fencing_token(), writer.deadline());
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { other.read().await }
        });
        let reader = writer.downgrade().await;
        assert_eq!(reader.fencing_token(), token);
        assert!(reader.is_valid() && reader.deadline() + Duration::from_millis(1) > deadline);
        let second = waiting.await.unwrap().unwrap();
        assert!(matches!(other.try_write().await, Err(LockError::Contended { .. })));
        assert!(reader.is_valid() && second.is_valid());
        assert_eq!(second.release().await, Ok(Released::InTime));
        assert!(matches!(other.try_write().await, Err(LockError::Contended { .. })));
        assert_eq!(reader.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// Readers are renewed, restored where they were lost, and told of a loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_renewed_restored_and_told_of_a_loss() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    // Longer than a machine stands still, or the leases are lost.
    let ttl = Duration::from_secs(8);
    let lock = redlock.rwlock("job").unwrap().ttl(ttl);
    let mutex = redlock.mutex("another").unwrap().ttl(ttl).lock().await.unwrap();
    let writer = lock.write().await.unwrap();
    let guards = [writer.downgrade().await, lock.read().await.unwrap()];
    cluster.command(0, &["DEL", "job"]).unwrap();
    let is_reader = |guard: &Guard| {
        let score = cluster.command(0, &["ZSCORE", "job", guard.token()]).unwrap();
        score.text().is_some()
    };
    eventually(SLACK, "both are back", || guards.iter().all(is_reader)).await;
    let began = now();
    eventually(LONG, "held for longer than a TTL", || began.elapsed() > ttl).await;
    assert!(guards.iter().all(Guard::is_valid) && mutex.is_valid());
    for node in 0..2 {
        cluster.command(node, &["DEL", "job"]).unwrap();
        plant(&cluster, node, "job");
    }
    for guard in guards {
        let loss = lost(&guard).await;
        assert!(matches!(loss, Loss::Denied { .. }), "{loss}");
    }
    assert!(mutex.is_valid());
}

/// The rule of the README suffices, and an inspection shows the readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_need_no_more_permissions() {
    let world = Topology::THREE_GUARDED.start().await;
    let lock = world.redlock.rwlock("job").unwrap().max_wait(LONG);
    let writer = lock.write().await.unwrap();
    let waiting = tokio::spawn({
        let other = world.other.rwlock("job").unwrap().max_wait(LONG);
        async move { other.read().await }
    });
    let mut reader = writer.downgrade().await;
    reader.extend(LONG * 2).await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    let readers = || {
        let inspected = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(world.other.inspect("job"))
        });
        match inspected.unwrap().state() {
            LockState::HeldByReaders(readers) => readers.len(),
            LockState::Held(_) | LockState::NotHeld | LockState::Unknown | _ => 0,
        }
    };
    eventually(SLACK, "both are shown", || readers() == 2).await;
    let writing = tokio::spawn(async move { lock.write().await });
    for reader in [reader, second] {
        assert_eq!(reader.release().await, Ok(Released::InTime));
    }
    assert_eq!(writing.await.unwrap().unwrap().release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

/// The bug: a reader that had come before a waiting writer was notified again and again, and the writer never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_front_of_a_writer_lets_it_pass() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let [lock, other] = locks(&clients);
    let queue = "redlock-quorum:queue:job";
    let waiters = || {
        let count = |node| cluster.command(node, &["ZCARD", queue]).unwrap().int().unwrap();
        (0..NODES).map(count).max().unwrap()
    };
    let third = client(cluster.urls()).await;
    for _ in 0..5 {
        let holder = third.rwlock("job").unwrap().write().await.unwrap();
        let reading = tokio::spawn({
            let lock = lock.clone();
            async move { lock.read().await }
        });
        eventually(SLACK, "the reader waits", || waiters() == 1).await;
        let writing = tokio::spawn({
            let other = other.clone();
            async move { other.write().await }
        });
        eventually(SLACK, "the writer waits", || waiters() == 2).await;
        assert_eq!(holder.release().await, Ok(Released::InTime));
        let writer =
            tokio::time::timeout(LONG / 4, writing).await.expect("the writer gets it").unwrap().unwrap();
        assert_eq!(writer.release().await, Ok(Released::InTime));
        let reader = reading.await.unwrap().unwrap();
        assert_eq!(reader.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// A sorted set of an application is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_set_is_contention_and_left_alone() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    for node in 0..NODES {
        cluster.command(node, &["ZADD", "job", "1", "x"]).unwrap();
    }
    contended(locks(&clients)[0].try_read().await);
    for node in 0..NODES {
        assert_eq!(cluster.command(node, &["ZSCORE", "job", "x"]).unwrap().text(), Some("1"));
    }
}

/// Readers and writers of two clients: nobody beside a writer, and everybody gets on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_gets_on() {
    const TASKS: usize = 12;
    const EACH: usize = 40;
    let mut random = Random::from_environment();
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = two_clients(&cluster).await;
    let tasks = (0..TASKS).map(|task| {
        let (lock, random) = (locks(&clients)[task % 2].clone(), Random::new(random.next()));
        tokio::spawn(sections(format!("task {task}"), lock, random, EACH))
    });
    let began = now();
    let all = tokio::time::timeout(LONG, try_join_all(tasks));
    let sections = all.await.expect("nobody waits for ever").unwrap().concat();
    println!("{} sections in {:?}", sections.len(), began.elapsed());
    check(&sections).assert_ok();
    ends_empty(&cluster).await;
}

async fn sections(name: String, lock: RwLock, mut random: Random, each: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    for _ in 0..each {
        let requested_at = origin();
        let (sharing, guard) = if random.one_in(5) {
            let writer = lock.write().await.unwrap();
            if random.one_in(3) {
                (Sharing::Shared, writer.downgrade().await)
            } else {
                let section = section(&name, Sharing::Exclusive, requested_at, &writer).await;
                sections.push(section);
                assert_eq!(writer.release().await, Ok(Released::InTime));
                continue;
            }
        } else if random.one_in(10) {
            let limit = random.up_to(Duration::from_millis(3));
            let _ = tokio::time::timeout(limit, lock.read()).await;
            let _ = tokio::time::timeout(limit, lock.write()).await;
            continue;
        } else {
            (Sharing::Shared, lock.read().await.unwrap())
        };
        sections.push(section(&name, sharing, requested_at, &guard).await);
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    sections
}

async fn section(name: &str, sharing: Sharing, requested_at: u64, guard: &Guard) -> Section {
    let acquired_at = origin();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let now = origin();
    let deadline = now + u64::try_from(guard.remaining().as_nanos()).unwrap();
    Section {
        client: name.to_owned(),
        resource: "job".to_owned(),
        sharing,
        requested_at,
        acquired_at,
        deadline,
        ended_at: Some(now),
        fencing_token: Some(guard.fencing_token().get()),
    }
}

/// 32 readers and the same number of holders of a mutex, with sections of 5 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_each_other() {
    const TASKS: usize = 32;
    const EACH: usize = 10;
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    let (lock, mutex) = (redlock.rwlock("job").unwrap(), redlock.mutex("alone").unwrap().max_wait(LONG));
    let mut rates = Vec::new();
    for kind in ["readers", "mutex"] {
        let began = now();
        let tasks = (0..TASKS).map(|_| {
            let (lock, mutex) = (lock.clone(), mutex.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let guard = if kind == "readers" { lock.read().await } else { mutex.lock().await };
                    let guard = guard.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    assert_eq!(guard.release().await, Ok(Released::InTime));
                }
            })
        });
        try_join_all(tasks).await.unwrap();
        rates.push((TASKS * EACH) as f64 / began.elapsed().as_secs_f64());
    }
    println!("{:.0} sections a second by readers, {:.0} by a mutex", rates[0], rates[1]);
    ends_empty(&cluster).await;
}
