//! Clusters of real Redis servers, faults and a history checker, for tests of services that use the lock.
//!
//! [`LocalCluster`] starts `redis-server` processes of its own. A [`Nemesis`] is a fault as a value: applied to
//! [`Nodes`], which are such a cluster, [`DockerNodes`] or [`RemoteNodes`], and healed again; [`Linked`] puts proxies
//! between clients and nodes, so that every way can be cut or slowed down by itself; [`ClientFault`]s are those of
//! client processes. [`history`] judges what the clients of such a run saw: whether two of them ever held the same
//! resource, whether fencing tokens did their work, whether losses were told in time. The tool's `redlock chaos` does
//! all of it by a scenario, without a line of code.
//!
//! Nothing here depends on the rest of the library, so a test looks at the servers independently of the code that
//! it tests. Unix only: the faults are signals.
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
