//! Leases that are kept alive, and the ways in which their holders learn of a loss.

use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{
    Guard, LockError, Loss, NodeOptions, NodeVote, Redlock, ReleaseError, Released, RunError,
};

use crate::support::{FOREIGN, SLACK, builder, calls, eventually, lost, name, now, plant, pttl, value};

pub(crate) const KEY: &str = "job";
/// Long enough to be renewed in time although the machine stands still for a while, short enough to wait for.
pub(crate) const TTL: Duration = Duration::from_secs(6);

/// A client that keeps its leases alive.
pub(crate) async fn keeper(cluster: &LocalCluster) -> Redlock {
    keeper_of(cluster.urls()).await
}

pub(crate) async fn keeper_of<I>(urls: I) -> Redlock
where
    I: IntoIterator,
    I::Item: Into<NodeOptions>,
{
    builder(urls).ttl(TTL).node_timeout(TTL / 2).keep_alive(true).connect().await.unwrap()
}

pub(crate) async fn hold(redlock: &Redlock) -> Guard {
    redlock.mutex(KEY).unwrap().lock().await.unwrap()
}

/// Checks that the lease is held for longer than a TTL, so that it must have been renewed.
pub(crate) async fn stays_held(guard: &Guard) {
    let lost = tokio::time::timeout(TTL * 5 / 4, guard.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
    assert!(guard.is_valid());
}

pub(crate) fn on(cluster: &LocalCluster, nodes: std::ops::Range<usize>, token: &str) -> bool {
    nodes.into_iter().all(|node| value(cluster, node, KEY).as_deref() == Some(token))
}

pub(crate) fn gone(cluster: &LocalCluster) -> bool {
    (0..cluster.len()).all(|node| cluster.keys(node).map_or(true, |keys| keys.is_empty()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_without_renewal_ends_at_its_deadline_and_not_before() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = redlock.mutex(KEY).unwrap().ttl(TTL / 4).keep_alive(false).lock().await.unwrap();
    let (deadline, token) = (guard.deadline(), guard.cancellation_token());
    let (first, second, ()) = tokio::join!(guard.lost(), guard.lost(), token.cancelled());
    assert!(now() >= deadline, "never early");
    assert!(now() < deadline + SLACK);
    assert!(matches!(first, Loss::Expired { .. }), "{first}");
    assert_eq!(first, second, "one reason for all who ask");
    assert!(!guard.is_valid() && guard.remaining().is_zero());
    assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_two_nodes_and_ends_at_its_deadline_with_the_third() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    cluster.kill(0).unwrap();
    cluster.kill(1).unwrap();
    stays_held(&guard).await;
    cluster.kill(2).unwrap();
    let mut deadline = guard.deadline();
    let watch = async {
        loop {
            // The last renewal may still have been under way.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if guard.is_valid() {
                deadline = deadline.max(guard.deadline());
            }
        }
    };
    let loss = tokio::select! { loss = guard.lost() => loss, () = watch => unreachable!() };
    assert!(now() >= deadline, "never early");
    assert!(now() < deadline + SLACK);
    let Loss::Expired { votes, .. } = &loss else { panic!("{loss}") };
    for (i, (node, vote)) in votes.iter().enumerate() {
        assert_eq!(node, name(&cluster, i));
        assert_eq!(matches!(vote, NodeVote::Granted), i > 2, "{loss}");
    }
    eventually(SLACK, "the others are told at once", || gone(&cluster)).await;
    assert_eq!(lost(&guard).await, loss, "announced once, with one reason");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_back_are_given_the_key_and_the_fence_again() {
    let cluster = LocalCluster::start(5).unwrap();
    // One node was never up, one loses its data, one is stopped for longer than the TTL.
    cluster.kill(0).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    let token = guard.token().to_owned();
    cluster.restart(1, Data::Lost).unwrap();
    cluster.restart(0, Data::Kept).unwrap();
    eventually(TTL * 2 + SLACK, "all five hold it", || on(&cluster, 0..5, &token)).await;
    cluster.pause(2).unwrap();
    stays_held(&guard).await;
    cluster.resume(2).unwrap();
    eventually(TTL * 2 + SLACK, "all five hold it", || on(&cluster, 0..5, &token)).await;
    for node in 0..5 {
        let score = cluster.command(node, &["ZSCORE", "redlock-quorum:fences", KEY]).unwrap();
        assert_eq!(score.text(), Some(guard.fencing_token().to_string().as_str()), "node {node}");
    }
    assert!(guard.is_valid());
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(SLACK, "no key is left", || gone(&cluster)).await;
}

/// Nodes on which the key was set again count: the lease outlives the nodes that granted it. Each node in turn dies and
/// comes back empty, until none is left of those that granted the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_moves_on_to_the_nodes_that_were_healed() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    let token = guard.token().to_owned();
    for dying in [0..2, 2..4, 4..5] {
        dying.clone().for_each(|node| cluster.kill(node).unwrap());
        stays_held(&guard).await;
        dying.for_each(|node| cluster.restart(node, Data::Lost).unwrap());
        eventually(TTL * 2 + SLACK, "all five hold it", || on(&cluster, 0..5, &token)).await;
    }
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(SLACK, "no key is left", || gone(&cluster)).await;
}

/// All nodes hang, and die with the renewals that were sent to them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_that_were_lost_on_the_way_are_made_again() {
    let cluster = LocalCluster::start(3).unwrap();
    let ttl = TTL * 5 / 2;
    let redlock = builder(cluster.urls()).ttl(ttl).node_timeout(ttl / 2).keep_alive(true);
    let redlock = redlock.connect().await.unwrap();
    let guard = hold(&redlock).await;
    for _ in 0..2 {
        (0..3).for_each(|node| cluster.pause(node).unwrap());
        // The next renewal is at most a third of the TTL away.
        tokio::time::sleep(ttl.mul_f64(0.35)).await;
        (0..3).for_each(|node| cluster.restart(node, Data::Kept).unwrap());
        eventually(ttl, "renewed", || guard.remaining() > ttl / 2).await;
    }
    stays_held(&guard).await;
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

/// pottery, redlock-universal: a renewal that is answered too late counts. The nodes run the renewal when they resume,
/// and their keys would live for another TTL if the release had not been sent as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_is_answered_after_the_deadline_revives_nothing() {
    let cluster = LocalCluster::start(3).unwrap();
    // The node timeout is long, so that the connections of the stopped nodes are not abandoned.
    let redlock =
        builder(cluster.urls()).ttl(TTL).node_timeout(TTL * 3 / 4).keep_alive(true).connect().await.unwrap();
    let guard = hold(&redlock).await;
    for node in 0..2 {
        // As on a node with a slow clock: the renewal finds its key, however late it comes.
        cluster.command(node, &["PERSIST", KEY]).unwrap();
        cluster.pause(node).unwrap();
    }
    let deadline = guard.deadline();
    let loss = lost(&guard).await;
    assert!(now() >= deadline);
    let Loss::Expired { votes, .. } = &loss else { panic!("{loss}") };
    let silent: Vec<_> = votes.failures().map(|(node, _)| node).collect();
    assert_eq!(silent, [name(&cluster, 0), name(&cluster, 1)], "{loss}");
    (0..2).for_each(|node| cluster.resume(node).unwrap());
    let renewed = || (0..2).all(|node| calls(&cluster, node, "pexpire") > 0);
    eventually(SLACK, "both have renewed, too late", renewed).await;
    assert!(!guard.is_valid());
    assert_eq!(lost(&guard).await, loss);
    assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
    eventually(TTL * 3 / 4, "no key is left", || gone(&cluster)).await;
}

/// A renewal that fewer nodes than a quorum confirm must not restore the lock, because another client may be about to
/// acquire it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_a_quorum_denies_is_lost_at_once_and_not_healed() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    for node in 0..3 {
        cluster.command(node, &["DEL", KEY]).unwrap();
    }
    let before: Vec<_> = (0..5).map(|node| calls(&cluster, node, "set")).collect();
    let loss = lost(&guard).await;
    let Loss::Denied { votes, .. } = &loss else { panic!("{loss}") };
    assert_eq!(votes.denials().count(), 3, "{loss}");
    eventually(SLACK, "no key is left", || gone(&cluster)).await;
    let after: Vec<_> = (0..5).map(|node| calls(&cluster, node, "set")).collect();
    assert_eq!(before, after, "nothing was planted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healing_takes_nothing_from_another_owner() {
    let cluster = LocalCluster::start(3).unwrap();
    plant(&cluster, 0, KEY);
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    let before = calls(&cluster, 0, "set");
    eventually(TTL * 2 + SLACK, "the node was offered the key", || calls(&cluster, 0, "set") > before).await;
    assert_eq!(value(&cluster, 0, KEY).as_deref(), Some(FOREIGN));
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert_eq!(value(&cluster, 0, KEY).as_deref(), Some(FOREIGN));
}

/// redlock-rs, madelson: one hung server delays the renewals of all others until the lock is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hung_nodes_of_five_leave_no_gap_in_the_renewals() {
    let cluster = LocalCluster::start(5).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    cluster.pause(0).unwrap();
    cluster.pause(3).unwrap();
    let mut least = TTL;
    let watch = async {
        let (mut last, mut calm_since) = (now(), now());
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let lives = [1, 2, 4].map(|node| pttl(&cluster, node, KEY));
            // While the machine stands still nobody renews.
            if last.elapsed() > TTL / 30 {
                calm_since = now();
            }
            last = now();
            if calm_since.elapsed() > TTL / 12 {
                least = least.min(lives.into_iter().min().unwrap());
            }
        }
    };
    let _ = tokio::time::timeout(TTL * 2, watch).await;
    assert!(guard.is_valid());
    // Renewed at a third of the TTL, so two thirds are left on each node that answers.
    assert!(least > TTL / 3 && least < TTL, "{least:?}");
    cluster.resume(0).unwrap();
    cluster.resume(3).unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(TTL + SLACK, "no key is left", || gone(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_for_no_longer_than_it_may() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let max_hold = TTL + TTL / 2;
    let started = now();
    let mut guard = redlock.mutex(KEY).unwrap().max_hold(max_hold).lock().await.unwrap();
    assert!(guard.remaining() <= TTL);
    guard.extend(TTL * 2).await.unwrap();
    assert!(guard.remaining() <= max_hold, "extensions are bounded as well");
    assert_eq!(lost(&guard).await, Loss::MaxHold { resource: KEY.into(), max_hold });
    assert!(started.elapsed() >= max_hold);
    eventually(TTL / 2, "it is released, not left to its TTL", || gone(&cluster)).await;
    let too_short = redlock.mutex(KEY).unwrap().max_hold(Duration::from_millis(9)).try_lock().await;
    assert!(matches!(too_short, Err(LockError::Invalid(_))), "{too_short:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guards_outlive_the_client_that_they_came_from() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    drop(redlock);
    stays_held(&guard).await;
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let running = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    eventually(SLACK, "every task has ended", || running() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_cancelled_by_every_end_of_its_lease() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = keeper(&cluster).await;
    let guard = hold(&redlock).await;
    let token = guard.cancellation_token();
    assert!(!token.is_cancelled());
    guard.release().await.unwrap();
    assert!(token.is_cancelled());
    let guard = hold(&redlock).await;
    let token = guard.cancellation_token();
    drop(guard);
    assert!(token.is_cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_under_a_lock_returns_its_value_or_its_own_error() {
    let cluster = LocalCluster::start(3).unwrap();
    let mutex = keeper(&cluster).await.mutex(KEY).unwrap();
    // In a task of its own, because the future is `Send`.
    let spawned = tokio::spawn({
        let mutex = mutex.clone();
        async move { mutex.run(async |lease| Ok::<_, ()>(lease.fencing_token().get())).await }
    });
    assert!(spawned.await.unwrap().unwrap() > 0);
    assert!(gone(&cluster));

    let failed = mutex.run(async |lease| Err::<(), _>(lease.resource().to_owned())).await;
    assert_eq!(failed, Err(RunError::Body { error: KEY.to_owned(), released: Ok(Released::InTime) }));

    let held = mutex.lock().await.unwrap();
    let mut called = false;
    let refused = mutex
        .clone()
        .max_wait(Duration::ZERO)
        .run(async |_| {
            called = true;
            Ok::<_, ()>(())
        })
        .await;
    assert!(matches!(&refused, Err(RunError::NotAcquired(error)) if error.votes().is_some()), "{refused:?}");
    assert!(!called);
    held.release().await.unwrap();

    let unreleased = mutex
        .run(async |_| {
            (0..3).for_each(|node| cluster.pause(node).unwrap());
            Err::<(), _>("mine")
        })
        .await;
    let Err(RunError::Body { error: "mine", released: Err(ReleaseError::Unconfirmed { votes, .. }) }) =
        unreleased
    else {
        panic!("{unreleased:?}")
    };
    assert_eq!(votes.failures().count(), 3, "{votes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_cancelled_when_its_lock_is_lost() {
    struct Cancelled<'a>(&'a mut bool);
    impl Drop for Cancelled<'_> {
        fn drop(&mut self) {
            *self.0 = true;
        }
    }
    let cluster = LocalCluster::start(3).unwrap();
    let mutex = keeper(&cluster).await.mutex(KEY).unwrap();
    let mut cancelled = false;
    let lost = mutex
        .run(async |_| {
            let _cancelled = Cancelled(&mut cancelled);
            for node in 0..2 {
                cluster.command(node, &["DEL", KEY]).unwrap();
            }
            std::future::pending::<Result<(), ()>>().await
        })
        .await;
    assert!(matches!(lost, Err(RunError::Lost(Loss::Denied { .. }))), "{lost:?}");
    assert!(cancelled);
}

/// The body blocks its thread beyond the deadline, so that no timer of ours can have run. The body gets no further than
/// its next await.
#[tokio::test]
async fn work_does_not_go_on_after_a_pause_beyond_the_deadline() {
    let cluster = LocalCluster::start(3).unwrap();
    // The first step is made before the machine stands still for that long.
    let ttl = TTL / 2;
    let mutex = keeper(&cluster).await.mutex(KEY).unwrap().ttl(ttl);
    let mut steps = 0;
    let lost = mutex
        .run(async |lease| {
            steps += 1;
            std::thread::sleep(ttl);
            assert!(!lease.is_valid());
            tokio::task::yield_now().await;
            steps += 1;
            Ok::<_, ()>(())
        })
        .await;
    assert!(matches!(lost, Err(RunError::Lost(Loss::Expired { .. }))), "{lost:?}");
    assert_eq!(steps, 1);
    let finished = mutex
        .run(async |_| {
            std::thread::sleep(ttl);
            Ok::<_, ()>(())
        })
        .await;
    assert!(
        matches!(finished, Err(RunError::Lost(Loss::Expired { .. }))),
        "not under the lock: {finished:?}"
    );
}
