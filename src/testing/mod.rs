//! Local clusters of real Redis servers, faults and a history checker, for tests of services that use the lock.
//!
//! [`LocalCluster`] starts `redis-server` processes of its own, which can be killed, restarted with or without
//! their data, and paused. [`history`] judges what the clients of such a run saw: whether two of them ever held
//! the same resource, and whether fencing tokens did their work.
//!
//! Nothing here depends on the rest of the library, so a test looks at the servers independently of the code that
//! it tests. Unix only: the faults are signals.
//!
//! # Examples
//!
//! ```no_run
//! use redlock_quorum::testing::{Data, LocalCluster};
//!
//! # fn main() -> Result<(), redlock_quorum::testing::ClusterError> {
//! let cluster = LocalCluster::start(3)?;
//! let urls = cluster.urls(); // hand these to the service under test
//! cluster.kill(0)?; // it must go on with two of three
//! cluster.restart(0, Data::Kept)?;
//! assert!(cluster.keys(0)?.is_empty());
//! # Ok(())
//! # }
//! ```

mod binary;
mod builder;
mod clock;
mod cluster;
mod error;
pub mod history;
mod links;
mod nemesis;
mod port;
mod reaper;
mod resp;
mod server;
mod wait;

pub use builder::Builder;
pub use cluster::{LocalCluster, MAX_NODES};
pub use error::ClusterError;
pub use links::{Clients, Link, Linked, MAX_CLIENTS};
pub use nemesis::{ClientFault, DockerNodes, Nemesis, NemesisError, Nodes, Refusal, RemoteNodes, Span, Step};
pub use resp::Reply;
pub use server::{Data, Durability, NodeState};
