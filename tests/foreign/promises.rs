//! One foreign implementation and ours, step by step.

use std::cell::RefCell;
use std::rc::Rc;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, LockState, NodeStatus, NodeVote, Redlock};

use crate::client::{Foreign, IMPLEMENTATIONS};
use crate::{LONG, NODES, OWNER, RESOURCE, SLACK, environment, eventually, ours, values};

#[tokio::test]
async fn who_holds_is_denied_to_the_other() {
    let Some(python) = environment::python() else { return };
    for implementation in IMPLEMENTATIONS {
        let cluster = LocalCluster::start(NODES).unwrap();
        let mut theirs = Foreign::start(python, implementation, &cluster);
        let redlock = connect(&cluster).await;

        let held = theirs.lock(LONG).unwrap();
        all_hold(&cluster, &held.token).await;
        // The foreign key counts as another owner's, not as a failure of the node.
        match redlock.mutex(RESOURCE).unwrap().try_lock().await {
            Err(LockError::Contended { votes, .. }) => {
                assert!(
                    votes.iter().all(|(_, vote)| matches!(vote, NodeVote::Denied | NodeVote::NotAwaited))
                );
            }
            other => panic!("{implementation} holds it: {other:?}"),
        }
        let state = redlock.inspect(RESOURCE).await.unwrap().state();
        let LockState::Held(holder) = state else { panic!("{implementation} holds it: {state:?}") };
        assert_eq!(holder.owner(), held.token, "{implementation}");
        theirs.unlock();

        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        assert!(theirs.lock(LONG).is_none(), "we hold it, and so does {implementation}");
        assert!(guard.is_valid());
        guard.release().await.unwrap();
        assert!(theirs.lock(LONG).is_some(), "nobody holds it, and {implementation} is denied");
    }
}

/// Each client releases a lock that it no longer holds, because its keys are gone and the other client has acquired the
/// lock.
#[tokio::test]
async fn nobody_removes_the_others_key() {
    let Some(python) = environment::python() else { return };
    for implementation in IMPLEMENTATIONS {
        let cluster = LocalCluster::start(NODES).unwrap();
        let mut theirs = Foreign::start(python, implementation, &cluster);
        let redlock = connect(&cluster).await;

        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        all_hold(&cluster, guard.token()).await;
        forget(&cluster);
        let held = theirs.lock(LONG).unwrap();
        all_hold(&cluster, &held.token).await;
        // Either result is correct, because by our clock the lease is still valid.
        drop(guard.release().await);
        all_hold(&cluster, &held.token).await;

        forget(&cluster);
        let guard = redlock.mutex(RESOURCE).unwrap().lock().await.unwrap();
        assert!(guard.token().starts_with(OWNER));
        all_hold(&cluster, guard.token()).await;
        theirs.unlock();
        all_hold(&cluster, guard.token()).await;
        guard.release().await.unwrap();
    }
}

async fn connect(cluster: &LocalCluster) -> Redlock {
    // Without renewals, because a renewal would find that the keys are gone, and set them again or end the lease.
    let redlock = ours(cluster).keep_alive(false).connect().await.unwrap();
    // `connect` needs only a quorum, but these tests look at every node.
    let is_up = || redlock.nodes().iter().all(NodeStatus::is_connected);
    eventually(SLACK, "every node is connected", is_up).await;
    redlock
}

/// The first nodes of a quorum decide; the others follow.
#[track_caller]
fn all_hold(cluster: &LocalCluster, token: &str) -> impl Future<Output = ()> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let all_seen = Rc::clone(&seen);
    let is_there = move || {
        seen.replace(values(cluster));
        seen.borrow().iter().all(|value| value.as_deref() == Some(token))
    };
    eventually(SLACK, (token, all_seen), is_there)
}

fn forget(cluster: &LocalCluster) {
    for node in 0..NODES {
        cluster.command(node, &["DEL", RESOURCE]).unwrap();
    }
}
