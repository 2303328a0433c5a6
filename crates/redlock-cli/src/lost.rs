//! The nodes from which a client has no answer, with the reasons.

use std::time::Duration;

use redlock_quorum::{NodeFailure, NodeStatus, Redlock, Votes};
use serde::{Deserialize, Serialize};

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
                failure.map(|(_, failure)| Self::new(node, failure))
            })
            .collect()
    }

    /// The nodes to which the client has no connection now.
    pub(crate) fn of_client(redlock: &Redlock) -> Vec<Self> {
        let nodes = redlock.nodes();
        let failures = nodes.iter().map(NodeStatus::failure).enumerate();
        failures.filter_map(|(node, failure)| Some(Self::new(node, failure?))).collect()
    }

    /// Polls [`of_client`](Self::of_client) until its result differs from `known`, and returns the new result. Cancel
    /// safe.
    pub(crate) async fn change(redlock: &Redlock, known: &[Self], every: Duration) -> Vec<Self> {
        loop {
            let lost = Self::of_client(redlock);
            if lost != known {
                return lost;
            }
            tokio::time::sleep(every).await;
        }
    }

    fn new(node: usize, failure: &NodeFailure) -> Self {
        Self { node, reason: failure.kind().to_owned() }
    }
}
