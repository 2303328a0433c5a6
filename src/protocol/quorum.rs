//! The quorum: how many of the configured nodes must agree, and which.

use std::fmt;

use super::NodeSet;
use crate::planted;
use crate::types::NodeId;

/// The limit on nodes. More nodes are a mistake: latency and cost grow with n, and fault tolerance hardly does.
pub(crate) const NODES_MAX: usize = 31;

/// The quorum size that the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QuorumSize {
    /// n/2 + 1, the smallest size at which any two quorums intersect.
    #[default]
    Majority,
    /// Exactly this number of nodes.
    Exactly(usize),
}

/// Enough nodes: q nodes of the list in use. While the node list changes, also q nodes of the next list, which may share
/// nodes with the present one (joint quorums).
///
/// Any two quorums of one list share a node. Every joint quorum contains a quorum of each of its lists, and so shares a
/// node with every quorum of either. The lists are those of the **configured** nodes, never of those that happen to be
/// connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quorum {
    present: ListQuorum,
    next: Option<ListQuorum>,
}

/// A quorum of one list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListQuorum {
    nodes: NodeSet,
    needed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuorumError {
    NoNodes,
    TooManyNodes { nodes: usize, max: usize },
    OutOfRange { quorum: usize, min: usize, max: usize },
}

impl Quorum {
    /// The quorum of one list of nodes.
    ///
    /// # Errors
    ///
    /// There are no nodes or more than [`NODES_MAX`], or the quorum is below the majority or above the number of
    /// nodes.
    pub(crate) fn new(nodes: usize, size: QuorumSize) -> Result<Self, QuorumError> {
        if nodes > NODES_MAX {
            return Err(QuorumError::TooManyNodes { nodes, max: NODES_MAX });
        }
        Ok(Self { present: ListQuorum::new(NodeSet::first(nodes), size)?, next: None })
    }

    /// The quorum of one list of these nodes.
    #[cfg(test)]
    pub(crate) fn of(nodes: NodeSet, size: QuorumSize) -> Result<Self, QuorumError> {
        Ok(Self { present: ListQuorum::new(nodes, size)?, next: None })
    }

    /// The quorum while the node list changes: one of this list, and one of the `next` list.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new); both lists together have at most [`NODES_MAX`] nodes.
    pub(crate) fn with_next(self, next: NodeSet, size: QuorumSize) -> Result<Self, QuorumError> {
        Ok(Self { present: self.present, next: Some(ListQuorum::new(next, size)?) })
    }

    pub(crate) fn nodes(self) -> usize {
        self.all().len()
    }

    /// All nodes of all lists.
    pub(crate) fn all(self) -> NodeSet {
        self.next.map_or(self.present.nodes, |next| self.present.nodes.union(next.nodes))
    }

    /// Whether the next list is the present one, with the same quorum.
    pub(crate) fn is_no_change(self) -> bool {
        self.next == Some(self.present)
    }

    #[cfg(feature = "config")]
    pub(crate) fn present(self) -> ListQuorum {
        self.present
    }

    pub(crate) fn next(self) -> Option<ListQuorum> {
        self.next
    }

    /// The quorums that are needed, one for each list.
    pub(crate) fn lists(self) -> impl Iterator<Item = ListQuorum> {
        [Some(self.present), self.next].into_iter().flatten()
    }

    /// Whether these nodes are enough.
    pub(crate) fn is_met_by(self, nodes: NodeSet) -> bool {
        self.asked().all(|list| list.is_met_by(nodes))
    }

    /// Whether these nodes are a quorum of the present list.
    pub(crate) fn is_present_met_by(self, nodes: NodeSet) -> bool {
        self.present.is_met_by(nodes)
    }

    /// Whether the nodes other than these are enough.
    pub(crate) fn is_met_without(self, nodes: NodeSet) -> bool {
        self.is_met_by(self.all().without(nodes))
    }

    /// The highest value that enough nodes have or exceed; `None` if too few nodes have one.
    pub(crate) fn highest_of_enough<T: Copy + Ord>(self, value: impl Fn(NodeId) -> Option<T>) -> Option<T> {
        let of_list = |list: ListQuorum| {
            // The array is on the stack, because deadlines are computed twice for each answer of each node.
            let mut values = [None; NODES_MAX];
            let values = &mut values[..list.nodes.len()];
            values.iter_mut().zip(list.nodes.iter()).for_each(|(slot, node)| *slot = value(node));
            values.sort_unstable_by(|a, b| b.cmp(a));
            values[list.needed - 1]
        };
        // The lower of two, and `None` is the lowest.
        self.asked().map(of_list).min().flatten()
    }

    /// The lists of which a quorum has to agree: all of them.
    fn asked(self) -> impl Iterator<Item = ListQuorum> {
        self.lists().take(if planted::is(planted::Fault::OneListAtATime) { 1 } else { usize::MAX })
    }

    /// The smallest number of nodes that can be enough.
    pub(crate) fn needed(self) -> usize {
        let Some(next) = self.next else { return self.present.needed };
        let shared = self.present.nodes.intersection(next.nodes).len();
        let both = shared.min(self.present.needed).min(next.needed);
        self.present.needed + next.needed - both
    }

    /// The number of nodes that may fail, whichever they are, while a quorum is still possible.
    pub(crate) fn spare(self) -> usize {
        let next = self.next.map_or(usize::MAX, ListQuorum::spare);
        self.present.spare().min(next)
    }
}

impl ListQuorum {
    fn new(nodes: NodeSet, size: QuorumSize) -> Result<Self, QuorumError> {
        if nodes == NodeSet::EMPTY {
            return Err(QuorumError::NoNodes);
        }
        let count = nodes.len();
        let majority = count / 2 + 1;
        let needed = match size {
            QuorumSize::Majority => majority,
            QuorumSize::Exactly(quorum) => quorum,
        };
        if needed < majority || needed > count {
            return Err(QuorumError::OutOfRange { quorum: needed, min: majority, max: count });
        }
        Ok(Self { nodes, needed })
    }

    pub(crate) fn nodes(self) -> NodeSet {
        self.nodes
    }

    pub(crate) fn needed(self) -> usize {
        self.needed
    }

    fn is_met_by(self, nodes: NodeSet) -> bool {
        self.nodes.intersection(nodes).len() >= self.needed
    }

    pub(crate) fn spare(self) -> usize {
        self.nodes.len() - self.needed
    }
}

/// `2 of 3 nodes`; `2 of 3 nodes and 3 of 5 of the next list`.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { present, next } = self;
        write!(f, "{} of {} nodes", present.needed, present.nodes.len())?;
        let Some(next) = next else { return Ok(()) };
        write!(f, " and {} of {} of the next list", next.needed, next.nodes.len())
    }
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
