//! How often waiting processes look at a lock in case that nobody notifies them.

use futures::future::join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, Redlock, Released};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{LONG, SLACK, calls, client, eventually, now, plant};
use crate::waiting::{KEY, LOOK_AGAIN, ends_empty, queue_nodes};

/// Clients that wait for the lock, in the order of the list.
async fn line(cluster: &LocalCluster, length: usize) -> Vec<Redlock> {
    join_all((0..length).map(|_| client(cluster.urls()))).await
}

/// Waits for the lock by each of these clients, and returns the guards as they come. Each client is in the queue before
/// the next one waits.
async fn wait_in_order(
    cluster: &LocalCluster,
    clients: &[Redlock],
) -> (Vec<JoinHandle<()>>, mpsc::UnboundedReceiver<(usize, Guard)>) {
    let (sender, guards) = mpsc::unbounded_channel();
    let mut waits = Vec::new();
    for (i, redlock) in clients.iter().enumerate() {
        let (mutex, sender) =
            (redlock.mutex(KEY).unwrap().keep_alive(false).max_wait(LONG * 3), sender.clone());
        let wait = async move { sender.send((i, mutex.lock().await.unwrap())).unwrap() };
        waits.push(tokio::spawn(wait));
        eventually(SLACK, "it is in the queue", || waiting(cluster) == i as u64 + 1).await;
    }
    (waits, guards)
}

/// The number of clients in the lock's queue.
fn waiting(cluster: &LocalCluster) -> u64 {
    let queue = format!("redlock-quorum:queue:{KEY}");
    let length = |node| cluster.command(node, &["ZCARD", &queue]).unwrap().int().unwrap();
    let length = |node| u64::try_from(length(node)).unwrap();
    (0..cluster.len()).map(length).sum()
}

/// Removes the lock as one who calls nobody.
fn remove(cluster: &LocalCluster) {
    for node in 0..cluster.len() {
        cluster.command(node, &["DEL", KEY]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_that_wait_cost_the_queue_node_little() {
    const PROCESSES: usize = 30;
    let cluster = LocalCluster::start(3).unwrap();
    let holder = client(cluster.urls()).await;
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let clients = line(&cluster, PROCESSES).await;
    let (_, mut guards) = wait_in_order(&cluster, &clients).await;
    let queue_node = queue_nodes(&cluster)[0];
    let looks = || calls(&cluster, queue_node, "evalsha");
    let (before, watched) = (looks(), now());
    tokio::time::sleep(LOOK_AGAIN * 8).await;
    let looks = looks() - before;
    // The first looks up to twice a second, the next ones each half as often as the one before it, and a renewal of the
    // lock comes every few seconds. The first look of each client that is farther behind came when it registered.
    let most = 4 * (watched.elapsed().as_secs() + 1);
    assert!(looks <= most, "{looks} looks by {PROCESSES} processes in {:?}", watched.elapsed());
    assert!(looks >= 4, "{looks}: the first looks");

    // All are served in their order.
    assert_eq!(guard.release().await, Ok(Released::InTime));
    for expected in 0..PROCESSES {
        let (i, guard) = guards.recv().await.unwrap();
        assert_eq!(i, expected);
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// The lock vanishes again and again without a release that notifies anybody. The last of the line would sleep for one to
/// two minutes if it did not learn that it has become the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_becomes_the_first_looks_soon_although_it_was_far_behind() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..3 {
        plant(&cluster, node, KEY);
    }
    let clients = line(&cluster, 8).await;
    let (_, mut guards) = wait_in_order(&cluster, &clients).await;
    for expected in 0..clients.len() {
        // Again and again, because a command of the holder may come late to a node that its quorum did not need.
        let remove = async {
            loop {
                remove(&cluster);
                tokio::time::sleep(LOOK_AGAIN / 4).await;
            }
        };
        let next = tokio::time::timeout(2 * LOOK_AGAIN + SLACK, guards.recv());
        let (i, guard) = tokio::select! {
            next = next => next.expect("the next looks").unwrap(),
            () = remove => unreachable!("it never ends"),
        };
        assert_eq!(i, expected);
        // A holder that has died: nothing renews the lock, and nothing releases it.
        std::mem::forget(guard);
    }
}

/// A client that leaves while the lock is held tells the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_learns_that_those_before_it_have_left() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..3 {
        plant(&cluster, node, KEY);
    }
    let clients = line(&cluster, 8).await;
    let (waits, mut guards) = wait_in_order(&cluster, &clients).await;
    let (_, others) = waits.split_last().unwrap();
    for (i, wait) in others.iter().enumerate() {
        wait.abort();
        let rest = (clients.len() - i - 1) as u64;
        eventually(SLACK, "it has left the queue", || waiting(&cluster) == rest).await;
    }
    remove(&cluster);
    let next = tokio::time::timeout(2 * LOOK_AGAIN + SLACK, guards.recv());
    assert_eq!(next.await.expect("the last one looks").unwrap().0, others.len());
}
