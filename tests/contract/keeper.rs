//! The keeper, the task that keeps leases alive: when it begins and ends, and what it needs.

use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Loss, NodeFailure, NodeVote, Released};

use crate::holding::{KEY, TTL, gone, hold, keeper, stays_held};
use crate::support::{LONG, SLACK, builder, client, eventually, lost, now, plant};

fn running() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The bug: the keeper ended with a lease that was released, but slept on for ever after one that was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keeper_ends_with_its_last_lease_however_that_ends() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    eventually(SLACK, "all are connected", || redlock.nodes().iter().all(|node| node.failure().is_none()))
        .await;
    let at_rest = running();
    for end in ["released", "dropped", "expired", "denied"] {
        let mutex = redlock.mutex(KEY).unwrap().ttl(TTL / 2);
        let guard = mutex.keep_alive(end != "expired").lock().await.unwrap();
        assert_eq!(running(), at_rest + 1, "{end}");
        match end {
            "released" => assert_eq!(guard.release().await, Ok(Released::InTime)),
            "dropped" => drop(guard),
            _ => {
                if end == "denied" {
                    (0..3).for_each(|node| drop(cluster.command(node, &["DEL", KEY]).unwrap()));
                }
                lost(&guard).await;
            }
        }
        eventually(SLACK, end, || running() == at_rest).await;
    }
}

/// The bug: the keeper ran where the first lock was acquired, and ended with that runtime. The leases of other runtimes
/// were no longer renewed, and nobody learned of their end.
#[test]
fn the_keeper_outlives_the_runtime_of_the_first_lock() {
    let cluster = LocalCluster::start(3).unwrap();
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (home, guest) = (runtime(), runtime());
    let redlock = home.block_on(keeper(&cluster));
    let first = guest.block_on(redlock.mutex("first").unwrap().lock()).unwrap();
    let second = home.block_on(redlock.mutex("second").unwrap().lock()).unwrap();
    drop(guest);
    home.block_on(stays_held(&first));
    assert!(second.is_valid());
    for guard in [first, second] {
        assert_eq!(home.block_on(guard.release()), Ok(Released::InTime));
    }
}

/// The bug: the first renewal was due a part of the TTL after the lock was acquired. A lease counts from its request,
/// so a lease that took long to acquire was over by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_slow_to_win_is_renewed_in_time() {
    let cluster = LocalCluster::start(3).unwrap();
    let (ttl, delay) = (Duration::from_secs(20), Duration::from_millis(15_700));
    let redlock = builder(cluster.urls())
        .ttl(ttl)
        .node_timeout(ttl - Duration::from_millis(50))
        .max_ttl(LONG)
        // The nodes do not answer for longer than an observation counts.
        .dangerous_no_restart_guard()
        .keep_alive(true);
    let redlock = redlock.min_validity(Duration::from_millis(50)).connect().await.unwrap();
    // Several leases, because each has another time for its first renewal.
    let mutexes = [0, 1, 2, 3].map(|i| redlock.mutex(format!("job-{i}")).unwrap());
    (0..2).for_each(|node| cluster.pause(node).unwrap());
    let delayed = async {
        tokio::time::sleep(delay).await;
        (0..2).for_each(|node| cluster.resume(node).unwrap());
    };
    let began = now();
    let (guards, ()) = tokio::join!(try_join_all(mutexes.iter().map(|mutex| mutex.lock())), delayed);
    let guards = guards.unwrap();
    assert!(began.elapsed() >= delay, "they were slow to win");
    eventually(SLACK, "renewed", || guards.iter().all(|guard| guard.remaining() > ttl - delay)).await;
    for guard in guards {
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
}

/// The bug: leases that the keeper was just checking were released without the shutdown, which did not wait for them.
#[test]
fn shutdown_waits_for_leases_that_are_being_looked_at() {
    let cluster = LocalCluster::start(1).unwrap();
    for round in 0..10 {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guards = runtime.block_on(async {
            let redlock = client(cluster.urls()).await;
            let mutexes: Vec<_> = (0..1000).map(|i| redlock.mutex(format!("job-{i}")).unwrap()).collect();
            let guards = try_join_all(mutexes.iter().map(|mutex| mutex.lock())).await.unwrap();
            // Meanwhile the first check of all leases becomes due, and the keeper begins it as soon as it can run.
            tokio::spawn(async { std::thread::sleep(Duration::from_millis(300)) }).await.unwrap();
            redlock.shutdown().await;
            guards
        });
        // The runtime is gone, so nothing can be released any more.
        drop(runtime);
        assert!(gone(&cluster), "round {round}: {} keys", cluster.keys(0).unwrap().len());
        drop(guards);
    }
}

/// The bug: the shutdown gave up after a fixed time, however many locks had to be released.
#[test]
fn shutdown_waits_for_as_long_as_nodes_answer() {
    let cluster = LocalCluster::start(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Longer than the node is silent below, even if the machine stands still for a while.
    let limit = Duration::from_secs(8);
    let redlock = runtime.block_on(builder(cluster.urls()).connect_timeout(limit).connect()).unwrap();
    let mutexes: Vec<_> = (0..12_000).map(|i| redlock.mutex(format!("job-{i}")).unwrap()).collect();
    let guards = runtime.block_on(try_join_all(mutexes.iter().map(|mutex| mutex.lock()))).unwrap();
    let keys = || cluster.command(0, &["DBSIZE"]).unwrap().int().unwrap();
    std::thread::scope(|scope| {
        // For longer than the limit, the node answers only a part of the releases at a time: enough of them that the
        // kernel sees progress, because otherwise it drops the connection after five seconds.
        scope.spawn(|| {
            for _ in 0..18 {
                cluster.pause(0).unwrap();
                std::thread::sleep(limit / 16);
                cluster.resume(0).unwrap();
                let (resumed, before) = (now(), keys());
                while before - keys() < 512 && resumed.elapsed() < limit / 16 {}
            }
        });
        runtime.block_on(redlock.shutdown());
        assert_eq!(cluster.keys(0).unwrap().len(), 0, "{:?}", redlock.stats().nodes);
    });
    drop(guards);
}

/// The loss is announced at once, although the extension itself waits for nodes that may still extend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_that_an_extension_brings_to_light_is_told_at_once() {
    let cluster = LocalCluster::start(3).unwrap();
    plant(&cluster, 0, KEY);
    let redlock = builder(cluster.urls()).node_timeout(LONG / 2).connect().await.unwrap();
    let mut guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let token = guard.cancellation_token();
    cluster.command(1, &["DEL", KEY]).unwrap();
    [0, 2].into_iter().for_each(|node| cluster.pause(node).unwrap());
    tokio::select! {
        () = token.cancelled() => {}
        extended = guard.extend(LONG) => panic!("{extended:?}"),
        () = tokio::time::sleep(SLACK) => panic!("nobody was told"),
    }
    assert!(matches!(lost(&guard).await, Loss::Denied { .. }));
}

/// A loss includes the reasons of the nodes that did not renew, not only the fact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_says_what_the_nodes_said() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    cluster.pause(0).unwrap();
    cluster.command(1, &["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
    let loss = lost(&guard).await;
    let Loss::Expired { votes, .. } = &loss else { panic!("{loss}") };
    let votes: Vec<_> = votes.iter().map(|(_, vote)| vote).collect();
    assert!(matches!(votes[1], NodeVote::Unknown(NodeFailure::ReadOnly { .. })), "{loss}");
    assert_eq!(votes[2], &NodeVote::Granted, "{loss}");
}

/// A client that was stopped itself has not asked any node, and must not report that the nodes did not answer.
#[tokio::test]
async fn a_loss_blames_no_node_that_was_not_asked() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = redlock.mutex(KEY).unwrap().ttl(TTL / 8).lock().await.unwrap();
    // Nothing else runs on this runtime.
    std::thread::sleep(TTL / 8);
    assert!(guard.cancellation_token().is_cancelled(), "by the clock, before any timer was looked at");
    let loss = lost(&guard).await;
    let Loss::Expired { votes, .. } = &loss else { panic!("{loss}") };
    assert!(votes.iter().all(|(_, vote)| *vote == NodeVote::NotAwaited), "{loss}");
}
