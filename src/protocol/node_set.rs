//! Which of the nodes: one bit each.

use super::quorum::NODES_MAX;
use crate::types::NodeId;

/// Some of the nodes of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct NodeSet(u32);

const _: () = assert!(NODES_MAX <= u32::BITS as usize, "one bit for each node");

impl NodeSet {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn first(nodes: usize) -> Self {
        (0..nodes).map(NodeId).collect()
    }

    pub(crate) fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.0;
    }

    pub(crate) fn remove(&mut self, node: NodeId) {
        self.0 &= !(1 << node.0);
    }

    pub(crate) fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn intersection(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..u32::BITS as usize).map(NodeId).filter(move |node| self.contains(*node))
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::EMPTY;
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_and_go() {
        let mut set = NodeSet::first(5);
        set.remove(NodeId(1));
        assert_eq!(set.iter().map(|node| node.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
        let others = [NodeId(0), NodeId(1), NodeId(4)].into_iter().collect();
        assert_eq!(set.without(others), [NodeId(2), NodeId(3)].into_iter().collect());
        assert_eq!((set.len(), NodeSet::first(NODES_MAX).len()), (4, NODES_MAX));
    }
}
