//! The statistics of a client.

use std::time::Duration;

use redlock_quorum::testing::LocalCluster;

use crate::support::{SLACK, client, eventually};

/// A dropped attempt or wait is counted, and so are the releases that it leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_is_counted() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    (0..3).for_each(|node| cluster.pause(node).unwrap());
    let mutex = redlock.mutex("job").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), mutex.try_lock()).await.is_err());
    assert_eq!(redlock.stats().attempts.cancelled, 1);
    let pending = || redlock.stats().nodes.iter().map(|node| node.releases_pending).sum::<u64>();
    eventually(SLACK, "three nodes have a release to answer", || pending() == 3).await;
    (0..3).for_each(|node| cluster.resume(node).unwrap());
    eventually(SLACK, "they have answered", || pending() == 0).await;

    let guard = mutex.lock().await.unwrap();
    {
        let mut waiting = std::pin::pin!(mutex.lock());
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        assert_eq!(redlock.stats().waiting, 1);
    }
    assert_eq!(redlock.stats().waiting, 0);
    drop(guard);
}
