//! Why one node does not vote.

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
        /// What the connection attempt said.
        detail: String,
    },
    /// No answer within the time for one. The command may have run, or run later.
    #[error("no answer within {after:?}")]
    NoAnswer {
        /// How long the client waited.
        after: Duration,
    },
    /// The connection broke while the answer was awaited.
    #[error("connection lost: {detail}")]
    ConnectionLost {
        /// What the connection said.
        detail: String,
    },
    /// A file that the settings name cannot be used now: one with our password, or for TLS. The client reads it again at
    /// the next attempt to connect, in the background.
    #[error("{setting}: cannot read {path}: {problem}")]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// As given.
        path: String,
        /// What the operating system says, or what is wrong with what is in it; never what is in it.
        problem: String,
    },
    /// The program's provider of credentials has given none. The client asks it again at the next attempt to connect,
    /// in the background.
    #[error("no credentials: {detail}")]
    Credentials {
        /// What the provider said, or that it took too long.
        detail: String,
    },
    /// User name or password refused, or missing.
    #[error("authentication failed: {detail}; check the user and password of this node")]
    Authentication {
        /// What the server said.
        detail: String,
    },
    /// No majority of this node's sentinels knows its master, or they have made another server the master. The client
    /// asks on in the background.
    #[error("sentinels: {detail}")]
    Sentinel {
        /// How many answered, and why the others did not; or which server the master is now.
        detail: String,
    },
    /// TLS was not agreed on.
    #[error("TLS: {cause} ({detail})")]
    Tls {
        /// What is wrong, and so what to do.
        cause: TlsCause,
        /// What the handshake said.
        detail: String,
    },
    /// The ACL of our user lacks something.
    #[error("permission missing: {detail}; extend the ACL rule of this user")]
    Permission {
        /// What the server said; it names the command or key.
        detail: String,
    },
    /// The server has as many clients as its `maxclients` allows. Over TLS a server does not say so but closes, which is
    /// [`Unreachable`](Self::Unreachable).
    #[error("it has too many clients; raise `maxclients`, or see who keeps so many connections open")]
    TooManyClients,
    /// The server is out of memory.
    #[error("out of memory; raise `maxmemory` or free some")]
    OutOfMemory,
    /// It may have forgotten locks that it granted, so its grants do not count yet.
    #[error("in quarantine for {}: {cause}", shown(*left))]
    Quarantined {
        /// For how long from then on.
        left: Duration,
        /// Why.
        cause: QuarantineCause,
    },
    /// Its grants do not count because the client has not looked at it lately, or has not told all nodes yet that it uses
    /// it: the client has just met it, or was stopped. The client is about to look.
    #[error("not looked at lately, because it was just met or this process was stopped; it is about to be")]
    NotObserved,
    /// It is not a master. A replica does not know what the other nodes granted.
    #[error("not a master but a {role}; name the masters themselves, each independent of the others")]
    NotMaster {
        /// What it says that it is.
        role: String,
    },
    /// It is part of a Redis Cluster or no data node at all.
    #[error("it runs in {mode} mode; only standalone masters vote")]
    NotStandalone {
        /// What it says that it is.
        mode: String,
    },
    /// It is the same server as another of the nodes: one vote must not count twice.
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
    /// The server may throw away locks when its memory is full.
    #[error("it may evict locks: maxmemory is set and maxmemory-policy is {policy}; set it to noeviction")]
    MayEvict {
        /// `maxmemory-policy`.
        policy: String,
    },
    /// The server does not take writes: a replica, or a master that lost its replicas.
    #[error("read-only: {detail}; only masters vote")]
    ReadOnly {
        /// What the server said.
        detail: String,
    },
    /// The server is still loading its data.
    #[error("still loading its data")]
    Loading,
    /// The server refused for another reason.
    #[error("refused: {detail}")]
    Refused {
        /// What the server said.
        detail: String,
    },
    /// Not an answer to our command.
    #[error("unexpected answer: {detail}")]
    Unexpected {
        /// What arrived.
        detail: String,
    },
    /// The client has been shut down.
    #[error("the client is shut down")]
    ShutDown,
    /// The tokio runtime in which the client was connected has ended, and its connections with it. Connect once in each
    /// runtime, or keep that one running.
    #[error(
        "the tokio runtime in which the client was connected has ended; connect once in each runtime, or keep that one"
    )]
    RuntimeEnded,
}

impl NodeFailure {
    /// In a word or two, the same for all failures of a kind: for counting and as a label.
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

    /// For how long the node is in quarantine, if it is that.
    #[must_use]
    pub fn quarantine(&self) -> Option<Duration> {
        if let Self::Quarantined { left, .. } = self { Some(*left) } else { None }
    }
}

/// To a tenth of a second: what is left goes down while it is read.
fn shown(left: Duration) -> String {
    format!("another {:.1} s", left.as_secs_f64())
}
