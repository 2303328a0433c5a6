//! Errors: one enum per operation, and the vote of every node behind it.

mod holding;
mod node;
mod settings;
mod tls;

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Quorum;
use crate::types::NodeId;

pub use holding::{Loss, RunError};
pub use node::NodeFailure;
pub use settings::{SettingOrigin, SettingsError};
pub use tls::TlsCause;

/// One node's vote in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeVote {
    /// The node granted what was asked.
    Granted,
    /// The node denied: another owner holds the key, or our key is gone.
    Denied,
    /// The answer is not known, or does not count. The command may have run.
    Unknown(NodeFailure),
    /// The node's answer was not needed: the other nodes had already decided, or the node was not asked.
    NotAwaited,
}

/// Every node's vote in one attempt, in the order of the configuration. `Display` prints one line that names each node.
#[derive(Clone, PartialEq, Eq)]
pub struct Votes {
    quorum: Quorum,
    nodes: Vec<(Arc<str>, NodeVote)>,
}

impl Votes {
    pub(crate) fn new(quorum: Quorum, nodes: impl IntoIterator<Item = (Arc<str>, NodeVote)>) -> Self {
        Self { quorum, nodes: nodes.into_iter().collect() }
    }

    /// Node name (host and port) and vote, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NodeVote)> {
        self.nodes.iter().map(|(node, vote)| (&**node, vote))
    }

    /// The nodes whose vote is [`NodeVote::Unknown`], with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &NodeFailure)> {
        self.iter().filter_map(|(node, vote)| match vote {
            NodeVote::Unknown(failure) => Some((node, failure)),
            NodeVote::Granted | NodeVote::Denied | NodeVote::NotAwaited => None,
        })
    }

    /// The nodes that denied.
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

/// A resource that another owner holds, in the refusal of a lock of several resources.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// The name of the resource.
    pub resource: String,
    /// The owner label, or the key's whole value if another implementation holds the lock; empty for a key of another
    /// type, which is no lock.
    pub owner: String,
    /// How many nodes named this owner.
    pub nodes: usize,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?}", self.resource, self.owner)
    }
}

fn listed(taken: &[Taken]) -> String {
    taken.iter().map(|taken| format!("{taken}; ")).collect()
}

/// Why a lock was not acquired. No key is left behind: every node that may have set the key is sent a release.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another owner holds the lock. Try again later.
    #[error("{resource:?} is held by another owner ({}{votes})", listed(taken))]
    Contended {
        /// The resource.
        resource: String,
        /// Each node's vote.
        votes: Votes,
        /// For several resources ([`Redlock::multi`](crate::Redlock::multi)), those that are taken, as far as nodes
        /// named them; else empty.
        taken: Vec<Taken>,
    },
    /// Too few nodes answered with a vote that counts. Nobody can lock until a quorum is back; check the nodes.
    #[error("no quorum for {resource:?}: {} must answer ({votes})", votes.quorum)]
    NoQuorum {
        /// The resource.
        resource: String,
        /// How many nodes must agree at least.
        needed: usize,
        /// Each node's vote.
        votes: Votes,
    },
    /// A quorum granted the lock too late: less than `min_validity` of the lease was left. The network or a node is
    /// slow against the TTL; raise `ttl`.
    #[error(
        "{resource:?} was granted too late: {left:?} of validity left, {min_validity:?} needed ({votes})"
    )]
    TooLate {
        /// The resource.
        resource: String,
        /// The validity that was left.
        left: Duration,
        /// The validity that had to be left.
        min_validity: Duration,
        /// Each node's vote.
        votes: Votes,
    },
    /// This machine's wall clock is too far from the median of the nodes' clocks to propose fencing tokens. Set the
    /// clock, or raise `max_clock_skew`.
    #[error("this machine's clock is {skew:?} away from the nodes' median, {max:?} allowed; set it right")]
    ClockSkew {
        /// The distance from the median.
        skew: Duration,
        /// The setting `max_clock_skew`.
        max: Duration,
    },
    /// A node holds a score that no fencing token can exceed. Nobody gets a token for this resource until the score is
    /// removed from every node. Before the removal, make sure that the protected resource does not compare with older
    /// tokens.
    #[error(
        "a node's score {score} for {resource:?} leaves no fencing token; \
         remove it on every node with `ZREM {key} {member}`"
    )]
    FenceTooHigh {
        /// The resource.
        resource: String,
        /// The sorted set that holds the scores.
        key: String,
        /// The member of the set: the lock's key, the prefix included.
        member: String,
        /// The score.
        score: f64,
    },
    /// The semaphore has another number of permits: another client uses it with that number, or did so less than a TTL
    /// ago. Let all clients use the same number.
    #[error("semaphore {resource:?} was asked for {permits} permits, and has {others} ({votes})")]
    OtherPermits {
        /// The name of the semaphore.
        resource: String,
        /// The number of permits that was asked for.
        permits: usize,
        /// The number of permits that a node named.
        others: usize,
        /// Each node's vote.
        votes: Votes,
    },
    /// `max_wait` has elapsed. `last` says why the last attempt failed.
    #[error("gave up after waiting {max_wait:?}: {last}")]
    Timeout {
        /// The setting `max_wait`.
        max_wait: Duration,
        /// The error of the last attempt.
        #[source]
        last: Box<LockError>,
    },
    /// A setting of this lock is out of its bounds. Nothing was sent.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
    /// [`Redlock::shutdown`](crate::Redlock::shutdown) was called.
    #[error("the client is shut down")]
    ShutDown,
    /// The tokio runtime in which the client was connected has ended, and the client's connections have ended with it.
    /// Connect once in each runtime, as in each `#[tokio::test]`, or keep that runtime running.
    #[error(
        "the tokio runtime in which the client was connected has ended, and its connections with it; \
         connect once in each runtime, as in each #[tokio::test], or keep that one"
    )]
    RuntimeEnded,
}

impl LockError {
    /// The votes of the attempt that failed; for [`LockError::Timeout`], those of the last attempt.
    #[must_use]
    pub fn votes(&self) -> Option<&Votes> {
        match self {
            Self::Contended { votes, .. }
            | Self::NoQuorum { votes, .. }
            | Self::TooLate { votes, .. }
            | Self::OtherPermits { votes, .. } => Some(votes),
            Self::Timeout { last, .. } => last.votes(),
            Self::ClockSkew { .. }
            | Self::FenceTooHigh { .. }
            | Self::Invalid(_)
            | Self::ShutDown
            | Self::RuntimeEnded => None,
        }
    }

    /// The time from the last attempt until enough nodes have left quarantine for a quorum; `None` where quarantines
    /// alone do not keep the quorum away.
    #[must_use]
    pub fn quarantine(&self) -> Option<Duration> {
        let Self::NoQuorum { votes, .. } = self.reason() else { return None };
        // In order of the time, the nodes that did not fail are first.
        let left = |node: NodeId| match &votes.nodes[node.0].1 {
            NodeVote::Unknown(failure) => failure.quarantine().map(Reverse),
            NodeVote::Granted | NodeVote::Denied | NodeVote::NotAwaited => Some(Reverse(Duration::ZERO)),
        };
        let Reverse(left) = votes.quorum.highest_of_enough(left)?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// Why the lock was not acquired: for [`LockError::Timeout`], the error of its last attempt, else this error.
    #[must_use]
    pub fn reason(&self) -> &Self {
        match self {
            Self::Timeout { last, .. } => last.reason(),
            Self::Contended { .. }
            | Self::NoQuorum { .. }
            | Self::TooLate { .. }
            | Self::ClockSkew { .. }
            | Self::FenceTooHigh { .. }
            | Self::OtherPermits { .. }
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
    /// The lease is lost: its deadline has passed, or too many nodes no longer hold the key. Stop the protected work.
    #[error("the lease on {resource:?} is lost ({votes})")]
    Lost {
        /// The resource.
        resource: String,
        /// Each node's vote; all `NotAwaited` when the deadline had passed before any node was asked.
        votes: Votes,
    },
    /// Too few nodes answered. The lease stays valid until its old deadline; try again before then.
    #[error("no quorum to extend {resource:?}, still ours for {left:?} ({votes})")]
    NoQuorum {
        /// The resource.
        resource: String,
        /// Time left until the old deadline.
        left: Duration,
        /// Each node's vote.
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
    /// The lease was valid until the release, and a quorum has removed the key.
    InTime,
    /// The lease had already expired when the release was called. Since the deadline, others may have held the lock.
    AlreadyExpired,
}

/// Why a release is not confirmed. The release continues in the background until each node has confirmed it or the TTL
/// has passed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Fewer nodes than a quorum confirmed. Other clients may have to wait for the rest of the TTL.
    #[error("release of {resource:?} not confirmed by a quorum; it goes on in the background ({votes})")]
    Unconfirmed {
        /// The resource.
        resource: String,
        /// Each node's vote; `Granted` means that the node no longer holds the key.
        votes: Votes,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use crate::types::QuarantineCause;

    #[test]
    fn a_quarantine_counts_where_it_is_what_keeps_a_quorum_away() {
        let quarantined = |left| {
            let left = Duration::from_secs(left);
            NodeVote::Unknown(NodeFailure::Quarantined { left, cause: QuarantineCause::NewOrWiped })
        };
        let down = || NodeVote::Unknown(NodeFailure::Connecting);
        let quarantine = |votes: [NodeVote; 5]| {
            let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
            let votes = Votes::new(quorum, votes.into_iter().map(|vote| ("n".into(), vote)));
            LockError::NoQuorum { resource: "r".into(), needed: 3, votes }.quarantine()
        };
        let granted = || NodeVote::Granted;
        let table = [
            // Two nodes granted, so the first of the three quarantines to end completes the quorum.
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
