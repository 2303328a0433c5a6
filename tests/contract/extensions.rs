//! Leases that nodes fail to extend. They end at their announced deadline, and no key is removed before.

use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{ExtendError, NodeStatus, Released};

use crate::faults::{held_everywhere, no_keys};
use crate::support::{LONG, SLACK, builder, client, eventually, name, now, pttl, value};

const KEY: &str = "job";

/// pottery, redlock-universal: an extension of 1 s counts although its answers took longer. node-redlock, sesamecare,
/// Redisson, distributed-lock-redis: validity is not checked after an extension.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_is_answered_after_the_deadline_is_lost() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(cluster.urls()).node_timeout(Duration::from_secs(20)).connect().await.unwrap();
    let ttl = Duration::from_secs(1);
    let mut guard = redlock.mutex(KEY).unwrap().ttl(ttl).lock().await.unwrap();
    for node in [0, 1] {
        cluster.pause(node).unwrap();
    }
    let lost = guard.extend(LONG).await;
    assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
    assert!(!guard.is_valid());
    for node in [0, 1] {
        cluster.resume(node).unwrap();
    }
    // Whatever the nodes do and answer from now on.
    for _ in 0..20 {
        assert!(!guard.is_valid());
        assert_eq!(guard.remaining(), Duration::ZERO);
        let lost = guard.extend(LONG).await;
        assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The node that was never stopped has extended the key, which would live for a minute.
    assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2])).await;
}

/// madelson, RedLock.net: the lease is counted from the arrival of the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_counts_from_before_it_was_asked_for() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(cluster.urls()).node_timeout(Duration::from_secs(20)).connect().await.unwrap();
    let delay = Duration::from_millis(300);
    let delayed = async || {
        for node in [0, 1] {
            cluster.pause(node).unwrap();
        }
        tokio::time::sleep(delay).await;
        for node in [0, 1] {
            cluster.resume(node).unwrap();
        }
    };
    let mutex = redlock.mutex(KEY).unwrap();
    for node in [0, 1] {
        cluster.pause(node).unwrap();
    }
    let started = now();
    let (guard, ()) = tokio::join!(mutex.lock(), delayed());
    let mut guard = guard.unwrap();
    assert!(guard.deadline() < now() + LONG - delay, "counted from the answer");
    assert!(guard.deadline() < started + LONG);

    for node in [0, 1] {
        cluster.pause(node).unwrap();
    }
    let (extended, ()) = tokio::join!(guard.extend(LONG * 2), delayed());
    extended.unwrap();
    assert!(guard.remaining() > LONG && guard.remaining() < LONG * 2 - delay, "counted from the answer");
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

/// rslock: a failed extension deletes the keys that are still held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_extension_takes_nothing_away() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut guard = held_everywhere(&redlock, &cluster).await;
    let hung = [0, 1, 2];
    for node in hung {
        cluster.pause(node).unwrap();
    }
    let error = guard.extend(LONG * 2).await.unwrap_err();
    let ExtendError::NoQuorum { resource, left, votes } = &error else { panic!("{error:?}") };
    assert_eq!(resource, KEY);
    assert!(*left > LONG / 2 && *left < LONG, "{left:?}");
    let failed: Vec<&str> = votes.failures().map(|(node, _)| node).collect();
    assert_eq!(failed, hung.map(|node| name(&cluster, node)), "{error}");
    assert!(guard.is_valid());
    assert!(guard.remaining() < LONG, "two of five are not enough");
    for node in hung {
        cluster.resume(node).unwrap();
    }
    for node in 0..5 {
        assert_eq!(value(&cluster, node, KEY).as_deref(), Some(guard.token()), "node {node}");
    }
    guard.extend(LONG * 2).await.unwrap();
    assert!(guard.remaining() > LONG);
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2, 3, 4])).await;
}

/// distributed-lock-redis: nodes that answered the acquire late are dropped from the set, and an extension needs a
/// majority of the rest only, fewer each time, until two clients hold the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_needs_a_quorum_of_all_nodes_each_time() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut guard = held_everywhere(&redlock, &cluster).await;
    for round in 0..4 {
        for node in [round % 5, (round + 1) % 5] {
            cluster.pause(node).unwrap();
        }
        guard.extend(LONG * 2).await.unwrap();
        for node in [round % 5, (round + 1) % 5] {
            cluster.resume(node).unwrap();
        }
    }
    let extended = || (0..5).all(|node| pttl(&cluster, node, KEY) > LONG);
    eventually(SLACK, "all five nodes have extended", extended).await;
    for node in [0, 1, 2] {
        cluster.kill(node).unwrap();
    }
    for _ in 0..5 {
        let error = guard.extend(LONG * 2).await.unwrap_err();
        assert!(matches!(error, ExtendError::NoQuorum { .. }), "{error}");
    }
    for node in [0, 1, 2] {
        cluster.restart(node, Data::Lost).unwrap();
    }
    let up = || redlock.nodes().iter().all(NodeStatus::is_connected);
    eventually(SLACK, "all are connected", up).await;
    let error = guard.extend(LONG * 2).await.unwrap_err();
    assert!(matches!(error, ExtendError::Lost { .. }), "three of five have forgotten it: {error}");
    assert!(!guard.is_valid());
    drop(guard);
    eventually(SLACK, "nothing is left", || no_keys(&cluster, &[0, 1, 2, 3, 4])).await;
}
