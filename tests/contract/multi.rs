//! Several resources at once: all of them or none, in any order, and without a circle of waiters.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::{LockError, Loss, Multi, Redlock, Released, SettingsError};

use crate::support::{
    FOREIGN, LONG, Random, SLACK, builder, client, contended, eventually, lost, now, origin, plant, pttl,
    value,
};
use crate::waiting::ends_empty;

const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_is_taken_and_by_whom() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).owner("the holder").connect().await.unwrap();
    let other = client(cluster.urls()).await;
    let b = redlock.mutex("b").unwrap().lock().await.unwrap();
    for node in 0..NODES {
        plant(&cluster, node, "d");
        cluster.command(node, &["RPUSH", "e", "a list"]).unwrap();
    }
    let names = ["e", "c", "b", "d", "a"];
    let error = contended(other.multi(names).unwrap().try_lock().await);
    let LockError::Contended { resource, taken, .. } = &error else { unreachable!() };
    assert_eq!(resource, "a, b, c, d, e");
    let said: Vec<_> = taken.iter().map(|taken| (taken.resource.as_str(), taken.owner.as_str())).collect();
    assert_eq!(said, [("b", "the holder"), ("d", FOREIGN), ("e", "")], "{error}");
    assert!(taken.iter().all(|taken| taken.nodes > NODES / 2), "{taken:?}");
    assert!(error.to_string().contains(r#""b" by "the holder""#), "{error}");
    for name in ["a", "c"] {
        assert!((0..NODES).all(|node| value(&cluster, node, name).is_none()), "{name} was never set");
    }
    assert_eq!(b.release().await, Ok(Released::InTime));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_name_is_a_lock_like_any_other() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let (redlock, other) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = redlock.multi(["b", "a"]).unwrap().lock().await.unwrap();
    assert_eq!(guard.resource(), "a, b");
    assert_eq!(guard.resources().collect::<Vec<_>>(), ["a", "b"]);
    for name in ["a", "b"] {
        contended(other.mutex(name).unwrap().try_lock().await);
        let inspection = other.inspect(name).await.unwrap();
        assert!(matches!(inspection.state(), redlock_quorum::LockState::Held(_)), "{inspection:?}");
    }
    let apart = other.multi(["c", "d"]).unwrap().try_lock().await.unwrap();
    contended(other.multi(["b", "c", "e"]).unwrap().try_lock().await);
    assert_eq!(apart.release().await, Ok(Released::InTime));
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let e = other.multi(["b", "c", "e"]).unwrap().try_lock().await.unwrap();
    assert_eq!(e.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// One token, above those of each name before it, and below those of each name after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_fencing_token_is_valid_for_every_name() {
    const HIGH: u64 = 1_900_000_000_000_000;
    let cluster = LocalCluster::start(NODES).unwrap();
    // The nodes disagree, so that a second round is needed. Node 0 knows the highest of `b`, nodes 1 and 2 that of `c`.
    for (node, name, ahead) in [(0, "b", 50), (1, "b", 7), (1, "c", 90), (2, "c", 80)] {
        let score = (HIGH + ahead).to_string();
        cluster.command(node, &["ZADD", "redlock-quorum:fences", &score, name]).unwrap();
    }
    let redlock = client(cluster.urls()).await;
    let mut last = HIGH + 80;
    for round in 0..20 {
        let guard = redlock.multi(["a", "b", "c"]).unwrap().lock().await.unwrap();
        let token = guard.fencing_token().get();
        assert!(token > last, "round {round}: {token} is not above {last}");
        last = token;
        assert_eq!(guard.release().await, Ok(Released::InTime));
        let guard = redlock.mutex(["a", "b", "c"][round % 3]).unwrap().lock().await.unwrap();
        let token = guard.fencing_token().get();
        assert!(token > last, "round {round}: {token} is not above {last}");
        last = token;
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
}

#[tokio::test]
async fn wrong_names_are_refused() {
    let redlock = client(["redis://127.0.0.1:1"]).await;
    let refused = |names: Vec<String>| redlock.multi(names).unwrap_err();
    let names = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>();
    for wrong in [names(0), names(65), names(1000)] {
        let error = refused(wrong);
        assert!(matches!(error, SettingsError::OutOfRange { .. }), "{error:?}");
        assert!(error.to_string().contains("between 1 and 64"), "{error}");
    }
    let twice = refused(vec!["a".into(), "b".into(), "a".into()]);
    assert!(matches!(&twice, SettingsError::Resource { name, .. } if name == "a"), "{twice:?}");
    assert!(matches!(refused(vec!["a".into(), String::new()]), SettingsError::Resource { .. }));
    assert!(redlock.multi(names(64)).is_ok());
}

/// The most names, each as long as possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_long_names_are_held_extended_and_released() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    let names: Vec<String> = (0..64).map(|i| format!("{i:x>512}")).collect();
    for round in 0..3 {
        let mut guard = redlock.multi(&names).unwrap().lock().await.unwrap();
        guard.extend(LONG * 2).await.unwrap();
        let held = |node: usize| {
            names.iter().filter(|name| value(&cluster, node, name).as_deref() == Some(guard.token())).count()
        };
        assert!((0..NODES).filter(|node| held(*node) == 64).count() > NODES / 2, "round {round}");
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// A node that has forgotten its scripts is no reason to fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_sent_again() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    for _ in 0..3 {
        (0..NODES).for_each(|node| drop(cluster.command(node, &["SCRIPT", "FLUSH"]).unwrap()));
        let mut guard = redlock.multi(["a", "b"]).unwrap().lock().await.unwrap();
        (0..NODES).for_each(|node| drop(cluster.command(node, &["SCRIPT", "FLUSH"]).unwrap()));
        guard.extend(LONG).await.unwrap();
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// A node that has lost one of the keys gets it again, and the other keys there are not cut short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lost_key_is_set_again_and_shortens_nothing() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    let mut guard = redlock.multi(["a", "b", "c"]).unwrap().ttl(Duration::from_secs(1)).lock().await.unwrap();
    guard.extend(LONG).await.unwrap();
    for name in ["b", "a"] {
        cluster.command(0, &["DEL", name]).unwrap();
        let back = || value(&cluster, 0, name).as_deref() == Some(guard.token());
        eventually(SLACK, format!("{name} is back"), back).await;
        assert!(pttl(&cluster, 0, "c") > LONG / 2, "{:?}", pttl(&cluster, 0, "c"));
        assert!(guard.is_valid());
    }
    assert_eq!(guard.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// One name that another owner got on a quorum of nodes is enough for a loss, and the others are released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lost_name_loses_all() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    let guard = redlock.multi(["a", "b", "c"]).unwrap().ttl(Duration::from_secs(3)).lock().await.unwrap();
    for node in 0..2 {
        plant(&cluster, node, "b");
    }
    let loss = lost(&guard).await;
    assert!(matches!(loss, Loss::Denied { .. }), "{loss}");
    let gone = || {
        let keys = |node| cluster.keys(node).unwrap();
        (0..NODES).all(|node| keys(node).iter().all(|key| key == "b" && node < 2))
    };
    eventually(SLACK, "all but the other owner's key are gone", gone).await;
    drop(guard);
}

/// A waiter for several resources waits in the queue of the one that is taken, holds nothing, and is notified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_what_is_taken_and_holds_nothing() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let (redlock, other) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let c = other.mutex("c").unwrap().lock().await.unwrap();
    let b = other.mutex("b").unwrap().lock().await.unwrap();
    let multi = redlock.multi(["a", "b", "c"]).unwrap().max_wait(LONG);
    let waiting = tokio::spawn(async move { multi.lock().await });
    let queued = |name: &str| {
        let queue = format!("redlock-quorum:queue:{name}");
        (0..NODES).any(|node| cluster.command(node, &["EXISTS", &queue]).unwrap().int() == Some(1))
    };
    eventually(SLACK, "it waits for b", || queued("b")).await;
    let a = other.mutex("a").unwrap().try_lock().await.unwrap();
    assert_eq!(b.release().await, Ok(Released::InTime));
    // `a` and `c` are taken now.
    eventually(SLACK, "it waits for a", || queued("a")).await;
    let b = other.mutex("b").unwrap().lock().await.unwrap();
    assert_eq!(b.release().await, Ok(Released::InTime));
    assert_eq!(a.release().await, Ok(Released::InTime));
    eventually(SLACK, "it waits for c", || queued("c")).await;
    assert_eq!(c.release().await, Ok(Released::InTime));
    let guard = waiting.await.unwrap().unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_wait_says_what_was_taken() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let (redlock, other) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let held = other.mutex("b").unwrap().lock().await.unwrap();
    // Another waiter of the same process waits in the same queue, and reports its own lock.
    // Longer than a machine stands still, because an attempt that is cut short says nothing of the other owner.
    let wait = Duration::from_secs(2);
    let (multi, mutex) = (redlock.multi(["a", "b"]).unwrap(), redlock.mutex("b").unwrap());
    let (multi, mutex) = (multi.max_wait(wait), mutex.max_wait(wait));
    let (multi, mutex) = tokio::join!(multi.lock(), mutex.lock());
    for (error, name) in [(multi.unwrap_err(), "a, b"), (mutex.unwrap_err(), "b")] {
        let LockError::Contended { resource, .. } = error.reason() else { panic!("{error:?}") };
        assert_eq!(resource, name, "{error}");
    }
    assert_eq!(held.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// Random sets that overlap, single names among them: no two holders of one name, no circle of waiters, and tokens that
/// grow for each name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sets_get_on() {
    const NAMES: u64 = 6;
    const TASKS: usize = 12;
    const EACH: usize = 40;
    let mut random = Random::from_environment();
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let tasks = (0..TASKS).map(|task| {
        let (client, random) = (clients[task % 2].clone(), Random::new(random.next()));
        tokio::spawn(sections_of_random_sets(format!("task {task}"), client, random, NAMES, EACH))
    });
    let all = tokio::time::timeout(LONG, try_join_all(tasks));
    let sections = all.await.expect("nobody waits for ever").unwrap().concat();
    assert!(sections.len() > TASKS * EACH);
    check(&sections).assert_ok();
    ends_empty(&cluster).await;
}

async fn sections_of_random_sets(
    name: String,
    client: Redlock,
    mut random: Random,
    names: u64,
    each: usize,
) -> Vec<Section> {
    let mut sections = Vec::new();
    for _ in 0..each {
        let mut set: Vec<String> = (0..names).map(|name| name.to_string()).collect();
        while set.len() > 1 && !random.one_in(3) {
            set.remove(usize::try_from(random.below(set.len() as u64)).unwrap());
        }
        let multi = client.multi(&set).unwrap().max_wait(LONG);
        if random.one_in(10) {
            // Cancelled at any point.
            let limit = random.up_to(Duration::from_millis(3));
            let _ = tokio::time::timeout(limit, multi.lock()).await;
            continue;
        }
        let requested_at = origin();
        let guard = multi.lock().await.unwrap();
        let acquired_at = origin();
        tokio::time::sleep(random.up_to(Duration::from_millis(2))).await;
        let now = origin();
        let deadline = now + u64::try_from(guard.remaining().as_nanos()).unwrap();
        sections.extend(guard.resources().map(|resource| Section {
            client: name.clone(),
            resource: resource.to_owned(),
            sharing: Sharing::Exclusive,
            requested_at,
            acquired_at,
            deadline,
            ended_at: Some(now),
            fencing_token: Some(guard.fencing_token().get()),
        }));
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    sections
}

/// 16 tasks that transfer between 8 accounts, and the same number of transfers between pairs that share no account. The
/// sums are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_keep_the_sum() {
    const ACCOUNTS: usize = 8;
    const TASKS: usize = 16;
    const EACH: usize = 40;
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut random = Random::from_environment();
    let accounts: Arc<Vec<AtomicI64>> = Arc::new((0..ACCOUNTS).map(|_| AtomicI64::new(100)).collect());
    let mut rates = Vec::new();
    for pairs in ["random", "disjoint"] {
        let started = now();
        let tasks = (0..TASKS).map(|task| {
            let (redlock, accounts, mut random) =
                (redlock.clone(), Arc::clone(&accounts), Random::new(random.next()));
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let account =
                        |random: &mut Random| usize::try_from(random.below(ACCOUNTS as u64)).unwrap();
                    let (from, to) = match pairs {
                        "disjoint" => (2 * (task % (ACCOUNTS / 2)), 2 * (task % (ACCOUNTS / 2)) + 1),
                        _ => {
                            let from = account(&mut random);
                            (from, (from + 1 + account(&mut random) % (ACCOUNTS - 1)) % ACCOUNTS)
                        }
                    };
                    let both = redlock.multi([from.to_string(), to.to_string()]).unwrap().max_wait(LONG);
                    transfer(&both, &accounts[from], &accounts[to]).await;
                }
            })
        });
        try_join_all(tasks).await.unwrap();
        rates.push((TASKS * EACH) as f64 / started.elapsed().as_secs_f64());
    }
    println!("{:.0} transfers a second of random pairs, {:.0} of disjoint ones", rates[0], rates[1]);
    let sum: i64 = accounts.iter().map(|account| account.load(Ordering::Relaxed)).sum();
    assert_eq!(sum, 100 * i64::try_from(ACCOUNTS).unwrap());
    ends_empty(&cluster).await;
}

/// Reads both, takes its time, and writes both: without the lock, a transfer at the same time would be lost.
async fn transfer(both: &Multi, from: &AtomicI64, to: &AtomicI64) {
    let guard = both.lock().await.unwrap();
    let (left, right) = (from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_millis(5)).await;
    from.store(left - 1, Ordering::Relaxed);
    to.store(right + 1, Ordering::Relaxed);
    assert!(guard.is_valid());
    assert_eq!(guard.release().await, Ok(Released::InTime));
}
