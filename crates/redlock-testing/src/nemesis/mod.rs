//! Faults as values: what can be done to a node, on which kinds of nodes, and how it is undone.

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

/// One thing that goes wrong with one node. Applied by [`Nodes::apply`], and undone by [`Nodes::heal`] unless it is
/// [momentary](FaultDuration::Momentary).
///
/// | nemesis | local | docker | by URL | undone by |
/// |---|---|---|---|---|
/// | [`Kill`](Self::Kill) | SIGKILL | `docker kill` | | starting it again |
/// | [`Restart`](Self::Restart) | SIGKILL, started at once | the same | | |
/// | [`Pause`](Self::Pause) | SIGSTOP | `docker pause` | | letting it go on |
/// | [`Cut`](Self::Cut) | by [`Linked`](super::Linked) | `docker network disconnect` | by `Linked` | mending it |
/// | [`Link`](Self::Link) | by `Linked` | by `Linked` | by `Linked` | an open link |
/// | [`ClockStep`](Self::ClockStep) | [adjustable clocks](super::LocalClusterBuilder::adjustable_clocks) | | | |
/// | [`ClockRate`](Self::ClockRate) | adjustable clocks | | | the right rate; what it gained stays |
/// | [`MemoryFull`](Self::MemoryFull) | `CONFIG SET maxmemory` | the same | | the limit it had |
/// | [`FlushAll`](Self::FlushAll) | yes | yes | | |
/// | [`ScriptFlush`](Self::ScriptFlush) | yes | yes | yes | |
///
/// Everything else is refused with a [`Refusal`] that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nemesis {
    /// Its process is killed.
    Kill {
        /// What it finds when it is started again.
        data: Data,
    },
    /// Its process is killed and started again at once.
    Restart {
        /// What it finds.
        data: Data,
    },
    /// Its process stands still: connections stay, nothing is answered, and what was sent is executed afterwards.
    Pause,
    /// Nobody reaches it over the network, and it does not notice.
    Cut,
    /// The way of clients to it is bad.
    Link {
        /// Whose way.
        from: Clients,
        /// In what way.
        link: Link,
    },
    /// Its wall clock jumps, and stays so.
    ClockStep {
        /// How far.
        step: ClockStep,
    },
    /// Its wall clock runs too fast or too slow.
    ClockRate {
        /// By how many parts of a million: 100,000 is a tenth too fast, a negative number too slow.
        ppm: i32,
    },
    /// It refuses every write, for lack of memory.
    MemoryFull,
    /// It forgets all keys, and does not restart.
    FlushAll,
    /// It forgets the scripts that were loaded.
    ScriptFlush,
}

/// A jump of a wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStep {
    /// Keys expire early.
    Forward(Duration),
    /// Keys expire late.
    Backward(Duration),
}

/// Whether a nemesis lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultDuration {
    /// It is over as soon as it has happened; there is nothing to heal.
    Momentary,
    /// It lasts until it is healed.
    Lasting,
}

/// Nodes to which faults can be applied, numbered from 0.
///
/// One lasting nemesis at a time for each node: healing one that another has overtaken, such as a pause of a node
/// that was killed, is an error.
///
/// All methods block, up to a second or two with docker; call them from a blocking thread where that matters.
pub trait Nodes: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// The URL of one node, for clients.
    ///
    /// # Panics
    ///
    /// Like an index, when there is no such node.
    fn node_url(&self, node: usize) -> String;

    /// Whether these nodes can be subjected to `nemesis`; asks nobody.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal>;

    /// Subjects a node to `nemesis`, and returns when it has taken effect.
    ///
    /// # Errors
    ///
    /// [`NemesisError::Refused`] as [`check`](Self::check); [`NemesisError::Failed`].
    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError>;

    /// Undoes `nemesis`, and returns when the node is well again. Nothing to do for a momentary one.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError>;

    /// Sends one command to a node and returns its answer, an error of the server included.
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
    /// Whether it lasts until it is healed.
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
    /// As a sentence about a node: `killed`.
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
