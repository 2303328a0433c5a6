//! Where the end of a lock notifies the waiters of each of its keys.

use crate::protocol::{NODES_MAX, NodeSet};
use crate::types::{KeySet, NodeId};

/// For each node, the keys of a claim for which the node notifies the next waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coordinator) struct Notifying([KeySet; NODES_MAX]);

impl Notifying {
    pub(in crate::coordinator) const NOBODY: Self = Self([KeySet::EMPTY; NODES_MAX]);

    pub(super) fn insert(&mut self, nodes: NodeSet, key: usize) {
        nodes.iter().for_each(|node| self.0[node.0].insert(key));
    }

    pub(in crate::coordinator) fn on(&self, node: NodeId) -> KeySet {
        self.0[node.0]
    }

    /// The same without these nodes.
    pub(in crate::coordinator) fn without(mut self, nodes: impl Iterator<Item = NodeId>) -> Self {
        nodes.for_each(|node| self.0[node.0] = KeySet::EMPTY);
        self
    }
}
