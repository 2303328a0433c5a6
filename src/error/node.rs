//! Why one node's vote is unknown or does not count.

use std::time::Duration;

use super::TlsCause;
use crate::types::QuarantineCause;

/// Why a node's answer is not known, or does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFailure {
    /// The first connection is still being made.
    #[error("not connected yet")]
    Connecting,
    /// No connection can be made. The client keeps trying in the background.
    #[error("unreachable: {detail}")]
    Unreachable {
        /// The error of the connection attempt.
        detail: String,
    },
    /// The node did not answer in time. The command may have run, or may still run later.
    #[error("no answer within {after:?}")]
    NoAnswer {
        /// How long the client waited.
        after: Duration,
    },
    /// The connection broke while the answer was awaited. The command may have run.
    #[error("connection lost: {detail}")]
    ConnectionLost {
        /// The error of the connection.
        detail: String,
    },
    /// A password file or TLS file that the settings name cannot be used now. The client reads the file again at the
    /// next attempt to connect, in the background.
    #[error("{setting}: cannot read {path}: {problem}")]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// The path as given.
        path: String,
        /// The error of the operating system, or what is wrong with the file's content; never the content itself.
        problem: String,
    },
    /// The program's provider of credentials returned none. The client asks the provider again at the next attempt to
    /// connect, in the background.
    #[error("no credentials: {detail}")]
    Credentials {
        /// The provider's error, or that the provider took too long.
        detail: String,
    },
    /// The user name or password was refused, or is missing.
    #[error("authentication failed: {detail}; check the user and password of this node")]
    Authentication {
        /// The server's message.
        detail: String,
    },
    /// No majority of this node's sentinels knows its master, or the sentinels have made another server the master. The
    /// client keeps asking in the background.
    #[error("sentinels: {detail}")]
    Sentinel {
        /// The number of sentinels that answered and why the others did not, or the server that is the master now.
        detail: String,
    },
    /// The TLS handshake failed.
    #[error("TLS: {cause} ({detail})")]
    Tls {
        /// The cause, whose text says what to do.
        cause: TlsCause,
        /// The error of the handshake.
        detail: String,
    },
    /// The ACL user of the client lacks a permission.
    #[error("permission missing: {detail}; extend the ACL rule of this user")]
    Permission {
        /// The server's message, which names the command or key.
        detail: String,
    },
    /// The server has as many clients as its `maxclients` allows. Over TLS, such a server closes the connection without
    /// a message, which is [`Unreachable`](Self::Unreachable).
    #[error("it has too many clients; raise `maxclients`, or see who keeps so many connections open")]
    TooManyClients,
    /// The server is out of memory.
    #[error("out of memory; raise `maxmemory` or free some")]
    OutOfMemory,
    /// The node is in quarantine: it may lack locks that clients hold, so its grants do not count yet.
    #[error("in quarantine for {}: {cause}", shown(*left))]
    Quarantined {
        /// The rest of the quarantine, from the vote on.
        left: Duration,
        /// The cause of the quarantine.
        cause: QuarantineCause,
    },
    /// The node list is being changed to the one that this client uses alone. Clients of the former list may be left,
    /// and the quorums of the two may miss each other. Let the client name both lists, or wait: `redlock members` says
    /// how far the change has got.
    #[error(
        "clients of the former node list may be left; name both lists (`next_nodes`), or see `redlock members`"
    )]
    NodesNotYetInUse,
    /// The node list that this client uses alone was given up, and clients may hold locks on another one. Name the
    /// nodes of that list: `redlock members` shows them.
    #[error("its clients have changed to other nodes; name those, see `redlock members`")]
    NodesGivenUp,
    /// The client has not observed the node recently, so the node's grants do not count. Either the client has just
    /// connected to the node and has not yet announced to all other nodes that it uses this one, or the client's
    /// process was stopped. The next observation, which is about to run, ends this state.
    #[error("not looked at lately, because it was just met or this process was stopped; it is about to be")]
    NotObserved,
    /// The node is not a master. A replica copies its master with a delay, and does not know what other nodes granted.
    #[error("not a master but a {role}; name the masters themselves, each independent of the others")]
    NotMaster {
        /// The role or mode that the node reports.
        role: String,
    },
    /// The node is part of a Redis Cluster, or is no data node at all.
    #[error("it runs in {mode} mode; only standalone masters vote")]
    NotStandalone {
        /// The role or mode that the node reports.
        mode: String,
    },
    /// The node is the same server as another of the nodes. One server's vote must not count twice.
    #[error("it is the same server as {other}, under another name; list each server once")]
    Duplicate {
        /// The other node's name.
        other: String,
    },
    /// The server is too old.
    #[error("version {version} is too old; Redis 6.2 or Valkey 7.2 is needed")]
    TooOld {
        /// The server's version.
        version: String,
    },
    /// The server may evict locks when its memory is full.
    #[error("it may evict locks: maxmemory is set and maxmemory-policy is {policy}; set it to noeviction")]
    MayEvict {
        /// The server's `maxmemory-policy`.
        policy: String,
    },
    /// The server does not take writes: a replica, or a master that lost its replicas.
    #[error("read-only: {detail}; only masters vote")]
    ReadOnly {
        /// The server's message.
        detail: String,
    },
    /// The server is still loading its data.
    #[error("still loading its data")]
    Loading,
    /// The server refused the command for another reason.
    #[error("refused: {detail}")]
    Refused {
        /// The server's message.
        detail: String,
    },
    /// The answer is not one that the command can have.
    #[error("unexpected answer: {detail}")]
    Unexpected {
        /// The answer that arrived.
        detail: String,
    },
    /// The client has been shut down.
    #[error("the client is shut down")]
    ShutDown,
    /// The tokio runtime in which the client was connected has ended, and the client's connections have ended with it.
    /// Connect once in each runtime, or keep that runtime running.
    #[error(
        "the tokio runtime in which the client was connected has ended; connect once in each runtime, or keep that one"
    )]
    RuntimeEnded,
}

impl NodeFailure {
    /// The kind of failure in a word or two, the same for all failures of a kind, for counting and as a label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Unreachable { .. } => "unreachable",
            Self::NoAnswer { .. } => "no answer",
            Self::ConnectionLost { .. } => "connection lost",
            Self::File { .. } => "file unusable",
            Self::Credentials { .. } => "no credentials",
            Self::Authentication { .. } => "authentication failed",
            Self::Sentinel { .. } => "no master by its sentinels",
            Self::Tls { .. } => "TLS failed",
            Self::Permission { .. } => "permission missing",
            Self::TooManyClients => "too many clients",
            Self::OutOfMemory => "out of memory",
            Self::Quarantined { .. } => "in quarantine",
            Self::NodesNotYetInUse => "node list not yet in use",
            Self::NodesGivenUp => "node list given up",
            Self::NotObserved => "not looked at",
            Self::NotMaster { .. } => "not a master",
            Self::NotStandalone { .. } => "not standalone",
            Self::Duplicate { .. } => "the same server twice",
            Self::TooOld { .. } => "too old",
            Self::MayEvict { .. } => "may evict locks",
            Self::ReadOnly { .. } => "read-only",
            Self::Loading => "loading its data",
            Self::Refused { .. } => "refused",
            Self::Unexpected { .. } => "unexpected answer",
            Self::ShutDown => "shut down",
            Self::RuntimeEnded => "runtime ended",
        }
    }

    /// The rest of the quarantine, if the node is in quarantine.
    #[must_use]
    pub fn quarantine(&self) -> Option<Duration> {
        if let Self::Quarantined { left, .. } = self { Some(*left) } else { None }
    }
}

/// Shown to a tenth of a second only, because the rest shrinks while the text is read.
fn shown(left: Duration) -> String {
    format!("another {:.1} s", left.as_secs_f64())
}
