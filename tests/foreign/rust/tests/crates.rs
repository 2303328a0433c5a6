//! rslock and redlock, two other Redlock crates, against ours: on the same keys of the same nodes they exclude us, and
//! we exclude them. Both write 20 random bytes, which are no text, as the value of a lock.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::Duration;

use redlock_quorum::testing::{LocalCluster, Reply};
use redlock_quorum::{LockError, LockState, NodeStatus, NodeVote, Redlock, Removal};

const NODES: usize = 5;

/// Longer than any test runs, so that a key that is gone was removed and did not expire.
const LONG: Duration = Duration::from_secs(60);

/// How much longer than the protocols promise anything may take on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// A name that RedLock.net and pottery would use as well.
const RESOURCE: &str = "redlock:job";

const IMPLEMENTATIONS: [&str; 2] = ["rslock", "redlock"];

enum Theirs {
    Rslock(rslock::LockManager),
    Redlock(Arc<redlock::RedLock>),
}

impl Theirs {
    fn new(implementation: &str, cluster: &LocalCluster) -> Self {
        match implementation {
            "rslock" => Self::Rslock(rslock::LockManager::new(cluster.urls())),
            "redlock" => {
                let mut manager = redlock::RedLock::new(cluster.urls());
                // One attempt. The pause after it must not be zero.
                manager.set_retry(1, 1);
                Self::Redlock(Arc::new(manager))
            }
            other => panic!("{other}?"),
        }
    }

    /// Makes one attempt. Returns the value of the lock, or `None` when it was denied.
    async fn lock(&self) -> Option<Vec<u8>> {
        match self {
            Self::Rslock(manager) => manager.lock(RESOURCE, LONG).await.ok().map(|lock| lock.val),
            Self::Redlock(manager) => {
                let manager = Arc::clone(manager);
                let ttl = usize::try_from(LONG.as_millis()).unwrap();
                let lock = move || {
                    let lock = manager.lock(RESOURCE.as_bytes(), ttl);
                    lock.expect("all nodes are up").map(|lock| lock.val)
                };
                tokio::task::spawn_blocking(lock).await.unwrap()
            }
        }
    }

    async fn unlock(&self, value: &[u8]) {
        let (resource, val, validity_time) = (RESOURCE.as_bytes().to_vec(), value.to_vec(), 0);
        match self {
            Self::Rslock(manager) => {
                let lock_manager = manager.clone();
                manager.unlock(&rslock::Lock { resource, val, validity_time, lock_manager }).await;
            }
            Self::Redlock(manager) => {
                let manager = Arc::clone(manager);
                let unlock = move || {
                    let lock_manager = &*manager;
                    manager.unlock(&redlock::Lock { resource, val, validity_time, lock_manager });
                };
                tokio::task::spawn_blocking(unlock).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_is_denied_to_the_other() {
    for implementation in IMPLEMENTATIONS {
        let (cluster, theirs, redlock) = scene(implementation).await;
        let value = theirs.lock().await.expect(implementation);
        all_hold(&cluster, &hex(&value)).await;
        match redlock.mutex(RESOURCE).unwrap().try_lock().await {
            Err(LockError::Contended { votes, .. }) => {
                let is_denied = |vote: &NodeVote| matches!(vote, NodeVote::Denied | NodeVote::NotAwaited);
                assert!(votes.iter().all(|(_, vote)| is_denied(vote)), "{votes}");
            }
            other => panic!("{implementation} holds it: {other:?}"),
        }
        let state = redlock.inspect(RESOURCE).await.unwrap().state();
        assert!(matches!(state, LockState::Held(_)), "{implementation}: {state:?}");
        theirs.unlock(&value).await;

        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        assert!(theirs.lock().await.is_none(), "we hold it, and so does {implementation}");
        assert!(guard.is_valid());
        guard.release().await.unwrap();
        all_hold(&cluster, "").await;
        assert!(theirs.lock().await.is_some(), "nobody holds it, and {implementation} is denied");
    }
}

/// Each client releases a lock that it no longer holds, because its keys are gone and the other client has acquired the
/// lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_removes_the_others_key() {
    for implementation in IMPLEMENTATIONS {
        let (cluster, theirs, redlock) = scene(implementation).await;
        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        all_hold(&cluster, &hex(guard.token().as_bytes())).await;
        forget(&cluster);
        let value = theirs.lock().await.expect(implementation);
        all_hold(&cluster, &hex(&value)).await;
        // Either result is correct, because by our clock the lease is still valid.
        drop(guard.release().await);
        all_hold(&cluster, &hex(&value)).await;

        forget(&cluster);
        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        let ours = hex(guard.token().as_bytes());
        all_hold(&cluster, &ours).await;
        theirs.unlock(&value).await;
        all_hold(&cluster, &ours).await;
        guard.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_random_bytes_can_be_broken() {
    for implementation in IMPLEMENTATIONS {
        let (cluster, theirs, redlock) = scene(implementation).await;
        let value = theirs.lock().await.expect(implementation);
        all_hold(&cluster, &hex(&value)).await;
        let broken = redlock.dangerous_break(RESOURCE).await.unwrap();
        assert!(broken.iter().all(|node| node.result() == Ok(&Removal::Removed)), "{broken:?}");
        redlock.mutex(RESOURCE).unwrap().try_lock().await.unwrap().release().await.unwrap();
    }
}

async fn scene(implementation: &str) -> (LocalCluster, Theirs, Redlock) {
    let cluster = LocalCluster::start(NODES).unwrap();
    let builder = Redlock::builder().nodes(cluster.urls()).ttl(LONG).max_ttl(LONG).keep_alive(false);
    let redlock = builder.node_timeout(Duration::from_secs(1)).connect().await.unwrap();
    // `connect` needs only a quorum, but these tests look at every node.
    eventually("every node is connected", || redlock.nodes().iter().all(NodeStatus::is_connected)).await;
    let theirs = Theirs::new(implementation, &cluster);
    (cluster, theirs, redlock)
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SLACK, reached).await.unwrap_or_else(|_| panic!("not within {SLACK:?}: {what}"));
}

/// The first nodes of a quorum decide; the others follow. `value` is in hexadecimal, and empty for no key.
async fn all_hold(cluster: &LocalCluster, value: &str) {
    let holds = |node| seen(cluster, node) == value;
    eventually(&format!("all nodes hold {value:?}"), || (0..NODES).all(holds)).await;
}

fn seen(cluster: &LocalCluster, node: usize) -> String {
    let script = "return (string.gsub(redis.call('GET', KEYS[1]) or '', '.', function(byte) \
                  return string.format('%02x', string.byte(byte)) end))";
    let reply = cluster.command(node, &["EVAL", script, "1", RESOURCE]).unwrap();
    let Reply::Bulk(value) = reply else { panic!("{reply:?}") };
    value
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn forget(cluster: &LocalCluster) {
    for node in 0..NODES {
        cluster.command(node, &["DEL", RESOURCE]).unwrap();
    }
}
