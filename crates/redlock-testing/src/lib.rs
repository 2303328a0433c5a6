//! Clusters of real Redis servers, faults and a history checker, for tests of services that use the lock.
//!
//! - [`LocalCluster`] starts `redis-server` processes.
//! - A [`Nemesis`] is a fault as a value. It is applied to [`Nodes`], and healed again: to a [`LocalCluster`],
//!   [`DockerNodes`] or [`RemoteNodes`].
//! - [`Linked`] puts a proxy between each client and each node, so that each link can be cut or slowed down by itself.
//! - [`ClientFault`]s are faults of client processes.
//! - [`history`] judges what the clients of a run recorded: whether two clients ever held the same resource, whether
//!   fencing tokens grew, whether holders were notified of losses in time.
//!
//! The command `redlock chaos` of the tool runs scenarios of all this without a line of code.
//!
//! Nothing here depends on the rest of the library, so a test examines the servers independently of the code that it
//! tests. Unix only, because the faults are signals.
//!
//! # Examples
//!
//! A test of a service:
#![doc = concat!("```no_run\n", include_str!("../tests/service.rs"), "```")]

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

pub use builder::{LocalClusterBuilder, TlsFiles};
pub use cluster::{LocalCluster, MAX_NODES};
pub use error::ClusterError;
pub use links::{Clients, Link, Linked, MAX_CLIENTS};
pub use nemesis::{
    ClientFault, ClockStep, DockerNodes, FaultDuration, Nemesis, NemesisError, Nodes, Refusal, RemoteNodes,
};
pub use resp::Reply;
pub use server::{Data, Durability, NodeState};
