//! Counters and durations on the `metrics` facade. Without the feature, all functions are empty.
//!
//! No label contains a resource name: there may be millions, and each would be a time series of its own.

use std::sync::Arc;
use std::time::Duration;

/// Every metric with its kind and description. Tests compare `docs/observability.md` and the dashboard with this table.
#[cfg(any(feature = "metrics", test))]
pub(super) const METRICS: [(&str, Kind, &str); 14] = [
    ("redlock_attempts_total", Kind::Counter, "Attempts at locks, by outcome"),
    ("redlock_attempt_seconds", Kind::Histogram, "How long an attempt takes, by outcome"),
    ("redlock_wait_seconds", Kind::Histogram, "How long lock() takes in all, by outcome"),
    ("redlock_waiting", Kind::Gauge, "Calls of lock() that are under way now"),
    ("redlock_hold_seconds", Kind::Histogram, "How long locks are held"),
    ("redlock_leases_held", Kind::Gauge, "Locks that are held now"),
    ("redlock_losses_total", Kind::Counter, "Locks that ended under their holders' hands, by reason"),
    ("redlock_votes_total", Kind::Counter, "Votes in attempts, by node and vote, and why one is unknown"),
    ("redlock_renewals_total", Kind::Counter, "Renewals of leases, by node and vote"),
    (
        "redlock_restored_total",
        Kind::Counter,
        "Keys that were set again on a node that had lost them, by node",
    ),
    (
        "redlock_round_trip_seconds",
        Kind::Histogram,
        "From the first bytes of a command to the first of an answer, by node",
    ),
    (
        "redlock_node_connected",
        Kind::Gauge,
        "Clients with a usable connection, by node: 1 or 0 where there is one client",
    ),
    ("redlock_releases_pending", Kind::Gauge, "Releases that a node has not answered yet, by node"),
    ("redlock_disconnects_total", Kind::Counter, "Connections that were lost, by node and reason"),
];

#[cfg(any(feature = "metrics", test))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[cfg(not(feature = "metrics"))]
pub(super) use off::{Meters, NodeMeters};
#[cfg(feature = "metrics")]
pub(super) use on::{Meters, NodeMeters};

/// The meters of the `metrics` feature. Each metric is looked up whenever it changes, because a recorder may drop an
/// idle metric, and a stored handle would not notice.
#[cfg(feature = "metrics")]
mod on {
    use metrics::{
        SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    };

    use super::{Arc, Duration, Kind, METRICS};

    /// The metrics of one client.
    pub(in super::super) struct Meters;

    impl Meters {
        pub(in super::super) fn new() -> Self {
            describe();
            Self
        }

        pub(in super::super) fn attempt(&self, outcome: &'static str, took: Duration) {
            counter!("redlock_attempts_total", "outcome" => outcome).increment(1);
            histogram!("redlock_attempt_seconds", "outcome" => outcome).record(took);
        }

        pub(in super::super) fn waiting(&self, change: f64) {
            gauge!("redlock_waiting").increment(change);
        }

        pub(in super::super) fn wait(&self, outcome: &'static str, took: Duration) {
            histogram!("redlock_wait_seconds", "outcome" => outcome).record(took);
        }

        pub(in super::super) fn held(&self, change: f64) {
            gauge!("redlock_leases_held").increment(change);
        }

        pub(in super::super) fn hold(&self, held: Duration) {
            histogram!("redlock_hold_seconds").record(held);
        }

        pub(in super::super) fn loss(&self, reason: &'static str) {
            counter!("redlock_losses_total", "reason" => reason).increment(1);
        }
    }

    /// The metrics of one node.
    pub(in super::super) struct NodeMeters(SharedString);

    impl NodeMeters {
        pub(in super::super) fn new(name: &Arc<str>) -> Self {
            let this = Self(SharedString::from(Arc::clone(name)));
            // A first value, so that a node that was never reached has a time series too.
            this.connected(0.0);
            this
        }

        pub(in super::super) fn vote(&self, vote: &'static str, reason: &'static str) {
            counter!("redlock_votes_total", "node" => self.name(), "vote" => vote, "reason" => reason)
                .increment(1);
        }

        pub(in super::super) fn renewals(&self, vote: &'static str, leases: usize) {
            if leases > 0 {
                counter!("redlock_renewals_total", "node" => self.name(), "vote" => vote)
                    .increment(leases as u64);
            }
        }

        pub(in super::super) fn restored(&self) {
            counter!("redlock_restored_total", "node" => self.name()).increment(1);
        }

        pub(in super::super) fn round_trip(&self, took: Duration) {
            histogram!("redlock_round_trip_seconds", "node" => self.name()).record(took);
        }

        pub(in super::super) fn connected(&self, change: f64) {
            gauge!("redlock_node_connected", "node" => self.name()).increment(change);
        }

        pub(in super::super) fn disconnect(&self, reason: &'static str) {
            counter!("redlock_disconnects_total", "node" => self.name(), "reason" => reason).increment(1);
        }

        #[expect(clippy::cast_precision_loss, reason = "no node keeps 2^53 releases")]
        pub(in super::super) fn pending(&self, before: u64, now: u64) {
            gauge!("redlock_releases_pending", "node" => self.name()).increment(now as f64 - before as f64);
        }

        fn name(&self) -> SharedString {
            self.0.clone()
        }
    }

    /// Describes all metrics to the recorder. Repeated for each client, because the recorder may have been installed
    /// since the previous one connected.
    fn describe() {
        for (name, kind, text) in METRICS {
            match kind {
                Kind::Counter => describe_counter!(name, text),
                Kind::Gauge => describe_gauge!(name, text),
                Kind::Histogram => describe_histogram!(name, metrics::Unit::Seconds, text),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::{Arc, Duration};

    pub(in super::super) struct Meters;

    impl Meters {
        pub(in super::super) fn new() -> Self {
            Self
        }

        pub(in super::super) fn attempt(&self, _: &'static str, _: Duration) {}
        pub(in super::super) fn waiting(&self, _: f64) {}
        pub(in super::super) fn wait(&self, _: &'static str, _: Duration) {}
        pub(in super::super) fn held(&self, _: f64) {}
        pub(in super::super) fn hold(&self, _: Duration) {}
        pub(in super::super) fn loss(&self, _: &'static str) {}
    }

    pub(in super::super) struct NodeMeters;

    impl NodeMeters {
        pub(in super::super) fn new(_: &Arc<str>) -> Self {
            Self
        }

        pub(in super::super) fn vote(&self, _: &'static str, _: &'static str) {}
        pub(in super::super) fn renewals(&self, _: &'static str, _: usize) {}
        pub(in super::super) fn restored(&self) {}
        pub(in super::super) fn round_trip(&self, _: Duration) {}
        pub(in super::super) fn connected(&self, _: f64) {}
        pub(in super::super) fn disconnect(&self, _: &'static str) {}
        pub(in super::super) fn pending(&self, _: u64, _: u64) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/observability.md");
    const DASHBOARD: &str = include_str!("../../../docs/grafana-dashboard.json");

    #[test]
    fn every_metric_is_documented() {
        for (name, kind, text) in METRICS {
            let row = DOCUMENT.lines().find(|line| line.contains(&format!("`{name}`"))).unwrap_or(name);
            let kind = format!("{kind:?}").to_lowercase();
            assert!(row.contains(&kind) && row.contains(text), "{name} in docs/observability.md: {row}");
        }
    }

    #[test]
    fn the_dashboard_shows_metrics_that_exist_and_no_others() {
        let mut shown = 0;
        for (at, _) in DASHBOARD.match_indices("redlock_") {
            let word: String =
                DASHBOARD[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let known = METRICS.iter().any(|(name, kind, _)| match kind {
                Kind::Counter | Kind::Gauge => word == *name,
                Kind::Histogram => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| word == format!("{name}{end}"))
                }
            });
            assert!(known, "{word}");
            shown += 1;
        }
        let missing: Vec<_> = METRICS.iter().filter(|(name, ..)| !DASHBOARD.contains(name)).collect();
        assert!(shown > 0 && missing.is_empty(), "{missing:?}");
    }
}
