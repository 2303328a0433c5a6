//! How holding a lock ends when it does not end well.

use std::time::Duration;

use super::{LockError, ReleaseError, Released, Votes};

/// Why a lease is over although nobody released it. Stop the protected work: another client may hold the lock.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The deadline passed. Too few nodes renewed the lease in time, or nobody asked them to.
    #[error("the lease on {resource:?} expired ({votes})")]
    Expired {
        /// The resource.
        resource: String,
        /// What was last known of each node: `Granted` where it still holds the lock, the reason where it did not
        /// renew it, and `NotAwaited` where it was not asked, as when this process was stopped.
        votes: Votes,
    },
    /// So many nodes said that they no longer hold the lock that the others are no quorum: they lost their data, or
    /// somebody removed the key.
    #[error("the lease on {resource:?} is gone from its nodes ({votes}{})", forgot(quarantined))]
    Denied {
        /// The resource.
        resource: String,
        /// What was last known of each node.
        votes: Votes,
        /// The nodes among them that are in quarantine: they restarted, and have forgotten the lock.
        quarantined: Vec<String>,
    },
    /// `max_hold` is over, and the lock has been released.
    #[error("the lease on {resource:?} was held for {max_hold:?}, the longest that was allowed")]
    MaxHold {
        /// The resource.
        resource: String,
        /// The setting.
        max_hold: Duration,
    },
    /// [`Redlock::shutdown`](crate::Redlock::shutdown) has released the lock.
    #[error("the lease on {resource:?} ended with its client, which is shut down")]
    ShutDown {
        /// The resource.
        resource: String,
    },
    /// The tokio runtime in which the client was connected has ended, and with it whatever could renew or release the
    /// lock. Its keys last until their TTL. Connect once in each runtime, or keep that one running.
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
    /// In a word or two: for counting and as a label.
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

    /// What was last known of each node, where the nodes were the reason.
    #[must_use]
    pub fn votes(&self) -> Option<&Votes> {
        match self {
            Self::Expired { votes, .. } | Self::Denied { votes, .. } => Some(votes),
            Self::MaxHold { .. } | Self::ShutDown { .. } | Self::RuntimeEnded { .. } => None,
        }
    }
}

/// Why [`Mutex::run`](crate::Mutex::run) has no value of its body's to return.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The lock was not acquired; the body was not called.
    #[error(transparent)]
    NotAcquired(#[from] LockError),
    /// The lease was lost, and the body cancelled at its next await; or the body ended by itself, but only after
    /// the deadline. What it did last may have met another holder.
    #[error("{0}; the work under it was cancelled")]
    Lost(Loss),
    /// The body's own error.
    #[error("{error}")]
    Body {
        /// What the body returned.
        error: E,
        /// How the release ended.
        released: Result<Released, ReleaseError>,
    },
}
