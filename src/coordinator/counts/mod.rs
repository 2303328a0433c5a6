//! All counting of a client in one place, for [`Stats`] and for the `metrics` feature. Counting takes no lock and never
//! waits.

mod meters;
mod node;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::Coordinator;
use crate::error::{LockError, Loss, NodeVote};
use crate::protocol::Vote;
use crate::types::{Ambient, Claim, Moment, NodeId};

use meters::Meters;
use node::NodeCounts;
pub use stats::{Attempts, Losses, NodeStats, Renewals, Stats, VoteCounts};

/// How an attempt or a wait ended, in the order of the fields of [`Attempts`].
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Won,
    Contended,
    NoQuorum,
    TooLate,
    Refused,
    Cancelled,
}

impl Outcome {
    const COUNT: usize = 6;

    fn of<T>(result: &Result<T, LockError>) -> Self {
        result.as_ref().map_or_else(Self::of_error, |_| Self::Won)
    }

    fn of_error(error: &LockError) -> Self {
        match error {
            LockError::Contended { .. } => Self::Contended,
            LockError::NoQuorum { .. } => Self::NoQuorum,
            LockError::TooLate { .. } => Self::TooLate,
            LockError::Timeout { last, .. } => Self::of_error(last),
            LockError::ClockSkew { .. }
            | LockError::FenceTooHigh { .. }
            | LockError::OtherPermits { .. }
            | LockError::Invalid(_)
            | LockError::ShutDown
            | LockError::RuntimeEnded => Self::Refused,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Contended => "contended",
            Self::NoQuorum => "no quorum",
            Self::TooLate => "too late",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
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
    waiting: AtomicI64,
    /// Signed, because the end of a lease may be counted before its beginning.
    held: AtomicI64,
    released: AtomicU64,
    expired: AtomicU64,
    denied: AtomicU64,
    max_hold: AtomicU64,
    shut_down: AtomicU64,
    runtime_ended: AtomicU64,
    nodes: Box<[NodeCounts]>,
    meters: Meters,
}

impl Counts {
    pub(super) fn new(names: &[Arc<str>], ambient: Arc<dyn Ambient>) -> Self {
        Self {
            ambient,
            attempts: Default::default(),
            waiting: AtomicI64::new(0),
            held: AtomicI64::new(0),
            released: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            max_hold: AtomicU64::new(0),
            shut_down: AtomicU64::new(0),
            runtime_ended: AtomicU64::new(0),
            meters: Meters::new(),
            nodes: names.iter().map(NodeCounts::new).collect(),
        }
    }

    pub(super) fn node(&self, node: NodeId) -> &NodeCounts {
        &self.nodes[node.0]
    }

    /// Runs an attempt and counts how it ends. An attempt that is dropped counts as cancelled.
    pub(super) async fn attempt<T>(
        &self,
        attempt: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, LockError> {
        let mut counting = Counting::start(self, Self::observe_attempt);
        let result = attempt.await;
        counting.handle_ended(&result);
        result
    }

    fn observe_attempt(&self, outcome: Outcome, took: Duration) {
        add(&self.attempts[outcome as usize], 1);
        self.meters.attempt(outcome.label(), took);
    }

    fn start_wait(&self) -> Counting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.meters.waiting(1.0);
        Counting::start(self, Self::observe_wait)
    }

    fn observe_wait(&self, outcome: Outcome, took: Duration) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.meters.waiting(-1.0);
        self.meters.wait(outcome.label(), took);
    }

    /// Counts the votes of a decided attempt.
    pub(super) fn observe_votes(&self, votes: &[NodeVote]) {
        for (node, vote) in self.nodes.iter().zip(votes) {
            node.observe_vote(vote);
        }
    }

    /// Bytes were written to a node.
    pub(super) fn observe_written(&self, node: NodeId) {
        self.node(node).observe_written(|| self.ambient.now());
    }

    /// Bytes were read from a node.
    pub(super) fn observe_read(&self, node: NodeId) {
        self.node(node).observe_read(|| self.ambient.now());
    }

    pub(super) fn observe_held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        self.meters.held(1.0);
    }

    pub(super) fn observe_end(&self, end: End<'_>, held: Duration) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        self.meters.held(-1.0);
        self.meters.hold(held);
        let count = match end {
            End::Released => &self.released,
            End::Lost(loss) => {
                self.meters.loss(loss.kind());
                match loss {
                    Loss::Expired { .. } => &self.expired,
                    Loss::Denied { .. } => &self.denied,
                    Loss::MaxHold { .. } => &self.max_hold,
                    Loss::ShutDown { .. } => &self.shut_down,
                    Loss::RuntimeEnded { .. } => &self.runtime_ended,
                }
            }
        };
        add(count, 1);
    }
}

impl Coordinator {
    /// The counters so far. Sends nothing.
    pub(crate) fn stats(&self) -> Stats {
        let counts = &self.counts;
        let [won, contended, no_quorum, too_late, refused, cancelled] = counts.attempts.each_ref().map(get);
        let nodes = counts.nodes.iter().zip(self.known());
        Stats {
            attempts: Attempts { won, contended, no_quorum, too_late, refused, cancelled },
            waiting: above_zero(&counts.waiting),
            leases_held: above_zero(&counts.held),
            released: get(&counts.released),
            lost: Losses {
                expired: get(&counts.expired),
                denied: get(&counts.denied),
                max_hold: get(&counts.max_hold),
                shut_down: get(&counts.shut_down),
                runtime_ended: get(&counts.runtime_ended),
            },
            nodes: nodes.map(|(node, known)| node.stats(known.failure)).collect(),
        }
    }

    /// Starts counting a wait for a lock, which may take one attempt or many.
    pub(crate) fn start_wait(&self) -> Counting<'_> {
        self.counts.start_wait()
    }

    /// Logs and counts a node's answer to a key that was set again.
    pub(super) fn observe_restored(&self, claim: &Claim, node: NodeId, vote: Vote) {
        let name = self.node(node).name();
        tracing::debug!(resource = claim.name(), node = %name, ?vote, "key set again");
        self.counts.node(node).observe_restored(vote);
    }
}

/// A running attempt or wait. If `Counting` is dropped before [`handle_ended`](Self::handle_ended), the attempt or wait
/// was cancelled.
pub(crate) struct Counting<'a> {
    counts: &'a Counts,
    observe: fn(&Counts, Outcome, Duration),
    began: Moment,
    outcome: Outcome,
}

impl<'a> Counting<'a> {
    fn start(counts: &'a Counts, observe: fn(&Counts, Outcome, Duration)) -> Self {
        Self { counts, observe, began: counts.ambient.now(), outcome: Outcome::Cancelled }
    }

    pub(crate) fn handle_ended<T>(&mut self, result: &Result<T, LockError>) {
        self.outcome = Outcome::of(result);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        (self.observe)(self.counts, self.outcome, self.began.until(self.counts.ambient.now()));
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn above_zero(counter: &AtomicI64) -> u64 {
    u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0)
}
