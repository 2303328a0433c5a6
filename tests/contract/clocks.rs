//! The clock guard: only nodes vote whose clocks cannot have ended a lock early.

use std::time::Duration;

use redlock_quorum::testing::{ClockStep, Data, LocalCluster, Reply};
use redlock_quorum::{Guard, NodeFailure, NodeStatus, QuarantineCause, Redlock, RedlockBuilder};

use tokio::runtime::Runtime;

use crate::support::{NODE_TIMEOUT, SLACK, eventually, plant};

const KEY: &str = "job";
/// Longer than what happens while a lock is held.
const TTL: Duration = Duration::from_secs(40);
/// Ends every lease, and is less than the largest distance of clocks for fencing tokens.
const STEP: ClockStep = ClockStep::Forward(Duration::from_secs(50));

fn nodes() -> LocalCluster {
    LocalCluster::builder().nodes(3).adjustable_clocks().start().unwrap()
}

fn builder(cluster: &LocalCluster) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .ttl(TTL)
        .max_ttl(TTL)
        .keep_alive(false)
        .node_timeout(NODE_TIMEOUT)
        .connect_timeout(NODE_TIMEOUT)
}

async fn client(cluster: &LocalCluster) -> Redlock {
    builder(cluster).connect().await.unwrap()
}

/// Why the grants of each node do not count.
fn causes(redlock: &Redlock) -> Vec<Option<QuarantineCause>> {
    let cause = |node: &NodeStatus| match node.failure() {
        Some(NodeFailure::Quarantined { cause, .. }) => Some(*cause),
        _ => None,
    };
    redlock.nodes().iter().map(cause).collect()
}

/// A lock on the first two of three nodes only.
async fn hold_on_two(cluster: &LocalCluster, redlock: &Redlock) -> Guard {
    plant(cluster, 2, KEY);
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    cluster.command(2, &["DEL", KEY]).unwrap();
    guard
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// As [`gets_the_lock`], when the keys of others that have just tried are removed.
async fn soon_gets_the_lock(redlock: &Redlock) -> bool {
    for _ in 0..1000 {
        if gets_the_lock(redlock).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn gets_the_lock(redlock: &Redlock) -> bool {
    redlock.mutex(KEY).unwrap().try_lock().await.is_ok()
}

/// The best-known objection to Redlock: the clocks of two of three nodes are stepped, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_stepped_in_turn_help_nobody_to_a_lock_that_is_held() {
    let cluster = nodes();
    let second = client(&cluster).await;
    let reckless = builder(&cluster).dangerous_no_clock_guard().connect().await.unwrap();
    // The guard of the clocks would tell the holder, which sees two of three jump alike, that its own stood still.
    let holder = builder(&cluster).dangerous_no_clock_guard().connect().await.unwrap();
    let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
    let is_held_on = |node| !matches!(cluster.command(node, &["GET", KEY]).unwrap(), Reply::Nil);
    eventually(SLACK, "every clock is stepped under the key", || (0..3).all(is_held_on)).await;
    for node in [0, 1] {
        cluster.step_clock(node, STEP).unwrap();
        assert!(!gets_the_lock(&second).await, "the reading that comes with the grant shows the step");
    }
    let stepped = Some(QuarantineCause::Stepped);
    eventually(SLACK, "both have stepped", || causes(&second) == [stepped, stepped, None]).await;
    // The client that saw the steps tells those that come later.
    let is_marked = |node| {
        let reply = cluster.command(node, &["HEXISTS", "redlock-quorum:node", "stepped"]).unwrap();
        matches!(reply, Reply::Int(1))
    };
    eventually(SLACK, "the steps are in the records", || is_marked(0) && is_marked(1)).await;
    // Of node 2, the third client may not know yet that it is the one that has not stepped.
    let third = client(&cluster).await;
    assert_eq!(causes(&third)[..2], [stepped; 2]);
    assert!(!gets_the_lock(&third).await);
    assert!(
        soon_gets_the_lock(&reckless).await && guard.is_valid(),
        "without the guard there are two holders"
    );
}

/// No client is there any more that has seen the clock before it was stepped.
#[test]
fn a_client_that_comes_later_believes_no_clock_that_got_ahead_of_the_others() {
    let cluster = nodes();
    let crashed = runtime();
    let guard = crashed.block_on(async { hold_on_two(&cluster, &client(&cluster).await).await });
    drop(crashed);
    cluster.step_clock(1, STEP).unwrap();
    runtime().block_on(async {
        let newcomer = client(&cluster).await;
        assert_eq!(causes(&newcomer), [None, Some(QuarantineCause::Stepped), None]);
        assert!(!gets_the_lock(&newcomer).await);
        let reckless = builder(&cluster).dangerous_no_clock_guard().connect().await.unwrap();
        assert!(soon_gets_the_lock(&reckless).await, "without the guard there are two holders");
    });
    drop(guard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_find_every_vote_also_while_a_node_is_down() {
    let cluster = nodes();
    let first = client(&cluster).await;
    assert_eq!(causes(&first), [None; 3]);
    let second = client(&cluster).await;
    assert_eq!(causes(&second), [None; 3]);
    cluster.kill(2).unwrap();
    let third = client(&cluster).await;
    assert_eq!(causes(&third), [None; 3]);
    assert!(gets_the_lock(&third).await);
    cluster.restart(2, Data::Kept).unwrap();
    eventually(SLACK, "node 2 votes", || second.nodes()[2].failure().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_alone_says_nothing_about_its_clock() {
    let cluster = nodes();
    let first = client(&cluster).await;
    assert!(gets_the_lock(&first).await);
    cluster.kill(1).unwrap();
    cluster.kill(2).unwrap();
    let second = client(&cluster).await;
    let counts = || second.nodes()[0].failure().is_none();
    assert!(!counts());
    cluster.restart(1, Data::Kept).unwrap();
    eventually(SLACK, "two nodes agree", counts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_costs_no_vote() {
    let cluster = nodes();
    let redlock = client(&cluster).await;
    cluster.step_clock(0, ClockStep::Backward(Duration::from_secs(50))).unwrap();
    assert!(gets_the_lock(&redlock).await);
    assert_eq!(causes(&redlock), [None; 3]);
}
