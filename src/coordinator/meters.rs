//! The same counts, and how long things take, for the `metrics` facade. Nothing without the feature.
//!
//! No label is the name of a resource: there may be millions, and each would be a time series of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{NodeFailure, NodeVote};
use crate::protocol::Vote;
use crate::types::NodeId;

/// Every metric with its kind and what it says: what `docs/observability.md` and the dashboard are held against.
#[cfg(any(feature = "metrics", test))]
pub(super) const METRICS: [(&str, Kind, &str); 12] = [
    ("redlock_attempts_total", Kind::Counter, "Attempts at locks, by outcome"),
    ("redlock_attempt_seconds", Kind::Histogram, "How long an attempt takes, by outcome"),
    ("redlock_wait_seconds", Kind::Histogram, "How long lock() takes in all, by outcome"),
    ("redlock_hold_seconds", Kind::Histogram, "How long locks are held"),
    ("redlock_leases_held", Kind::Gauge, "Locks that are held now"),
    ("redlock_losses_total", Kind::Counter, "Locks that ended under their holders' hands, by reason"),
    ("redlock_votes_total", Kind::Counter, "Votes in attempts, by node and vote, and why one is unknown"),
    ("redlock_renewals_total", Kind::Counter, "Renewals of leases, by node and vote"),
    ("redlock_healed_total", Kind::Counter, "Keys that a node lacked and was given again, by node"),
    ("redlock_round_trip_seconds", Kind::Histogram, "From an attempt's command to its answer, by node"),
    ("redlock_node_connected", Kind::Gauge, "Whether there is a usable connection: 1 or 0, by node"),
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
pub(super) use off::Meters;
#[cfg(feature = "metrics")]
pub(super) use on::Meters;

#[cfg(feature = "metrics")]
mod on {
    use std::sync::Once;

    use metrics::{
        SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    };

    use super::{Arc, Duration, Kind, METRICS, NodeFailure, NodeId, NodeVote, Vote};

    pub(in super::super) struct Meters {
        nodes: Box<[SharedString]>,
    }

    impl Meters {
        pub(in super::super) fn new(names: &[Arc<str>]) -> Self {
            describe();
            Self { nodes: names.iter().map(|name| SharedString::from(Arc::clone(name))).collect() }
        }

        pub(in super::super) fn attempt(&self, outcome: &'static str, took: impl FnOnce() -> Duration) {
            counter!("redlock_attempts_total", "outcome" => outcome).increment(1);
            histogram!("redlock_attempt_seconds", "outcome" => outcome).record(took());
        }

        pub(in super::super) fn wait(&self, outcome: &'static str, took: Duration) {
            histogram!("redlock_wait_seconds", "outcome" => outcome).record(took);
        }

        pub(in super::super) fn hold(&self, held: Duration) {
            histogram!("redlock_hold_seconds").record(held);
        }

        pub(in super::super) fn held(&self, change: f64) {
            gauge!("redlock_leases_held").increment(change);
        }

        pub(in super::super) fn loss(&self, reason: &'static str) {
            counter!("redlock_losses_total", "reason" => reason).increment(1);
        }

        pub(in super::super) fn vote(&self, node: NodeId, vote: &NodeVote) {
            let (vote, reason) = match vote {
                NodeVote::Granted => ("granted", ""),
                NodeVote::Denied => ("denied", ""),
                NodeVote::Unknown(failure) => ("unknown", failure.kind()),
                NodeVote::NotAwaited => return,
            };
            let node = self.node(node);
            counter!("redlock_votes_total", "node" => node, "vote" => vote, "reason" => reason).increment(1);
        }

        pub(in super::super) fn renewal(&self, node: NodeId, vote: Vote) {
            let vote = match vote {
                Vote::Granted => "granted",
                Vote::Denied => "denied",
                Vote::Unknown => "unknown",
            };
            counter!("redlock_renewals_total", "node" => self.node(node), "vote" => vote).increment(1);
        }

        pub(in super::super) fn heal(&self, node: NodeId) {
            counter!("redlock_healed_total", "node" => self.node(node)).increment(1);
        }

        pub(in super::super) fn round_trip(&self, node: NodeId, took: impl FnOnce() -> Duration) {
            histogram!("redlock_round_trip_seconds", "node" => self.node(node)).record(took());
        }

        pub(in super::super) fn connection(&self, node: NodeId, lost: Option<&NodeFailure>) {
            let connected = gauge!("redlock_node_connected", "node" => self.node(node));
            match lost {
                None => connected.set(1.0),
                Some(failure) => {
                    connected.set(0.0);
                    let (node, reason) = (self.node(node), failure.kind());
                    counter!("redlock_disconnects_total", "node" => node, "reason" => reason).increment(1);
                }
            }
        }

        fn node(&self, node: NodeId) -> SharedString {
            self.nodes[node.0].clone()
        }
    }

    fn describe() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            for (name, kind, text) in METRICS {
                match kind {
                    Kind::Counter => describe_counter!(name, text),
                    Kind::Gauge => describe_gauge!(name, text),
                    Kind::Histogram => describe_histogram!(name, metrics::Unit::Seconds, text),
                }
            }
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::{Arc, Duration, NodeFailure, NodeId, NodeVote, Vote};

    pub(in super::super) struct Meters;

    impl Meters {
        pub(in super::super) fn new(_: &[Arc<str>]) -> Self {
            Self
        }

        pub(in super::super) fn attempt(&self, _: &'static str, _: impl FnOnce() -> Duration) {}
        pub(in super::super) fn wait(&self, _: &'static str, _: Duration) {}
        pub(in super::super) fn hold(&self, _: Duration) {}
        pub(in super::super) fn held(&self, _: f64) {}
        pub(in super::super) fn loss(&self, _: &'static str) {}
        pub(in super::super) fn vote(&self, _: NodeId, _: &NodeVote) {}
        pub(in super::super) fn renewal(&self, _: NodeId, _: Vote) {}
        pub(in super::super) fn heal(&self, _: NodeId) {}
        pub(in super::super) fn round_trip(&self, _: NodeId, _: impl FnOnce() -> Duration) {}
        pub(in super::super) fn connection(&self, _: NodeId, _: Option<&NodeFailure>) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/observability.md");
    const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");

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
