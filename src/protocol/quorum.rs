//! The quorum: how many of the configured nodes must agree.

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

/// A quorum of `needed` out of `nodes`; any two such quorums share a node. `nodes` is the number of **configured**
/// nodes, never of those that happen to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quorum {
    nodes: usize,
    needed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuorumError {
    NoNodes,
    TooManyNodes { nodes: usize, max: usize },
    OutOfRange { quorum: usize, min: usize, max: usize },
}

impl Quorum {
    /// Checks the size of a quorum.
    ///
    /// # Errors
    ///
    /// There are no nodes or more than [`NODES_MAX`], or the quorum is below the majority or above the number of
    /// nodes.
    pub(crate) fn new(nodes: usize, size: QuorumSize) -> Result<Self, QuorumError> {
        if nodes == 0 {
            return Err(QuorumError::NoNodes);
        }
        if nodes > NODES_MAX {
            return Err(QuorumError::TooManyNodes { nodes, max: NODES_MAX });
        }
        let majority = nodes / 2 + 1;
        let needed = match size {
            QuorumSize::Majority => majority,
            QuorumSize::Exactly(quorum) => quorum,
        };
        if needed < majority || needed > nodes {
            return Err(QuorumError::OutOfRange { quorum: needed, min: majority, max: nodes });
        }
        Ok(Self { nodes, needed })
    }

    pub(crate) fn nodes(self) -> usize {
        self.nodes
    }

    pub(crate) fn needed(self) -> usize {
        self.needed
    }

    /// The number of nodes that may fail while a quorum is still possible.
    pub(crate) fn spare(self) -> usize {
        self.nodes - self.needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_quorums_intersect_and_bounds_are_kept() {
        for nodes in 1..=NODES_MAX {
            let majority = Quorum::new(nodes, QuorumSize::Majority).unwrap();
            assert!(2 * majority.needed() > nodes, "two majorities of {nodes} meet");
            assert!(2 * (majority.needed() - 1) <= nodes, "and it is the smallest such");
            for quorum in 0..=nodes + 1 {
                let result = Quorum::new(nodes, QuorumSize::Exactly(quorum));
                assert_eq!(result.is_ok(), 2 * quorum > nodes && quorum <= nodes, "{quorum} of {nodes}");
            }
        }
    }

    #[test]
    fn known_sizes() {
        for (nodes, needed, spare) in
            [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (6, 4, 2), (7, 4, 3)]
        {
            let quorum = Quorum::new(nodes, QuorumSize::Majority).unwrap();
            assert_eq!((quorum.needed(), quorum.spare()), (needed, spare), "{nodes} nodes");
        }
        assert_eq!(Quorum::new(0, QuorumSize::Majority), Err(QuorumError::NoNodes));
        assert_eq!(
            Quorum::new(32, QuorumSize::Majority),
            Err(QuorumError::TooManyNodes { nodes: 32, max: NODES_MAX })
        );
    }
}
