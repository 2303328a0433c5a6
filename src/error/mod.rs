//! Errors: one enum per operation, and the vote of every node behind it.

mod holding;
mod node;
mod settings;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use holding::{Loss, RunError};
pub use node::NodeFailure;
pub use settings::{SettingOrigin, SettingsError};
pub use tls::TlsCause;

/// What one node said to one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeVote {
    /// Yes.
    Granted,
    /// No: another owner holds the key, or ours is gone.
    Denied,
    /// Not known whether the command ran.
    Unknown(NodeFailure),
    /// Its answer was not needed: the others had already decided, or it was not asked.
    NotAwaited,
}

/// Every node's vote in one attempt, in the order of the configuration. Displays as one line that names each node.
#[derive(Clone, PartialEq, Eq)]
pub struct Votes(pub(crate) Vec<(Arc<str>, NodeVote)>);

impl Votes {
    /// Node name (host and port) and vote, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NodeVote)> {
        self.0.iter().map(|(node, vote)| (&**node, vote))
    }

    /// The nodes whose answer is not known, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &NodeFailure)> {
        self.iter().filter_map(|(node, vote)| match vote {
            NodeVote::Unknown(failure) => Some((node, failure)),
            NodeVote::Granted | NodeVote::Denied | NodeVote::NotAwaited => None,
        })
    }

    /// The nodes that said no.
    pub fn denials(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(_, vote)| **vote == NodeVote::Denied).map(|(node, _)| node)
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (node, vote)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            match vote {
                NodeVote::Granted => write!(f, "{node}: granted")?,
                NodeVote::Denied => write!(f, "{node}: denied")?,
                NodeVote::Unknown(failure) => write!(f, "{node}: {failure}")?,
                NodeVote::NotAwaited => write!(f, "{node}: not awaited")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// Why a lock was not acquired. Nothing is left behind in any case: every node that may have planted the key is
/// told to remove it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it. Try again later.
    #[error("{resource:?} is held by another owner ({votes})")]
    Contended {
        /// The resource.
        resource: String,
        /// What each node said.
        votes: Votes,
    },
    /// Too many nodes did not answer; nobody can lock until enough of them are back. See to the nodes.
    #[error("no quorum for {resource:?}: {needed} of {} nodes must answer ({votes})", votes.0.len())]
    NoQuorum {
        /// The resource.
        resource: String,
        /// How many nodes must agree.
        needed: usize,
        /// What each node said.
        votes: Votes,
    },
    /// A quorum was reached, but so late that less than `min_validity` of the lease was left. The network or a
    /// node is slow against the TTL: raise `ttl`.
    #[error(
        "{resource:?} was granted too late: {left:?} of validity left, {min_validity:?} needed ({votes})"
    )]
    TooLate {
        /// The resource.
        resource: String,
        /// What was left of the lease.
        left: Duration,
        /// What had to be left.
        min_validity: Duration,
        /// What each node said.
        votes: Votes,
    },
    /// Our wall clock is too far from the median of the nodes' to propose fencing tokens. Set the clock, or raise
    /// `max_clock_skew`.
    #[error("this machine's clock is {skew:?} away from the nodes' median, {max:?} allowed; set it right")]
    ClockSkew {
        /// How far away it is.
        skew: Duration,
        /// The setting.
        max: Duration,
    },
    /// A node holds a score that no fencing token can exceed any more. Nobody gets a token for this resource until
    /// it is removed; before that, make sure that the protected resource does not compare with older tokens.
    #[error(
        "a node's score {score} for {resource:?} leaves no fencing token; \
         remove it on every node with `ZREM {key} {member}`"
    )]
    FenceTooHigh {
        /// The resource.
        resource: String,
        /// The sorted set that holds the scores.
        key: String,
        /// What it calls the resource: its key, the prefix included.
        member: String,
        /// The score.
        score: f64,
    },
    /// `max_wait` is over. `last` says why the last attempt failed.
    #[error("gave up after waiting {max_wait:?}: {last}")]
    Timeout {
        /// The setting.
        max_wait: Duration,
        /// What the last attempt ended with.
        #[source]
        last: Box<LockError>,
    },
    /// A setting of this lock is out of its bounds. Nothing was sent.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
    /// [`Redlock::shutdown`](crate::Redlock::shutdown) was called.
    #[error("the client is shut down")]
    ShutDown,
    /// The tokio runtime in which the client was connected has ended, and its connections with it. Connect once in each
    /// runtime, as in each `#[tokio::test]`, or keep that one running.
    #[error(
        "the tokio runtime in which the client was connected has ended, and its connections with it; \
         connect once in each runtime, as in each #[tokio::test], or keep that one"
    )]
    RuntimeEnded,
}

impl LockError {
    /// The votes of the attempt that failed; of the last one for [`LockError::Timeout`].
    #[must_use]
    pub fn votes(&self) -> Option<&Votes> {
        match self {
            Self::Contended { votes, .. } | Self::NoQuorum { votes, .. } | Self::TooLate { votes, .. } => {
                Some(votes)
            }
            Self::Timeout { last, .. } => last.votes(),
            Self::ClockSkew { .. }
            | Self::FenceTooHigh { .. }
            | Self::Invalid(_)
            | Self::ShutDown
            | Self::RuntimeEnded => None,
        }
    }

    /// How long it takes, from the last attempt on, until enough nodes are out of quarantine for a quorum; `None` where
    /// that is not what is missing.
    #[must_use]
    pub fn quarantine(&self) -> Option<Duration> {
        let Self::NoQuorum { needed, votes, .. } = self.reason() else { return None };
        let failures = || votes.failures().map(|(_, failure)| failure);
        let spare = votes.0.len().checked_sub(*needed)?;
        let missing = failures().count().checked_sub(spare)?;
        let mut left: Vec<_> = failures().filter_map(NodeFailure::quarantine).collect();
        left.sort_unstable();
        left.get(missing.checked_sub(1)?).copied()
    }

    /// What kept the lock from us, looking through [`LockError::Timeout`] at its last attempt.
    #[must_use]
    pub fn reason(&self) -> &Self {
        match self {
            Self::Timeout { last, .. } => last.reason(),
            Self::Contended { .. }
            | Self::NoQuorum { .. }
            | Self::TooLate { .. }
            | Self::ClockSkew { .. }
            | Self::FenceTooHigh { .. }
            | Self::Invalid(_)
            | Self::ShutDown
            | Self::RuntimeEnded => self,
        }
    }
}

/// Why a lease was not extended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The lease is over: its deadline has passed, or too many nodes no longer hold it. Stop the protected work.
    #[error("the lease on {resource:?} is lost ({votes})")]
    Lost {
        /// The resource.
        resource: String,
        /// What each node said; all `NotAwaited` when the deadline had passed before any was asked.
        votes: Votes,
    },
    /// Too few nodes answered. The lease is still ours until its old deadline; try again before that.
    #[error("no quorum to extend {resource:?}, still ours for {left:?} ({votes})")]
    NoQuorum {
        /// The resource.
        resource: String,
        /// Time left until the old deadline.
        left: Duration,
        /// What each node said.
        votes: Votes,
    },
    /// The new TTL is out of its bounds. Nothing was sent.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Released {
    /// The lease was ours until now, and a quorum has removed it.
    InTime,
    /// The lease was already over when the release was called: since its deadline others may have held the lock.
    AlreadyExpired,
}

/// Why a release is not confirmed. The release goes on in the background until each node has confirmed it or the
/// TTL has passed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Fewer nodes than a quorum confirmed. Others may have to wait for the rest of the TTL.
    #[error("release of {resource:?} not confirmed by a quorum; it goes on in the background ({votes})")]
    Unconfirmed {
        /// The resource.
        resource: String,
        /// What each node said; `Granted` means that it no longer holds the key.
        votes: Votes,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::QuarantineCause;

    #[test]
    fn a_quarantine_counts_where_it_is_what_keeps_a_quorum_away() {
        let quarantined = |left| {
            let left = Duration::from_secs(left);
            NodeVote::Unknown(NodeFailure::Quarantined { left, cause: QuarantineCause::NewOrWiped })
        };
        let down = || NodeVote::Unknown(NodeFailure::Connecting);
        let quarantine = |votes: [NodeVote; 5]| {
            let votes = Votes(votes.into_iter().map(|vote| ("n".into(), vote)).collect());
            LockError::NoQuorum { resource: "r".into(), needed: 3, votes }.quarantine()
        };
        let granted = || NodeVote::Granted;
        let table = [
            // The first of the three that is over makes the quorum.
            ([granted(), granted(), quarantined(9), quarantined(5), quarantined(7)], Some(5)),
            ([quarantined(1), quarantined(9), quarantined(5), quarantined(7), quarantined(3)], Some(5)),
            ([granted(), granted(), down(), down(), quarantined(7)], Some(7)),
            ([granted(), down(), down(), quarantined(5), quarantined(7)], Some(7)),
            ([granted(), down(), down(), down(), quarantined(7)], None),
            ([granted(), granted(), down(), down(), down()], None),
        ];
        for (votes, expected) in table {
            assert_eq!(quarantine(votes.clone()), expected.map(Duration::from_secs), "{votes:?}");
        }
    }
}
