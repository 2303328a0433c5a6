//! The metrics of a scripted client, read as a Prometheus server would.

#![cfg(all(feature = "metrics", feature = "testing", unix))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{LockError, Redlock};

/// Long enough to be renewed in time although the machine stands still for a while.
const TTL: Duration = Duration::from_secs(6);
/// Longer than the machine stands still, because no attempt may be repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// The value of a metric with these labels, in whatever order they are.
fn value(page: &PrometheusHandle, metric: &str, labels: &[(&str, &str)]) -> f64 {
    let text = page.render();
    let line = text.lines().find(|line| {
        let name = line.split(['{', ' ']).next();
        name == Some(metric)
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    });
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waited).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_hears_what_stats_tell() {
    let page = PrometheusBuilder::new().install_recorder().unwrap();
    let cluster = LocalCluster::start(3).unwrap();
    let node = |i: usize| format!("127.0.0.1:{}", cluster.port(i));
    let redlock = Redlock::builder().nodes(cluster.urls()).ttl(TTL);
    let redlock = redlock.node_timeout(PATIENCE).connect_timeout(PATIENCE).connect().await.unwrap();
    for i in 0..3 {
        assert_eq!(value(&page, "redlock_node_connected", &[("node", &node(i))]), 1.0);
    }

    let mutex = redlock.mutex("job").unwrap();
    let guard = mutex.lock().await.unwrap();
    assert_eq!(value(&page, "redlock_leases_held", &[]), 1.0);
    let denied = redlock.mutex("job").unwrap().try_lock().await;
    assert!(matches!(denied, Err(LockError::Contended { .. })), "{denied:?}");
    assert_eq!(value(&page, "redlock_attempts_total", &[("outcome", "won")]), 1.0);
    assert_eq!(value(&page, "redlock_attempts_total", &[("outcome", "contended")]), 1.0);
    assert_eq!(
        value(&page, "redlock_wait_seconds_count", &[("outcome", "won")]),
        1.0,
        "try_lock does not wait"
    );
    let granted = |i| value(&page, "redlock_votes_total", &[("node", &node(i)), ("vote", "granted")]);
    assert!((0..3).map(granted).sum::<f64>() >= 2.0);
    // Includes the node whose answer came too late for the decision.
    let round_trips = |i| value(&page, "redlock_round_trip_seconds_count", &[("node", &node(i))]);
    eventually("all round trips are taken", || (0..3).all(|i| round_trips(i) >= 1.0)).await;
    let stats = redlock.stats();
    assert_eq!((stats.leases_held, stats.waiting), (1, 0));
    for (i, node) in stats.nodes.iter().enumerate() {
        assert_eq!(node.failure, None);
        assert!(node.round_trip.is_some_and(|time| time < PATIENCE), "{node:?}");
        assert_eq!(node.votes.granted as f64, granted(i));
    }

    // A node loses the key, and a renewal sets it again.
    cluster.restart(2, Data::Lost).unwrap();
    let healed = || value(&page, "redlock_restored_total", &[("node", &node(2))]) >= 1.0;
    eventually("node 2 is healed", healed).await;
    assert!(value(&page, "redlock_renewals_total", &[("node", &node(0)), ("vote", "granted")]) >= 1.0);
    let lost = "redlock_disconnects_total";
    assert!(value(&page, lost, &[("node", &node(2)), ("reason", "connection lost")]) >= 1.0);
    let of_page = |vote| value(&page, "redlock_renewals_total", &[("node", &node(0)), ("vote", vote)]);
    let of_stats = || redlock.stats().nodes[0].renewals;
    // No renewal is answered between the two readings.
    let before = of_page("granted");
    assert!((before..=of_page("granted")).contains(&(of_stats().granted as f64)));
    guard.release().await.unwrap();
    assert_eq!(value(&page, "redlock_leases_held", &[]), 0.0);
    assert_eq!(value(&page, "redlock_hold_seconds_count", &[]), 1.0);

    // The quorum is lost, and with it the lock; no lock can be acquired.
    let guard = mutex.lock().await.unwrap();
    cluster.kill(0).unwrap();
    cluster.kill(1).unwrap();
    tokio::time::timeout(TTL * 10, guard.lost()).await.expect("it is lost");
    assert_eq!(value(&page, "redlock_losses_total", &[("reason", "expired")]), 1.0);
    assert!(matches!(mutex.try_lock().await, Err(LockError::NoQuorum { .. })));
    assert_eq!(value(&page, "redlock_attempts_total", &[("outcome", "no quorum")]), 1.0);
    let down = || value(&page, "redlock_node_connected", &[("node", &node(0))]) == 0.0;
    eventually("node 0 is down", down).await;

    let stats = redlock.stats();
    let attempts = stats.attempts;
    assert_eq!((attempts.won, attempts.contended, attempts.no_quorum), (2, 1, 1));
    assert_eq!((stats.leases_held, stats.released, stats.lost.expired, stats.lost.total()), (0, 1, 1, 1));
    assert_eq!(stats.nodes[2].restored, value(&page, "redlock_restored_total", &[("node", &node(2))]) as u64);
    assert!(stats.nodes[2].connected >= 2, "{stats:?}");
    assert!(stats.nodes[0].failure.is_some() && stats.nodes[0].votes.unknown >= 1, "{stats:?}");

    // A dropped client is no longer connected.
    drop((guard, mutex, redlock));
    let gone = || value(&page, "redlock_node_connected", &[("node", &node(2))]) == 0.0;
    eventually("the connection is closed", gone).await;
    let page = page.render();
    assert!(!page.contains("job"), "no label is the name of a lock: {page}");
    assert!(page.contains("# HELP redlock_leases_held Locks that are held now"), "{page}");
}

/// The bug: such a node did not appear in the metrics at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_never_reached_is_not_connected() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let cluster = LocalCluster::start(3).unwrap();
    cluster.kill(1).unwrap();
    let settings = Redlock::builder().nodes(cluster.urls()).settings().unwrap();
    // This thread's recorder sees what this thread does: the nodes are registered.
    let connecting =
        metrics::with_local_recorder(&recorder, || futures::FutureExt::now_or_never(settings.connect()));
    assert!(connecting.is_none());
    for i in 0..3 {
        let line = format!("redlock_node_connected{{node=\"127.0.0.1:{}\"}} 0", cluster.port(i));
        assert!(page.render().contains(&line), "{}", page.render());
    }
}
