//! What happens in a client, counted in one place: [`Stats`], and the metrics of the feature of that name.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::meters::Meters;
use crate::error::{LockError, Loss, NodeFailure, NodeVote};
use crate::protocol::Vote;
use crate::types::{Ambient, Moment, NodeId};

/// What a client has done so far, by [`Redlock::stats`](crate::Redlock::stats). Counts since it was made; they wrap at
/// 2^64. Each is exact; taken one after the other, they may be of slightly different moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at locks: several where a lock was waited for.
    pub attempts: Attempts,
    /// Locks that are held now.
    pub leases_held: u64,
    /// Locks that were given back by their holders.
    pub released: u64,
    /// Locks that ended although their holders had not given them back.
    pub lost: u64,
    /// Each node, in the order of the configuration.
    pub nodes: Vec<NodeStats>,
}

/// How attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// The lock was acquired.
    pub won: u64,
    /// Another owner held it.
    pub contended: u64,
    /// Too few nodes answered.
    pub no_quorum: u64,
    /// Too little of the lease was left.
    pub too_late: u64,
    /// Nothing was asked: the client is shut down, or there is no fencing token to be had.
    pub refused: u64,
    /// The attempt was dropped before it ended.
    pub cancelled: u64,
}

/// What one node has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Its name.
    pub name: String,
    /// Attempts that it granted before they were decided.
    pub granted: u64,
    /// Attempts that it denied before they were decided.
    pub denied: u64,
    /// Attempts for which its vote was lost, be it that it could not be asked, did not answer, or is in quarantine.
    pub unknown: u64,
    /// Leases that it renewed.
    pub renewed: u64,
    /// Renewals that it denied or did not answer.
    pub not_renewed: u64,
    /// Keys that it lacked and was given again.
    pub healed: u64,
    /// Connections to it that became usable.
    pub connected: u64,
}

/// How an attempt ended; in the order of the fields of [`Attempts`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Won,
    Contended,
    NoQuorum,
    TooLate,
    Refused,
    Cancelled,
}

impl Outcome {
    const COUNT: usize = 6;

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Contended => "contended",
            Self::NoQuorum => "no quorum",
            Self::TooLate => "too late",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    fn of_error(error: &LockError) -> Self {
        match error {
            LockError::Contended { .. } => Self::Contended,
            LockError::NoQuorum { .. } => Self::NoQuorum,
            LockError::TooLate { .. } => Self::TooLate,
            LockError::Timeout { last, .. } => Self::of_error(last),
            LockError::ClockSkew { .. }
            | LockError::FenceTooHigh { .. }
            | LockError::Invalid(_)
            | LockError::ShutDown => Self::Refused,
        }
    }
}

/// How a lock ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    Released,
    Lost(&'a Loss),
}

pub(super) struct Counts {
    ambient: Arc<dyn Ambient>,
    attempts: [AtomicU64; Outcome::COUNT],
    /// Signed: an end may be counted ahead of its beginning.
    held: AtomicI64,
    released: AtomicU64,
    lost: AtomicU64,
    nodes: Box<[NodeCounts]>,
    meters: Meters,
}

struct NodeCounts {
    name: Arc<str>,
    granted: AtomicU64,
    denied: AtomicU64,
    unknown: AtomicU64,
    renewed: AtomicU64,
    not_renewed: AtomicU64,
    healed: AtomicU64,
    connected: AtomicU64,
}

impl Counts {
    pub(super) fn new(names: &[Arc<str>], ambient: Arc<dyn Ambient>) -> Self {
        let node = |name: &Arc<str>| NodeCounts {
            name: Arc::clone(name),
            granted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            not_renewed: AtomicU64::new(0),
            healed: AtomicU64::new(0),
            connected: AtomicU64::new(0),
        };
        Self {
            ambient,
            attempts: Default::default(),
            held: AtomicI64::new(0),
            released: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            nodes: names.iter().map(node).collect(),
            meters: Meters::new(names),
        }
    }

    /// Runs an attempt, and counts how it ends; dropped on the way it is counted as well.
    pub(super) async fn attempt<T>(
        &self,
        attempt: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, LockError> {
        let mut counting = Counting { counts: self, began: self.ambient.now(), outcome: Outcome::Cancelled };
        let result = attempt.await;
        counting.outcome = result.as_ref().map_or_else(Outcome::of_error, |_| Outcome::Won);
        result
    }

    /// A whole wait for a lock, of one attempt or many.
    pub(super) fn observe_wait<T>(&self, began: Moment, result: &Result<T, LockError>) {
        let outcome = result.as_ref().map_or_else(Outcome::of_error, |_| Outcome::Won);
        self.meters.wait(outcome.label(), began.until(self.ambient.now()));
    }

    /// The votes of an attempt that was decided.
    pub(super) fn observe_votes(&self, votes: &[NodeVote]) {
        for (i, (vote, node)) in votes.iter().zip(&self.nodes).enumerate() {
            match vote {
                NodeVote::Granted => add(&node.granted, 1),
                NodeVote::Denied => add(&node.denied, 1),
                NodeVote::Unknown(_) => add(&node.unknown, 1),
                NodeVote::NotAwaited => continue,
            }
            self.meters.vote(NodeId(i), vote);
        }
    }

    /// From sending an attempt's command to its answer.
    pub(super) fn observe_answer(&self, node: NodeId, sent_at: Moment) {
        self.meters.round_trip(node, || sent_at.until(self.ambient.now()));
    }

    pub(super) fn observe_held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        self.meters.held(1.0);
    }

    pub(super) fn observe_end(&self, end: End<'_>, held: Duration) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        self.meters.held(-1.0);
        self.meters.hold(held);
        match end {
            End::Released => add(&self.released, 1),
            End::Lost(loss) => {
                add(&self.lost, 1);
                self.meters.loss(loss.kind());
            }
        }
    }

    pub(super) fn observe_renewal(&self, node: NodeId, vote: Vote) {
        let counts = &self.nodes[node.0];
        match vote {
            Vote::Granted => add(&counts.renewed, 1),
            Vote::Denied | Vote::Unknown => add(&counts.not_renewed, 1),
        }
        self.meters.renewal(node, vote);
    }

    pub(super) fn observe_heal(&self, node: NodeId, vote: Vote) {
        match vote {
            Vote::Granted => {
                add(&self.nodes[node.0].healed, 1);
                self.meters.heal(node);
            }
            Vote::Denied | Vote::Unknown => {}
        }
    }

    /// A connection became usable, or why there is none any more.
    pub(super) fn observe_connection(&self, node: NodeId, lost: Option<&NodeFailure>) {
        if lost.is_none() {
            add(&self.nodes[node.0].connected, 1);
        }
        self.meters.connection(node, lost);
    }

    pub(super) fn stats(&self) -> Stats {
        let [won, contended, no_quorum, too_late, refused, cancelled] = self.attempts.each_ref().map(get);
        let node = |node: &NodeCounts| NodeStats {
            name: node.name.to_string(),
            granted: get(&node.granted),
            denied: get(&node.denied),
            unknown: get(&node.unknown),
            renewed: get(&node.renewed),
            not_renewed: get(&node.not_renewed),
            healed: get(&node.healed),
            connected: get(&node.connected),
        };
        Stats {
            attempts: Attempts { won, contended, no_quorum, too_late, refused, cancelled },
            leases_held: u64::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0),
            released: get(&self.released),
            lost: get(&self.lost),
            nodes: self.nodes.iter().map(node).collect(),
        }
    }
}

/// An attempt under way.
struct Counting<'a> {
    counts: &'a Counts,
    began: Moment,
    outcome: Outcome,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let Self { counts, began, outcome } = self;
        add(&counts.attempts[*outcome as usize], 1);
        counts.meters.attempt(outcome.label(), || began.until(counts.ambient.now()));
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
