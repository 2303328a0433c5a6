//! Waiting in FIFO order while queues are deleted, queue nodes die, and notifications are lost or forbidden. Waiters
//! get slower, but nothing else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{Mutex, Released};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{NODE_TIMEOUT, SLACK, builder, calls, client, eventually, now};
use crate::waiting::{KEY, LOOK_AGAIN, contend, ends_empty, queue_nodes, waiter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_deleted_delays_and_loses_nobody() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let waiting = waiter(&cluster, &redlock).await;
    for node in 0..3 {
        cluster.command(node, &["DEL", &format!("redlock-quorum:queue:{KEY}")]).unwrap();
    }
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let released = now();
    waiting.await.unwrap();
    assert!(released.elapsed() < LOOK_AGAIN + SLACK);

    // The same, with queues deleted all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let both = [&holder, &redlock];
    let delete = async {
        while !stop.load(Ordering::Relaxed) {
            for node in 0..3 {
                cluster.command(node, &["DEL", &format!("redlock-quorum:queue:{KEY}")]).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let sections = async {
        contend(&both, 10, |_, mutex| mutex).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(delete, sections);
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_node_may_die_hang_and_come_back() {
    let cluster = LocalCluster::start(5).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    for fault in ["killed", "paused"] {
        let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
        let waiting = waiter(&cluster, &redlock).await;
        let node = queue_nodes(&cluster)[0];
        match fault {
            "killed" => cluster.kill(node).unwrap(),
            _ => cluster.pause(node).unwrap(),
        }
        assert_eq!(guard.release().await, Ok(Released::InTime));
        let released = now();
        waiting.await.unwrap();
        // The waiter finds out at its next check, which then costs one node timeout.
        assert!(released.elapsed() < LOOK_AGAIN + NODE_TIMEOUT + SLACK, "{fault}");
        contend(&[&holder, &redlock, &holder, &redlock], 10, |_, mutex| mutex).await;
        match fault {
            "killed" => cluster.restart(node, Data::Kept).unwrap(),
            _ => cluster.resume(node).unwrap(),
        }
        let back = || [&holder, &redlock].iter().all(|client| client.nodes()[node].failure().is_none());
        eventually(SLACK, "it is back", back).await;
        contend(&[&holder, &redlock, &holder, &redlock], 10, |_, mutex| mutex).await;
    }
    // An entry that was registered on an abandoned connection expires.
    eventually(2 * SLACK, "no queue is left", || queue_nodes(&cluster).is_empty()).await;
    ends_empty(&cluster).await;
}

/// The holder has a quorum without the queue node, which reports "free" to every waiter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_node_that_lacks_the_key_makes_nobody_spin() {
    let cluster = LocalCluster::start(3).unwrap();
    let clients = join_all((0..3).map(|_| client(cluster.urls()))).await;
    let guard = clients[0].mutex(KEY).unwrap().lock().await.unwrap();
    // Two waiters, because a waiter whose attempt has failed could notify the other one, and so on.
    let waiting = [waiter(&cluster, &clients[1]).await, waiter(&cluster, &clients[2]).await];
    let node = queue_nodes(&cluster)[0];
    cluster.command(node, &["DEL", KEY]).unwrap();
    let before = calls(&cluster, node, "set");
    let attempts = || calls(&cluster, node, "set") - before;
    eventually(SLACK, "they have tried", || attempts() > 0).await;
    tokio::time::sleep(3 * LOOK_AGAIN).await;
    assert!(attempts() < 60, "{} attempts", attempts());
    assert!(guard.is_valid());
    assert_eq!(guard.release().await, Ok(Released::InTime));
    for waiting in waiting {
        waiting.await.unwrap();
    }
    ends_empty(&cluster).await;
}

/// Redisson, madelson: a node that hangs slows down every lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_node_that_hangs_costs_one_node_timeout_once() {
    let cluster = LocalCluster::start(5).unwrap();
    let (one, two) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = one.mutex(KEY).unwrap().lock().await.unwrap();
    let waiting = waiter(&cluster, &two).await;
    let node = queue_nodes(&cluster)[0];
    assert_eq!(guard.release().await, Ok(Released::InTime));
    waiting.await.unwrap();
    cluster.pause(node).unwrap();
    let started = now();
    contend(&[&one, &two, &one, &two], 10, |_, mutex| mutex).await;
    assert!(started.elapsed() < NODE_TIMEOUT + SLACK, "{:?}", started.elapsed());
    cluster.resume(node).unwrap();
    ends_empty(&cluster).await;
}

/// Without notifications, forbidden by an ACL or impossible without RESP3, waiting is slower, but nothing else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_calls_it_goes_by_timers() {
    for rule in ["-publish", "-subscribe", "resetchannels", "-zadd", "hello"] {
        let mut servers = LocalCluster::builder();
        if rule == "hello" {
            servers = servers.directive("rename-command", "HELLO \"\"");
        }
        let cluster = servers.start().unwrap();
        if rule != "hello" {
            for node in 0..3 {
                let user = ["ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", rule];
                assert_eq!(cluster.command(node, &user).unwrap().text(), Some("OK"));
            }
        }
        // Fencing tokens need ZADD.
        let fencing =
            if rule == "-zadd" { redlock_quorum::Fencing::Off } else { redlock_quorum::Fencing::On };
        let connect = || {
            let settings = builder(cluster.urls()).fencing(fencing);
            let settings =
                if rule == "hello" { settings } else { settings.username("worker").password("secret") };
            settings.connect()
        };
        let clients = [connect().await.unwrap(), connect().await.unwrap(), connect().await.unwrap()];
        for node in clients[0].nodes() {
            assert_eq!(node.failure(), None, "{rule}");
        }
        let guard = clients[0].mutex(KEY).unwrap().lock().await.unwrap();
        let started = now();
        let release = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(guard.release().await, Ok(Released::InTime), "{rule}");
        };
        let mutex = clients[1].mutex(KEY).unwrap();
        let (waited, ()) = tokio::join!(mutex.lock(), release);
        assert_eq!(waited.unwrap().release().await, Ok(Released::InTime), "{rule}");
        assert!(started.elapsed() < LOOK_AGAIN + SLACK, "{rule}");
        let tokens = |_, mutex: Mutex| mutex;
        if rule != "-zadd" {
            contend(&[&clients[0], &clients[1], &clients[2]], 5, tokens).await;
        }
        ends_empty(&cluster).await;
    }
}

/// All notifications are lost from some moment on, while both sides believe that they work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_lost_delay_and_lose_nobody() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, redlock) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let waiting = waiter(&cluster, &redlock).await;
    for node in 0..3 {
        let deaf = ["ACL", "SETUSER", "default", "-publish"];
        assert_eq!(cluster.command(node, &deaf).unwrap().text(), Some("OK"));
    }
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let released = now();
    waiting.await.unwrap();
    assert!(released.elapsed() < LOOK_AGAIN + SLACK);
    contend(&[&holder, &redlock], 5, |_, mutex| mutex).await;
    ends_empty(&cluster).await;
}

/// Counts the warnings that waiters cannot be notified.
#[derive(Clone, Default)]
struct Complaints(Arc<AtomicUsize>);

impl Visit for Complaints {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" && format!("{value:?}").contains("nodes cannot notify waiters") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// On one thread, because the subscriber is that of the thread.
#[tokio::test]
async fn that_calls_do_not_work_is_said_once() {
    let complaints = Complaints::default();
    let _listening = tracing::subscriber::set_default(complaints.clone());
    let said = || complaints.0.load(Ordering::Relaxed);
    let cluster = LocalCluster::builder().directive("rename-command", "SUBSCRIBE \"\"").start().unwrap();
    let redlock = client(cluster.urls()).await;
    assert_eq!(said(), 1, "of three nodes");
    cluster.kill(0).unwrap();
    eventually(SLACK, "it is missed", || redlock.nodes()[0].failure().is_some()).await;
    cluster.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "it is back", || redlock.nodes()[0].failure().is_none()).await;
    assert_eq!(said(), 1, "and of a reconnect");
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}
