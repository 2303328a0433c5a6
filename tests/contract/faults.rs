//! Nodes that die, hang and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{ExtendError, LockError, NodeFailure, NodeVote, Redlock, ReleaseError, Released, Retry};

use crate::support::{
    LONG, NODE_TIMEOUT, SLACK, builder, client, contended, eventually, name, no_quorum, now, plant, value,
};

const KEY: &str = "job";

/// node-redlock: "unable to achieve a quorum" gives no reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_dead_are_named_with_their_reasons() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = client(cluster.urls()).await;
    let (dead, living) = ([0, 2, 4], [1, 3]);
    for node in dead {
        cluster.kill(node).unwrap();
    }
    // At first the connections have just been lost, later the nodes are known to be down.
    for _ in 0..5 {
        let started = now();
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        assert!(started.elapsed() < NODE_TIMEOUT + SLACK);
        let LockError::NoQuorum { resource, needed, votes } = &error else { unreachable!() };
        assert_eq!((resource.as_str(), *needed), (KEY, 3));
        let failed: BTreeSet<String> = votes.failures().map(|(node, _)| node.to_owned()).collect();
        assert_eq!(failed, dead.map(|node| name(&cluster, node)).into(), "{error}");
        for (node, failure) in votes.failures() {
            let gone =
                matches!(failure, NodeFailure::ConnectionLost { .. } | NodeFailure::Unreachable { .. });
            assert!(gone, "{failure:?}");
            assert!(error.to_string().contains(&format!("{node}: {failure}")), "{error}");
        }
    }
    let gone = || living.iter().all(|node| cluster.keys(*node).unwrap().is_empty());
    eventually(SLACK, "nothing is left on the two", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_hung_are_named_after_the_node_timeout() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = client(cluster.urls()).await;
    let (hung, living) = ([1, 2, 3], [0, 4]);
    for node in hung {
        cluster.pause(node).unwrap();
    }
    let started = now();
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    let waited = started.elapsed();
    assert!(waited >= NODE_TIMEOUT && waited < NODE_TIMEOUT + SLACK, "{waited:?}");
    let failed: Vec<_> = error.votes().unwrap().failures().collect();
    let expected = NodeFailure::NoAnswer { after: NODE_TIMEOUT };
    assert_eq!(failed, hung.map(|node| name(&cluster, node)).each_ref().map(|node| (&**node, &expected)));
    let granted = error.votes().unwrap().iter().filter(|(_, vote)| **vote == NodeVote::Granted);
    assert_eq!(granted.count(), 2);
    eventually(SLACK, "nothing is left on the two", || no_keys(&cluster, &living)).await;
    for node in hung {
        cluster.resume(node).unwrap();
    }
    eventually(SLACK, "nothing is left on any", || no_keys(&cluster, &[0, 1, 2, 3, 4])).await;
}

/// pottery, rslock: a wait loops for ever when all nodes are down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_although_all_nodes_are_dead() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..3 {
        cluster.kill(node).unwrap();
    }
    let redlock = client(cluster.urls()).await;
    let max_wait = Duration::from_millis(300);
    let started = now();
    let error = redlock.mutex(KEY).unwrap().max_wait(max_wait).lock().await.unwrap_err();
    let waited = started.elapsed();
    assert!(waited >= max_wait && waited < max_wait + SLACK, "{waited:?}");
    assert!(matches!(error.reason(), LockError::NoQuorum { .. }), "{error}");
    assert_eq!(error.votes().unwrap().failures().count(), 3, "{error}");

    // A longer wait outlasts the outage.
    let waiter = tokio::spawn(async move {
        redlock.mutex(KEY).unwrap().max_wait(LONG).lock().await.unwrap().release().await
    });
    for node in 0..3 {
        cluster.restart(node, Data::Kept).unwrap();
    }
    assert_eq!(waiter.await.unwrap(), Ok(Released::InTime));
}

/// redlock-py, badboy's redlock: one node down fails every lock. RedLock.net: the first attempts after the start fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_dead_at_the_start_is_used_when_it_is_back() {
    let cluster = LocalCluster::start(3).unwrap();
    cluster.kill(0).unwrap();
    let redlock = client(cluster.urls()).await;
    let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert!(redlock.nodes()[0].failure().is_some());

    cluster.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "it is connected", || redlock.nodes()[0].failure().is_none()).await;
    // Now the vote of the returned node is needed.
    cluster.kill(2).unwrap();
    let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(value(&cluster, 0, KEY).as_deref(), Some(guard.token()));
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1])).await;
}

/// redlock-universal: a failed acquire leaves its key on the node whose answer timed out. Here the commands wait in the
/// socket of a hung node, and run when the node resumes, on a connection that was abandoned long before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hung_ends_without_keys_of_finished_attempts() {
    let cluster = LocalCluster::start(3).unwrap();
    let node_timeout = Duration::from_secs(1);
    let redlock = builder(cluster.urls()).node_timeout(node_timeout).connect().await.unwrap();
    let taken = redlock.mutex("taken").unwrap();
    for node in 1..3 {
        plant(&cluster, node, "taken");
    }
    let mutex = |i: u32| redlock.mutex(format!("job-{i}")).unwrap();
    let held_before = mutex(0).lock().await.unwrap();
    let held_over = mutex(1).lock().await.unwrap();

    cluster.pause(0).unwrap();
    // The results do not matter, because the machine may stand still for longer than the node timeout.
    drop(held_before.release().await);
    let mut cycle = 2;
    while redlock.nodes()[0].failure().is_none() {
        cycle += 1;
        match cycle % 4 {
            0 => drop(mutex(cycle).lock().await.unwrap()),
            1 => drop(mutex(cycle).lock().await.unwrap().release().await),
            2 => drop(taken.try_lock().await.unwrap_err()),
            // Cancelled as soon as the command has been sent.
            _ => drop(tokio::time::timeout(Duration::ZERO, mutex(cycle).lock()).await),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It was abandoned meanwhile.
    cluster.resume(0).unwrap();
    drop(held_over.release().await);
    drop(mutex(cycle + 1).lock().await.unwrap());

    eventually(SLACK, "it is connected", || redlock.nodes()[0].failure().is_none()).await;
    eventually(SLACK, "nothing is left on it", || no_keys(&cluster, &[0])).await;
    let only_theirs = || (1..3).all(|node| cluster.keys(node).unwrap() == ["taken"]);
    eventually(SLACK, "nothing else is left on the others", only_theirs).await;
    // The node votes again, which leaves no keys either.
    cluster.kill(1).unwrap();
    drop(mutex(0).lock().await.unwrap().release().await);
    eventually(SLACK, "nothing is left on it", || no_keys(&cluster, &[0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_while_the_lock_is_held_is_told_of_the_release() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    for data in [Data::Kept, Data::Lost] {
        let guard = held_everywhere(&redlock, &cluster).await;
        cluster.restart(0, data).unwrap();
        assert!(guard.is_valid());
        contended(redlock.mutex(KEY).unwrap().try_lock().await);
        assert_eq!(guard.release().await, Ok(Released::InTime));
        eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
        eventually(SLACK, "it is connected", || redlock.nodes()[0].is_connected()).await;
    }
}

/// The restarted node restores its key from its disk after all other nodes have removed theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_during_the_release_is_told_when_it_is_back() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    for how in ["release", "drop"] {
        let guard = held_everywhere(&redlock, &cluster).await;
        cluster.kill(0).unwrap();
        if how == "drop" {
            drop(guard);
        } else {
            assert_eq!(guard.release().await, Ok(Released::InTime));
        }
        eventually(SLACK, "nothing is left on the others", || no_keys(&cluster, &[1, 2])).await;
        cluster.restart(0, Data::Kept).unwrap();
        eventually(SLACK, "nothing is left on it", || no_keys(&cluster, &[0])).await;
        eventually(SLACK, "it is connected", || redlock.nodes()[0].failure().is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_without_a_quorum_says_so_and_goes_on() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let guard = held_everywhere(&redlock, &cluster).await;
    for node in [0, 1] {
        cluster.kill(node).unwrap();
    }
    let error = guard.release().await.unwrap_err();
    let ReleaseError::Unconfirmed { resource, votes } = &error else { panic!("{error:?}") };
    assert_eq!(resource, KEY);
    let failed: Vec<&str> = votes.failures().map(|(node, _)| node).collect();
    assert_eq!(failed, [name(&cluster, 0), name(&cluster, 1)], "{error}");
    for node in [0, 1] {
        cluster.restart(node, Data::Kept).unwrap();
    }
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
}

/// The supervisor outlives the client until all releases are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_still_releases_on_a_node_that_comes_back() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let guard = held_everywhere(&redlock, &cluster).await;
    cluster.kill(0).unwrap();
    drop((redlock, guard));
    eventually(SLACK, "nothing is left on the others", || no_keys(&cluster, &[1, 2])).await;
    cluster.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "nothing is left on it", || no_keys(&cluster, &[0])).await;
}

/// A release for a node that never returns is kept as long as the node's key could live, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_cannot_be_made_is_forgotten_with_its_ttl() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let ttl = Duration::from_secs(4);
    let guard = redlock.mutex(KEY).unwrap().ttl(ttl).lock().await.unwrap();
    eventually(SLACK, "all nodes hold it", || value(&cluster, 0, KEY).is_some()).await;
    cluster.kill(0).unwrap();
    let dropped = now();
    drop((guard, redlock));
    let running = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    eventually(SLACK, "the other nodes' tasks have ended", || running() <= 1).await;
    eventually(ttl + SLACK, "its task has ended", || running() == 0).await;
    assert!(dropped.elapsed() >= ttl, "before that it may come back with the key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_while_the_lock_is_held_cost_nothing() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let cut = || {
        for node in 0..3 {
            cluster.command(node, &["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        }
    };
    let mut guard = held_everywhere(&redlock, &cluster).await;
    cut();
    let up = || redlock.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "extended on new connections", up).await;
    // The client may not have noticed yet. Then the old deadline stands, and the extension is tried again.
    while let Err(error) = guard.extend(LONG * 2).await {
        assert!(matches!(error, ExtendError::NoQuorum { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(guard.remaining() > LONG);
    cut();
    // Confirmed or not, the release continues in the background.
    match guard.release().await {
        Ok(released) => assert_eq!(released, Released::InTime),
        Err(error) => assert!(matches!(error, ReleaseError::Unconfirmed { .. }), "{error}"),
    }
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
}

/// rslock: with one stopped node of three `lock` hangs. redsync: `extend` and `unlock` hang. RedLock.net and madelson:
/// a disconnected node slows everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_slows_nothing() {
    let cluster = LocalCluster::start(3).unwrap();
    // An attempt that waits for the hung node takes this long.
    let node_timeout = Duration::from_secs(20);
    let redlock = builder(cluster.urls()).node_timeout(node_timeout).connect().await.unwrap();
    for hung in 0..3 {
        cluster.pause(hung).unwrap();
        let started = now();
        let mut guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
        guard.extend(LONG * 2).await.unwrap();
        contended(redlock.mutex(KEY).unwrap().try_lock().await);
        assert_eq!(guard.release().await, Ok(Released::InTime));
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
        cluster.resume(hung).unwrap();
        eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
    }
}

/// node-redlock: with two or four nodes and split votes the promise is pending for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_even_split_is_contention_at_once() {
    for nodes in [2, 4] {
        let cluster = LocalCluster::start(nodes).unwrap();
        let node_timeout = Duration::from_secs(20);
        let one = builder(cluster.urls()).node_timeout(node_timeout).connect().await.unwrap();
        let two = builder(cluster.urls()).node_timeout(node_timeout).connect().await.unwrap();
        let started = now();
        for half in [0..nodes / 2, nodes / 2..nodes] {
            for node in half.clone() {
                plant(&cluster, node, "split");
            }
            let mutexes = [&one, &two].map(|client| client.mutex("split").unwrap());
            let (first, second) = tokio::join!(mutexes[0].try_lock(), mutexes[1].try_lock());
            contended(first);
            contended(second);
            for node in half {
                cluster.command(node, &["DEL", "split"]).unwrap();
            }
        }
        let mut won = 0;
        let mutexes = [&one, &two].map(|client| client.mutex(KEY).unwrap());
        for _ in 0..50 {
            let (first, second) = tokio::join!(mutexes[0].try_lock(), mutexes[1].try_lock());
            assert!(first.is_err() || second.is_err(), "both hold it");
            for result in [first, second] {
                match result {
                    Ok(guard) => won += usize::from(guard.release().await == Ok(Released::InTime)),
                    Err(error) => drop(contended(Err(error))),
                }
            }
        }
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
        println!("{nodes} nodes: {won} of 50 rounds were won");
        // Both clients make progress in spite of split votes.
        let retry = Retry::exponential(Duration::from_millis(2), Duration::from_millis(50));
        let [first, second] = mutexes.map(|mutex| mutex.retry(retry));
        let turns = async |mutex: &redlock_quorum::Mutex| {
            for _ in 0..10 {
                assert_eq!(mutex.lock().await.unwrap().release().await, Ok(Released::InTime));
            }
        };
        tokio::join!(turns(&first), turns(&second));
        let all: Vec<usize> = (0..nodes).collect();
        eventually(SLACK, "nothing is left", || no_keys(&cluster, &all)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_flushed_are_sent_again() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let flush = || {
        for node in 0..3 {
            assert_eq!(cluster.command(node, &["SCRIPT", "FLUSH"]).unwrap().text(), Some("OK"));
        }
    };
    let mut guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    flush();
    guard.extend(LONG * 2).await.unwrap();
    assert!(guard.remaining() > LONG);
    flush();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    flush();
    drop(guard);
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
}

/// A lock on all nodes, including those whose answers were not needed.
pub(crate) async fn held_everywhere(redlock: &Redlock, cluster: &LocalCluster) -> redlock_quorum::Guard {
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let ours = || (0..cluster.len()).all(|node| value(cluster, node, KEY).as_deref() == Some(guard.token()));
    eventually(SLACK, "all nodes hold the key", ours).await;
    guard
}

pub(crate) fn no_keys(cluster: &LocalCluster, nodes: &[usize]) -> bool {
    nodes.iter().all(|node| cluster.keys(*node).is_ok_and(|keys| keys.is_empty()))
}
