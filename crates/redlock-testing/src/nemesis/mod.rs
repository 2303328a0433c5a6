//! Faults as values: each kind of fault, the kinds of nodes that support it, and how it is healed.

mod docker_nodes;
mod error;
mod local_nodes;
mod memory;
mod process;
mod remote_nodes;

use std::fmt;
use std::time::Duration;

pub use docker_nodes::DockerNodes;
pub use error::{NemesisError, Refusal};
pub(super) use memory::Memory;
pub use process::ClientFault;
pub use remote_nodes::RemoteNodes;
pub(super) use remote_nodes::{address_of, through};

use super::error::ClusterError;
use super::links::{Clients, Link};
use super::resp::Reply;
use super::server::Data;

/// One fault of one node. [`Nodes::apply`] applies it, and [`Nodes::heal`] undoes it unless it is
/// [momentary](FaultDuration::Momentary).
///
/// | nemesis | local | docker | by URL | undone by |
/// |---|---|---|---|---|
/// | [`Kill`](Self::Kill) | SIGKILL | `docker kill` | | starting it again |
/// | [`Restart`](Self::Restart) | SIGKILL, started at once | the same | | |
/// | [`Pause`](Self::Pause) | SIGSTOP | `docker pause` | | resuming it |
/// | [`Cut`](Self::Cut) | by [`Linked`](super::Linked) | `docker network disconnect` | by `Linked` | reconnecting it |
/// | [`Link`](Self::Link) | by `Linked` | by `Linked` | by `Linked` | an open link |
/// | [`ClockStep`](Self::ClockStep) | [adjustable clocks](super::LocalClusterBuilder::adjustable_clocks) | | | |
/// | [`ClockRate`](Self::ClockRate) | adjustable clocks | | | the right rate; the time gained remains |
/// | [`MemoryFull`](Self::MemoryFull) | `CONFIG SET maxmemory` | the same | | the previous limit |
/// | [`FlushAll`](Self::FlushAll) | yes | yes | | |
/// | [`ScriptFlush`](Self::ScriptFlush) | yes | yes | yes | |
///
/// Where a cell of local, docker or by URL is empty, the fault is refused with a [`Refusal`] that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nemesis {
    /// The node's process is killed.
    Kill {
        /// The data that the node has when it is started again.
        data: Data,
    },
    /// The node's process is killed and started again at once.
    Restart {
        /// The data that the node has after the restart.
        data: Data,
    },
    /// The node's process is stopped. Connections stay, nothing is answered, and pending commands are executed
    /// afterwards.
    Pause,
    /// The node cannot be reached over the network, and does not notice.
    Cut,
    /// The link between clients and the node is bad.
    Link {
        /// The clients.
        from: Clients,
        /// The condition of the link.
        link: Link,
    },
    /// The node's wall clock is stepped, and not set back.
    ClockStep {
        /// Direction and size of the step.
        step: ClockStep,
    },
    /// The node's wall clock runs too fast or too slow.
    ClockRate {
        /// The error in parts per million: 100,000 is a tenth too fast, a negative number too slow.
        ppm: i32,
    },
    /// The node refuses every write for lack of memory.
    MemoryFull,
    /// The node loses all keys without a restart.
    FlushAll,
    /// The node loses its loaded scripts.
    ScriptFlush,
}

/// A step of a wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStep {
    /// Forward by this time: keys expire early.
    Forward(Duration),
    /// Backward by this time: keys expire late.
    Backward(Duration),
}

/// Whether a nemesis lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultDuration {
    /// The nemesis is over as soon as it has happened; there is nothing to heal.
    Momentary,
    /// The nemesis lasts until it is healed.
    Lasting,
}

/// Nodes to which faults can be applied, numbered from 0.
///
/// Each node can have one lasting nemesis at a time. To heal a nemesis that another one has replaced, such as the pause
/// of a node that was killed, is an error.
///
/// All methods block, with docker for up to two seconds; call them from a blocking thread where that matters.
pub trait Nodes: Send + Sync {
    /// The number of nodes.
    fn count(&self) -> usize;

    /// The URL of one node, for clients.
    ///
    /// # Panics
    ///
    /// When there is no such node, as indexing does.
    fn node_url(&self, node: usize) -> String;

    /// Whether `nemesis` can be applied to these nodes. Sends nothing.
    ///
    /// # Errors
    ///
    /// The reason why it cannot.
    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal>;

    /// Applies `nemesis` to a node, and returns when it has taken effect.
    ///
    /// # Errors
    ///
    /// [`NemesisError::Refused`] as [`check`](Self::check); [`NemesisError::Failed`].
    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError>;

    /// Undoes `nemesis`, and returns when the node works again. Does nothing for a momentary nemesis.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError>;

    /// Sends one command to a node and returns its answer, which may be an error of the server.
    ///
    /// # Errors
    ///
    /// As [`LocalCluster::command`](super::LocalCluster::command).
    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError>;
}

impl<N: Nodes + ?Sized> Nodes for Box<N> {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn node_url(&self, node: usize) -> String {
        (**self).node_url(node)
    }

    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal> {
        (**self).check(nemesis)
    }

    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        (**self).apply(node, nemesis)
    }

    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        (**self).heal(node, nemesis)
    }

    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        (**self).ask(node, arguments)
    }
}

impl Nemesis {
    /// Whether the nemesis lasts until it is healed.
    #[must_use]
    pub fn span(&self) -> FaultDuration {
        match self {
            Self::Kill { .. }
            | Self::Pause
            | Self::Cut
            | Self::Link { .. }
            | Self::ClockRate { .. }
            | Self::MemoryFull => FaultDuration::Lasting,
            Self::Restart { .. } | Self::ClockStep { .. } | Self::FlushAll | Self::ScriptFlush => {
                FaultDuration::Momentary
            }
        }
    }
}

impl fmt::Display for Nemesis {
    /// Prints the predicate of a sentence about a node: `killed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { data: Data::Kept } => f.write_str("killed"),
            Self::Kill { data: Data::Lost } => f.write_str("killed, its data lost"),
            Self::Restart { data: Data::Kept } => f.write_str("restarted"),
            Self::Restart { data: Data::Lost } => f.write_str("restarted without its data"),
            Self::Pause => f.write_str("paused"),
            Self::Cut => f.write_str("cut off"),
            Self::Link { from: Clients::All, link } => write!(f, "{link} for everyone"),
            Self::Link { from: Clients::One(client), link } => write!(f, "{link} for client {client}"),
            Self::ClockStep { step: ClockStep::Forward(by) } => write!(f, "clock stepped forward by {by:?}"),
            Self::ClockStep { step: ClockStep::Backward(by) } => write!(f, "clock stepped back by {by:?}"),
            Self::ClockRate { ppm } if *ppm < 0 => {
                write!(f, "clock slow by {} ppm", ppm.unsigned_abs())
            }
            Self::ClockRate { ppm } => write!(f, "clock fast by {ppm} ppm"),
            Self::MemoryFull => f.write_str("out of memory"),
            Self::FlushAll => f.write_str("flushed"),
            Self::ScriptFlush => f.write_str("scripts flushed"),
        }
    }
}
