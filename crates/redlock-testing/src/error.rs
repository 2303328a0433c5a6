//! Errors of the clusters.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::MAX_NODES;
use super::server::NodeState;

/// Why a [`LocalCluster`](super::LocalCluster) could not be started, changed or asked.
///
/// No variant says anything about the code under test, except [`NoAnswer`](Self::NoAnswer) and
/// [`Unreachable`](Self::Unreachable), which are the expected symptoms of a fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No server program was found. Install one, or set `REDIS_SERVER`.
    #[error(
        "no Redis server found: {looked_for}. Install one with `apt-get install redis-server` (Debian, Ubuntu), \
         `dnf install redis` or `dnf install valkey` (Fedora), `brew install redis` (macOS), or `make setup` in a \
         checkout of redlock-quorum; or set REDIS_SERVER to the path of a redis-server or valkey-server"
    )]
    ServerNotFound {
        /// Where the program was searched.
        looked_for: String,
    },

    /// The number of nodes is zero or more than [`MAX_NODES`]. Ask for another number.
    #[error("a local cluster has 1 to {MAX_NODES} nodes, not {asked}")]
    NodeCount {
        /// The number that was asked for.
        asked: usize,
    },

    /// A directive is not exactly one line of redis.conf. Pass one directive at a time.
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

    /// A server ended, or did not answer, while it was started. The end of its log says why; most often a directive is
    /// wrong or unknown to this version.
    #[error("node {node} did not start on port {port}: {reason}; the end of its log:\n{log}")]
    StartFailed {
        /// Number of the node.
        node: usize,
        /// The node's port.
        port: u16,
        /// How the start failed.
        reason: String,
        /// The last lines of the server's log.
        log: String,
    },

    /// A node accepted the connection but did not answer in time, because it is paused or hangs.
    #[error("node {node} on port {port} did not answer within {limit:?}: resume it if it is paused")]
    NoAnswer {
        /// Number of the node.
        node: usize,
        /// The node's port.
        port: u16,
        /// The time limit that has passed.
        limit: Duration,
    },

    /// A node refused or closed the connection, because it is stopped or was stopped meanwhile.
    #[error("node {node} on port {port} cannot be reached: {source}; restart it if it is stopped")]
    Unreachable {
        /// Number of the node.
        node: usize,
        /// The node's port.
        port: u16,
        /// The error of the connection.
        source: io::Error,
    },

    /// A node's answer is not a reply of the Redis protocol, or exceeds a limit of this small parser.
    #[error(
        "node {node} on port {port} answered something unreadable: {source}; use a Redis client for this command"
    )]
    BadReply {
        /// Number of the node.
        node: usize,
        /// The node's port.
        port: u16,
        /// The problem of the answer.
        source: io::Error,
    },

    /// The node's state does not allow the action. Restart the node first.
    #[error("node {node} is {state}, so it cannot be {action}: restart it first")]
    WrongState {
        /// Number of the node.
        node: usize,
        /// The node's state.
        state: NodeState,
        /// The action that was asked for.
        action: &'static str,
    },

    /// The server refused a command that a fault needs. Allow the command in the server's ACL.
    #[error("node {node} refused {command}: {text}")]
    Refused {
        /// Number of the node.
        node: usize,
        /// The command.
        command: String,
        /// The server's error.
        text: String,
    },

    /// A URL or host name cannot be used. The URL itself is not shown, because it may contain a password.
    #[error("the URL of a node cannot be used: {reason}")]
    Address {
        /// The problem of the URL.
        reason: String,
    },

    /// Clocks cannot be made adjustable. Install a C compiler (`apt-get install gcc libc6-dev`), or do without them.
    #[error("the servers' clocks cannot be made adjustable: {reason}; install a C compiler, or do without")]
    ClocksNotAdjustable {
        /// The reason.
        reason: String,
    },

    /// A docker command failed.
    #[error("`{command}` failed: {detail}")]
    Docker {
        /// The command.
        command: String,
        /// Docker's message.
        detail: String,
    },

    /// The operating system refused an action. Check permissions, process limits and disk space.
    #[error("could not {action} {}: {source}", path.display())]
    System {
        /// The action that was tried.
        action: &'static str,
        /// The file, directory or program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
