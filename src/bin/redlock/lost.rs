//! Which nodes a client has no answer of, and why.

use redlock_quorum::{NodeFailure, NodeStatus, Redlock, Votes};
use serde::{Deserialize, Serialize};

/// The reason of a node that is connected, and whose vote does not count yet.
pub(crate) const QUARANTINED: &str = "in quarantine";

/// A node without an answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) node: usize,
    pub(crate) reason: String,
}

impl Lost {
    pub(crate) fn of_votes(votes: &Votes) -> Vec<Self> {
        let nodes = votes.iter().map(|(name, _)| name);
        nodes
            .enumerate()
            .filter_map(|(node, name)| {
                let failure = votes.failures().find(|(failed, _)| *failed == name);
                failure.map(|(_, failure)| Self { node, reason: reason(failure).to_owned() })
            })
            .collect()
    }

    /// What the client has no connection to now.
    pub(crate) fn of_client(redlock: &Redlock) -> Vec<Self> {
        let nodes = redlock.nodes();
        let failures = nodes.iter().map(NodeStatus::failure).enumerate();
        failures.filter_map(|(node, failure)| Some(Self::new(node, failure?))).collect()
    }

    fn new(node: usize, failure: &NodeFailure) -> Self {
        Self { node, reason: reason(failure).to_owned() }
    }
}

/// In two words, to be counted: the details (ports, durations) differ with each failure.
fn reason(failure: &NodeFailure) -> &'static str {
    match failure {
        NodeFailure::Connecting => "connecting",
        NodeFailure::Unreachable { .. } => "unreachable",
        NodeFailure::NoAnswer { .. } => "no answer",
        NodeFailure::ConnectionLost { .. } => "connection lost",
        NodeFailure::Authentication { .. } => "authentication failed",
        NodeFailure::Permission { .. } => "permission missing",
        NodeFailure::OutOfMemory => "out of memory",
        NodeFailure::Quarantined { .. } => QUARANTINED,
        NodeFailure::NotMaster { .. } => "not a master",
        NodeFailure::NotStandalone { .. } => "not standalone",
        NodeFailure::Duplicate { .. } => "the same server twice",
        NodeFailure::TooOld { .. } => "too old",
        NodeFailure::MayEvict { .. } => "may evict locks",
        NodeFailure::ReadOnly { .. } => "read-only",
        NodeFailure::Loading => "loading its data",
        NodeFailure::Refused { .. } => "refused",
        NodeFailure::Unexpected { .. } => "unexpected answer",
        NodeFailure::ShutDown => "shut down",
        NodeFailure::Sentinel { .. } => "no master by its sentinels",
        NodeFailure::Tls { .. } => "TLS failed",
        // The enum may grow; the tool then still counts.
        _ => "another failure",
    }
}
