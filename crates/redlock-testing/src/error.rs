//! What can go wrong with a local cluster.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::MAX_NODES;
use super::server::NodeState;

/// Why a [`LocalCluster`](super::LocalCluster) could not be started, changed or asked.
///
/// None of these says anything about the code under test, but for [`NoAnswer`](Self::NoAnswer) and
/// [`Unreachable`](Self::Unreachable), which are what a fault is expected to look like.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No server program was found. Install one, or say where it is.
    #[error(
        "no Redis server found: {looked_for}. Install one with `apt-get install redis-server` (Debian, Ubuntu), \
         `dnf install redis` or `dnf install valkey` (Fedora), `brew install redis` (macOS), or `make setup` in a \
         checkout of redlock-quorum; or set REDIS_SERVER to the path of a redis-server or valkey-server"
    )]
    ServerNotFound {
        /// Where it was looked for.
        looked_for: String,
    },

    /// The number of nodes is zero or more than [`MAX_NODES`]. Ask for another number.
    #[error("a local cluster has 1 to {MAX_NODES} nodes, not {asked}")]
    NodeCount {
        /// The number that was asked for.
        asked: usize,
    },

    /// A directive would be more than one line of redis.conf, or none. Pass one directive at a time.
    #[error(
        "the directive {key:?} is not one line of redis.conf: its name must not be empty, nor contain blanks, and neither it nor its value a line break"
    )]
    InvalidDirective {
        /// The directive's name.
        key: String,
    },

    /// Every port that the cluster may use is taken. End what listens there.
    #[error("no free port on 127.0.0.1 between {first} and {last}: stop what listens there")]
    NoFreePort {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },

    /// A server ended, or did not answer, while it was started. The tail of its log says why; most often an
    /// additional directive is wrong or unknown to this version.
    #[error("node {node} did not start on port {port}: {reason}; the end of its log:\n{log}")]
    StartFailed {
        /// Number of the node.
        node: usize,
        /// Its port.
        port: u16,
        /// How it failed.
        reason: String,
        /// The last lines that it wrote.
        log: String,
    },

    /// A node took the connection but did not answer in time: it is paused or hangs.
    #[error("node {node} on port {port} did not answer within {limit:?}: resume it if it is paused")]
    NoAnswer {
        /// Number of the node.
        node: usize,
        /// Its port.
        port: u16,
        /// How long it was waited for.
        limit: Duration,
    },

    /// A node could not be connected to, or closed the connection: it is stopped, or was while it was asked.
    #[error("node {node} on port {port} cannot be reached: {source}; restart it if it is stopped")]
    Unreachable {
        /// Number of the node.
        node: usize,
        /// Its port.
        port: u16,
        /// The error of the connection.
        source: io::Error,
    },

    /// What a node answered is not a reply of the Redis protocol, or is beyond a limit of this small parser.
    #[error(
        "node {node} on port {port} answered something unreadable: {source}; use a Redis client for this command"
    )]
    BadReply {
        /// Number of the node.
        node: usize,
        /// Its port.
        port: u16,
        /// What is wrong with it.
        source: io::Error,
    },

    /// The node is in a state in which this cannot be done to it. Restart it first.
    #[error("node {node} is {state}, so it cannot be {action}: restart it first")]
    WrongState {
        /// Number of the node.
        node: usize,
        /// What it is.
        state: NodeState,
        /// What was asked for.
        action: &'static str,
    },

    /// The server refused a command that a fault needs. Let its user run it.
    #[error("node {node} refused {command}: {text}")]
    Refused {
        /// Number of the node.
        node: usize,
        /// The command.
        command: String,
        /// What it said.
        text: String,
    },

    /// A URL or host name that cannot be used. The URL itself is not repeated, for it may hold a password.
    #[error("the URL of a node cannot be used: {reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },

    /// Clocks cannot be made adjustable. Install a C compiler (`apt-get install gcc libc6-dev`), or do without.
    #[error("the servers' clocks cannot be made adjustable: {reason}; install a C compiler, or do without")]
    ClocksNotAdjustable {
        /// What is missing.
        reason: String,
    },

    /// Docker did not do what it was asked to.
    #[error("`{command}` failed: {detail}")]
    Docker {
        /// The command.
        command: String,
        /// What it said.
        detail: String,
    },

    /// The operating system refused something. Check permissions, limits of processes, and space.
    #[error("could not {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With which file, directory or program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
