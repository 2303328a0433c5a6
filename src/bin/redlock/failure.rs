//! Why the tool did not do what it was asked to, and the exit code and text of each.

use std::io;

use redlock_quorum::testing::ClusterError;

use crate::exit::Exit;

/// One line for stderr, or several where each node has its own; says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Local servers could not be started.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The operating system refused something.
    #[error("could not {action}: {source}")]
    System { action: &'static str, source: io::Error },
    /// Our own bug.
    #[error("this is a bug, please report it: {0}")]
    Internal(String),
}

impl Failure {
    /// How the process is to end after it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Cluster(_) | Self::System { .. } => Exit::SYSTEM,
            Self::Internal(_) => Exit::INTERNAL,
        }
    }
}
