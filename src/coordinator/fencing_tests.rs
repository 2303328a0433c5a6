//! Fencing tokens on real servers: clients whose clocks disagree, nodes whose scores disagree, keys that vanish.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::Machine;
use crate::error::LockError;
use crate::testing::{ClockStep, Data, LocalCluster, NodeState, Reply};
use crate::types::{Ambient, Moment, Timer};
use crate::{Fencing, Redlock, RedlockBuilder, Retry};

const MICROS: u64 = 1_000_000;

/// The machine's clock and randomness, with a wall clock that is wrong by a given number of microseconds.
struct Skewed {
    ahead: AtomicU64,
    behind: AtomicU64,
    /// How far our monotonic clock is ahead, in microseconds.
    jumped: AtomicU64,
}

impl Ambient for Skewed {
    fn now(&self) -> Moment {
        Machine.now() + Duration::from_micros(self.jumped.load(Ordering::Relaxed))
    }

    fn wall_micros(&self) -> u64 {
        Machine.wall_micros() + self.ahead.load(Ordering::Relaxed) - self.behind.load(Ordering::Relaxed)
    }

    fn random(&self) -> u128 {
        Machine.random()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Machine.timer()
    }
}

fn skewed(ahead: u64, behind: u64) -> Arc<Skewed> {
    Arc::new(Skewed { ahead: ahead.into(), behind: behind.into(), jumped: 0.into() })
}

fn builder(cluster: &LocalCluster) -> RedlockBuilder {
    // Longer than the machine stands still, because a node that answers in time must never count as silent.
    let patience = Duration::from_secs(4);
    Redlock::builder().nodes(cluster.urls()).node_timeout(patience).connect_timeout(patience)
}

/// The bug that this excludes: the token of a leader names the term that was proposed, and not the one that was won. The
/// clocks are seconds apart, and candidates that are denied raise the scores between the steps of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaders_token_names_its_term_whatever_its_clock_says() {
    let cluster = LocalCluster::start(3).unwrap();
    let highest = Arc::new(AtomicU64::new(0));
    let candidates = [0, 20, 10, 30].map(|behind| {
        let (builder, highest) = (builder(&cluster), Arc::clone(&highest));
        async move {
            let redlock = builder.connect_with(skewed(0, behind * MICROS)).await.unwrap();
            let eager = Retry::exponential(Duration::from_micros(500), Duration::from_millis(2));
            let election = redlock.election("job").unwrap().retry(eager);
            for _ in 0..50 {
                let leadership = election.campaign().await.unwrap();
                let term = leadership.term().get();
                assert!(leadership.token().starts_with(&format!("leader:{term}:")), "{leadership:?}");
                let before = highest.swap(term, Ordering::SeqCst);
                assert!(before < term, "{leadership:?} after {before}");
                leadership.release().await.unwrap();
            }
        }
    });
    futures_util::future::join_all(candidates).await;
}

/// 12 clients with wall clocks up to 40 s apart lock on 3 nodes whose scores disagree. Keys vanish as if by expiry or a
/// clock step, so mutual exclusion is broken on purpose; the order of the tokens must still hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_unique_and_grow_in_real_time_whatever_the_clocks_say() {
    const CLIENTS: u64 = 12;
    const LOCKS: u64 = 900;
    let cluster = Arc::new(LocalCluster::start(3).unwrap());
    for (node, score) in [(0, "5"), (1, "1900000000000000"), (2, "1700000000000000")] {
        cluster.command(node, &["ZADD", "redlock-quorum:fences", score, "fenced"]).unwrap();
    }
    // The largest token returned so far. An attempt that starts afterwards must get a larger one.
    let returned = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (cluster, returned) = (Arc::clone(&cluster), Arc::clone(&returned));
            tokio::spawn(async move {
                let ambient = skewed(client * 2 * MICROS, 20 * MICROS);
                let redlock = builder(&cluster).connect_with(ambient).await.unwrap();
                let lock = redlock.mutex("fenced").unwrap().ttl(Duration::from_secs(2));
                let mut tokens = Vec::new();
                for i in 0..LOCKS {
                    let before = returned.load(Ordering::SeqCst);
                    let guard = lock.lock().await.unwrap();
                    let token = guard.fencing_token().get();
                    assert!(
                        token > before,
                        "{token} is not above {before}, which was returned before it began"
                    );
                    returned.fetch_max(token, Ordering::SeqCst);
                    tokens.push(token);
                    if (i + client) % 7 == 0 {
                        // As if the lease had expired on one node, or on all, while its holder continues.
                        let nodes = if i % 3 == 0 { 0..3 } else { 1..2 };
                        for node in nodes {
                            cluster.command(node, &["DEL", "fenced"]).unwrap();
                        }
                    }
                    guard.release().await.unwrap();
                }
                tokens
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for task in tasks {
        for token in task.await.unwrap() {
            assert!(token > 0);
            assert!(all.insert(token), "{token} was given twice");
        }
    }
    assert_eq!(all.len() as u64, CLIENTS * LOCKS);
}

#[tokio::test]
async fn a_clock_that_lags_costs_one_round_trip_once() {
    let cluster = LocalCluster::start(3).unwrap();
    let ahead = builder(&cluster).connect_with(skewed(30 * MICROS, 0)).await.unwrap();
    let behind = builder(&cluster).connect_with(skewed(0, 10 * MICROS)).await.unwrap();
    let first = lock_once(&ahead).await;
    let reads = || {
        let info = cluster.command(0, &["INFO", "commandstats"]).unwrap();
        let text = info.text().unwrap_or_default().to_owned();
        text.lines()
            .find_map(|line| {
                line.strip_prefix("cmdstat_zscore:calls=")?.split(',').next()?.parse::<u64>().ok()
            })
            .unwrap_or(0)
    };
    let mut last = first;
    for _ in 0..5 {
        let token = lock_once(&behind).await;
        assert!(token > last);
        last = token;
    }
    assert!(reads() <= 1, "the scores were read {} times on one node", reads());
    assert!(last < first + MICROS, "tokens grow no faster than they must: {first} to {last}");
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_refused() {
    let cluster = LocalCluster::start(3).unwrap();
    for ambient in [skewed(61 * MICROS, 0), skewed(0, 61 * MICROS)] {
        let redlock = builder(&cluster).connect_with(ambient).await.unwrap();
        let error = redlock.mutex("far").unwrap().lock().await.unwrap_err();
        assert!(matches!(error, LockError::ClockSkew { .. }), "{error}");
    }
    assert!(cluster.keys(0).unwrap().is_empty());
}

/// The bug: fewer nodes than a quorum judged our clock. With one wrong clock among them, an outage became a clock error
/// that ended every wait.
#[tokio::test]
async fn fewer_nodes_than_a_quorum_have_no_say_about_our_clock() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..2 {
        cluster.kill(node).unwrap();
    }
    let redlock = builder(&cluster).connect_with(skewed(61 * MICROS, 0)).await.unwrap();
    let error = redlock.mutex("outage").unwrap().try_lock().await.unwrap_err();
    assert!(matches!(error, LockError::NoQuorum { .. }), "{error}");
}

/// The nodes' clocks were read when we connected, and our clock counts on from there. The result is wrong if those
/// clocks were corrected since, or if our clock did not count a suspend.
#[tokio::test]
async fn the_nodes_are_asked_again_before_our_clock_is_refused() {
    let cluster = LocalCluster::start(3).unwrap();
    let ambient = skewed(0, 0);
    let redlock = builder(&cluster).connect_with(Arc::<Skewed>::clone(&ambient)).await.unwrap();
    ambient.jumped.store(61 * MICROS, Ordering::Relaxed);
    assert!(lock_once(&redlock).await > 0);
}

/// The bug: a client remembered the score that an operator removed, and would have written it again.
#[tokio::test]
async fn a_removed_score_is_gone_for_a_client_that_has_met_it() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..3 {
        cluster.command(node, &["ZADD", "redlock-quorum:fences", "4503599627370000", "once"]).unwrap();
    }
    let redlock = Redlock::connect(cluster.urls()).await.unwrap();
    let poisoned = lock_once(&redlock).await;
    assert!(poisoned > 4_503_599_627_370_000);
    for node in 0..3 {
        cluster.command(node, &["ZREM", "redlock-quorum:fences", "once"]).unwrap();
    }
    let token = lock_once(&redlock).await;
    assert!(token < Machine.wall_micros() + MICROS, "{token}");
}

#[tokio::test]
async fn a_score_that_cannot_be_exceeded_is_an_error_that_names_the_repair() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..2 {
        cluster.command(node, &["ZADD", "redlock-quorum:fences", "4503599627370496", "full"]).unwrap();
    }
    let redlock = Redlock::connect(cluster.urls()).await.unwrap();
    let error = redlock.mutex("full").unwrap().lock().await.unwrap_err();
    assert!(matches!(error, LockError::FenceTooHigh { .. }), "{error}");
    assert!(error.to_string().contains("ZREM redlock-quorum:fences full"), "{error}");
    redlock.shutdown().await;
    assert!((0..3).all(|node| cluster.keys(node).unwrap().is_empty()), "nothing is left behind");
}

#[tokio::test]
async fn without_fencing_nothing_is_stored_and_the_token_is_0() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(&cluster).fencing(Fencing::Off).connect().await.unwrap();
    assert_eq!(lock_once(&redlock).await, 0);
    assert_eq!(cluster.command(0, &["EXISTS", "redlock-quorum:fences"]).unwrap(), Reply::Int(0));
}

#[tokio::test]
async fn release_and_extension_leave_the_token_alone() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = Redlock::connect(cluster.urls()).await.unwrap();
    let mut guard = redlock.mutex("kept").unwrap().lock().await.unwrap();
    let token = guard.fencing_token();
    guard.extend(Duration::from_secs(15)).await.unwrap();
    assert_eq!(guard.fencing_token(), token);
    guard.release().await.unwrap();
    redlock.shutdown().await;
    let scores: Vec<_> = (0..3)
        .map(|node| cluster.command(node, &["ZSCORE", "redlock-quorum:fences", "kept"]).unwrap())
        .filter(|score| score.text() == Some(&token.to_string()))
        .collect();
    assert!(scores.len() >= 2, "{scores:?}");
}

#[tokio::test]
async fn old_tokens_are_forgotten_upon_connecting() {
    let cluster = LocalCluster::start(3).unwrap();
    let now = Machine.wall_micros();
    let retention = 2 * 60 * 60 * MICROS;
    let zadd = |node, name, score: u64| {
        cluster.command(node, &["ZADD", "redlock-quorum:fences", &score.to_string(), name]).unwrap();
    };
    for node in 0..3 {
        zadd(node, "old", now - retention - 60 * MICROS);
        // Old only by the clock of a client that is 50 s ahead.
        zadd(node, "young", now - retention + 40 * MICROS);
    }
    let redlock = builder(&cluster)
        .fence_retention(Duration::from_micros(retention))
        .connect_with(skewed(50 * MICROS, 0))
        .await
        .unwrap();
    for node in 0..3 {
        let names = || {
            format!("{:?}", cluster.command(node, &["ZRANGE", "redlock-quorum:fences", "0", "-1"]).unwrap())
        };
        let started = Machine.now();
        while names().contains("old") {
            assert!(started.until(Machine.now()) < Duration::from_secs(20), "{}", names());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(names().contains("young"));
    }
    drop(redlock);
}

async fn lock_once(redlock: &Redlock) -> u64 {
    let guard = redlock.mutex("once").unwrap().lock().await.unwrap();
    let token = guard.fencing_token().get();
    guard.release().await.unwrap();
    token
}

/// The bug: the clock of a host with a node and a client stepped 8 days ahead. The client could not propose tokens, but
/// it removed the token of a lock, which the node also took for older than a week. The next lock of that name got a
/// lower token.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_and_a_node_that_agree_on_a_wrong_time_forget_no_token() {
    const STEP: Duration = Duration::from_secs(8 * 24 * 60 * 60);
    // With two clocks only, one right and one wrong, the median cannot tell which is wrong.
    for third in [NodeState::Running, NodeState::Stopped] {
        let cluster = LocalCluster::builder().nodes(3).adjustable_clocks().start().unwrap();
        cluster.kill(2).unwrap();
        let first = builder(&cluster).connect_with(skewed(39 * MICROS, 0)).await.unwrap();
        let token = lock_once(&first).await;
        first.shutdown().await;

        cluster.step_clock(0, ClockStep::Forward(STEP)).unwrap();
        if third == NodeState::Running {
            cluster.restart(2, Data::Kept).unwrap();
        }
        let stepped = u64::try_from(STEP.as_micros()).unwrap();
        let wrong = builder(&cluster).connect_with(skewed(stepped, 0)).await.unwrap();
        // The survey waits for 50 answers of each node, so that the trimming that starts with the connection is done.
        drop(wrong.survey().await);
        wrong.shutdown().await;
        let score = cluster.command(0, &["ZSCORE", "redlock-quorum:fences", "once"]).unwrap();
        assert_eq!(score.text(), Some(token.to_string().as_str()), "third node {third:?}");

        cluster.step_clock(0, ClockStep::Backward(STEP)).unwrap();
        cluster.kill(1).unwrap();
        if third == NodeState::Stopped {
            cluster.restart(2, Data::Kept).unwrap();
        }
        let last = builder(&cluster).dangerous_no_restart_guard().connect().await.unwrap();
        assert!(lock_once(&last).await > token, "third node {third:?}");
    }
}

#[tokio::test]
async fn no_token_is_forgotten_before_a_quorum_of_nodes_is_met() {
    let cluster = LocalCluster::start(3).unwrap();
    cluster.command(0, &["ZADD", "redlock-quorum:fences", "1", "old"]).unwrap();
    for node in 1..3 {
        cluster.kill(node).unwrap();
    }
    let redlock = Redlock::connect(cluster.urls()).await.unwrap();
    drop(redlock.survey().await);
    let is_there =
        || cluster.command(0, &["ZSCORE", "redlock-quorum:fences", "old"]).unwrap().text().is_some();
    assert!(is_there());
    cluster.restart(1, Data::Kept).unwrap();
    let started = Machine.now();
    while is_there() {
        assert!(started.until(Machine.now()) < Duration::from_secs(20), "two of three agree");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(redlock);
}
