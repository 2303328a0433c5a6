//! Errors of applying and healing a nemesis.

use super::super::error::ClusterError;

/// Why a nemesis cannot be applied to these nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Clients reach the node directly. Put [`Linked`](super::super::Linked) in front of the nodes.
    #[error("clients reach these nodes directly; a proxy has to be in between (testing::Linked)")]
    NoProxy,
    /// The servers read the machine's own clock. Start the cluster with
    /// [`LocalClusterBuilder::adjustable_clocks`](super::super::LocalClusterBuilder::adjustable_clocks).
    #[error("these servers read the machine's clock; start local nodes with adjustable clocks")]
    MachineClock,
    /// Containers read the clock of their host, which must not be changed. Use local nodes.
    #[error("containers share their host's clock; use local nodes")]
    HostClock,
    /// Somebody else runs the server, so its process, clock and data must not be changed. Use local or docker nodes.
    #[error("these nodes are run by somebody else, whose process, clock and data are not ours to touch")]
    NotOurs,
}

/// Why a nemesis was not applied or healed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NemesisError {
    /// These nodes do not support the nemesis.
    #[error("node {node} cannot be subjected to {nemesis:?}: {reason}")]
    Refused {
        /// Number of the node.
        node: usize,
        /// The nemesis in words.
        nemesis: String,
        /// The reason.
        reason: Refusal,
    },
    /// The nemesis was tried and failed.
    #[error(transparent)]
    Failed(#[from] ClusterError),
}
