//! How a held lock is lost, and the errors of work under a lock.

use std::time::Duration;

use super::{LockError, ReleaseError, Released, Votes};

/// Why a lease ended although its holder did not release it. Stop the protected work: another client may hold the lock.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The deadline passed: too few nodes renewed the lease in time, or no renewal was sent.
    #[error("the lease on {resource:?} expired ({votes})")]
    Expired {
        /// The resource.
        resource: String,
        /// The last known vote of each node: `Granted` where the node still holds the lock, the reason where the node
        /// did not renew the lease, and `NotAwaited` where the node was not asked, as when this process was stopped.
        votes: Votes,
    },
    /// Too few nodes for a quorum still hold the lock or may hold it. The others lost their data, or somebody removed
    /// the key.
    #[error("the lease on {resource:?} is gone from its nodes ({votes}{})", forgot(quarantined))]
    Denied {
        /// The resource.
        resource: String,
        /// The last known vote of each node.
        votes: Votes,
        /// The nodes among them that are in quarantine, because they restarted or were replaced and have forgotten the
        /// lock.
        quarantined: Vec<String>,
    },
    /// `max_hold` has elapsed, and the lock has been released.
    #[error("the lease on {resource:?} was held for {max_hold:?}, the longest that was allowed")]
    MaxHold {
        /// The resource.
        resource: String,
        /// The setting `max_hold`.
        max_hold: Duration,
    },
    /// [`Redlock::shutdown`](crate::Redlock::shutdown) has released the lock.
    #[error("the lease on {resource:?} ended with its client, which is shut down")]
    ShutDown {
        /// The resource.
        resource: String,
    },
    /// The tokio runtime in which the client was connected has ended, so nothing renews or releases the lock any more.
    /// The lock's keys last until their TTL. Connect once in each runtime, or keep that runtime running.
    #[error(
        "the lease on {resource:?} ended with the tokio runtime in which its client was connected; \
         connect once in each runtime, or keep that one"
    )]
    RuntimeEnded {
        /// The resource.
        resource: String,
    },
}

fn forgot(quarantined: &[String]) -> String {
    if quarantined.is_empty() {
        return String::new();
    }
    format!("; restarted or replaced, and in quarantine: {}", quarantined.join(", "))
}

impl Loss {
    /// The kind of loss in a word or two, for counting and as a label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Denied { .. } => "denied",
            Self::MaxHold { .. } => "max hold",
            Self::ShutDown { .. } => "shut down",
            Self::RuntimeEnded { .. } => "runtime ended",
        }
    }

    /// The last known vote of each node, where the nodes were the reason.
    #[must_use]
    pub fn votes(&self) -> Option<&Votes> {
        match self {
            Self::Expired { votes, .. } | Self::Denied { votes, .. } => Some(votes),
            Self::MaxHold { .. } | Self::ShutDown { .. } | Self::RuntimeEnded { .. } => None,
        }
    }
}

/// Why [`Mutex::run`](crate::Mutex::run) did not return the value of its body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The lock was not acquired; the body was not called.
    #[error(transparent)]
    NotAcquired(#[from] LockError),
    /// The lease was lost. The body was cancelled at its next await, or ended by itself but only after the deadline.
    /// The body's last steps may have run while another client held the lock.
    #[error("{0}; the work under it was cancelled")]
    Lost(Loss),
    /// The body's own error.
    #[error("{error}")]
    Body {
        /// The error that the body returned.
        error: E,
        /// How the release ended.
        released: Result<Released, ReleaseError>,
    },
}
