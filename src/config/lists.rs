//! The node list, and the next one while it changes.

use super::node::Parsed;
use super::{NodeOptions, RedlockBuilder};
use crate::error::SettingsError;
use crate::protocol::{NODES_MAX, Quorum, QuorumError, QuorumSize};
use crate::types::NodeId;

impl RedlockBuilder {
    /// The nodes to change to, while clients still use [`nodes`](Self::nodes); 31 at most on both lists together. A lock
    /// then needs a quorum of each list, and so excludes clients of either. A node on both lists is one node, with its
    /// options in `nodes`. An empty list is none.
    ///
    /// Restart every client with both lists, then with the new one alone. In between, `redlock members` says whether the
    /// time has come; clients of the new list alone have no vote before that.
    pub fn next_nodes<I>(mut self, nodes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<NodeOptions>,
    {
        self.next_nodes = nodes.into_iter().map(Into::into).collect();
        self.given("next_nodes")
    }

    /// The number of [`next_nodes`](Self::next_nodes) that have to agree; from n/2 + 1 to n.
    pub fn next_quorum(mut self, nodes: usize) -> Self {
        self.next_quorum = QuorumSize::Exactly(nodes);
        self.given("next_quorum")
    }
}

/// The quorum of the nodes of which the first `present` are on the present list.
pub(super) fn parse_quorum(
    present: usize,
    size: QuorumSize,
    next: Option<&Parsed>,
    next_size: QuorumSize,
) -> Result<Quorum, SettingsError> {
    let quorum = Quorum::new(present, size).map_err(|error| match error {
        QuorumError::NoNodes => SettingsError::NoNodes,
        QuorumError::TooManyNodes { nodes, max } => SettingsError::TooManyNodes { nodes, max },
        QuorumError::OutOfRange { quorum, min, max } => SettingsError::Quorum { quorum, nodes: max, min },
    })?;
    let Some(Parsed { nodes, next }) = next.filter(|parsed| !parsed.next.is_empty()) else {
        return match next_size {
            QuorumSize::Majority => Ok(quorum),
            QuorumSize::Exactly(needed) => Err(SettingsError::Malformed {
                setting: "next_quorum",
                value: needed.to_string(),
                expected: "given together with next_nodes",
            }),
        };
    };
    if nodes.len() > NODES_MAX {
        return Err(SettingsError::TooManyNodes { nodes: nodes.len(), max: NODES_MAX });
    }
    let joint = quorum.with_next(next.iter().copied().map(NodeId).collect(), next_size);
    let joint = joint.map_err(|error| match error {
        QuorumError::NoNodes => SettingsError::NoNodes,
        QuorumError::TooManyNodes { nodes, max } => SettingsError::TooManyNodes { nodes, max },
        QuorumError::OutOfRange { quorum, min, max } => SettingsError::OutOfRange {
            setting: "next_quorum",
            value: format!("{quorum} of {max} nodes"),
            bound: format!("between {min} (the majority) and {max}"),
        },
    })?;
    if joint.is_no_change() {
        return Err(SettingsError::OutOfRange {
            setting: "next_nodes",
            value: "the same as nodes".into(),
            bound: "other nodes, or another next_quorum".into(),
        });
    }
    Ok(joint)
}
