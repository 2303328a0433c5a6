//! The counters of one node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::meters::NodeMeters;
use super::{NodeStats, Renewals, VoteCounts, add, get};
use crate::coordinator::fanout::Reply;
use crate::error::{NodeFailure, NodeVote};
use crate::node::Answer;
use crate::protocol::Vote;
use crate::types::Moment;

/// The last round trip has a weight of 1/8 in the mean, as in TCP's estimate (RFC 6298).
const ROUND_TRIPS: u64 = 8;

pub(in crate::coordinator) struct NodeCounts {
    name: Arc<str>,
    granted: AtomicU64,
    denied: AtomicU64,
    unknown: AtomicU64,
    renewed: AtomicU64,
    not_renewed: AtomicU64,
    renewal_unanswered: AtomicU64,
    restored: AtomicU64,
    connected: AtomicU64,
    releases_pending: AtomicU64,
    /// When the first unanswered bytes were written: nanoseconds of our clock, 0 if everything is answered.
    asked_at: AtomicU64,
    /// The mean round trip in nanoseconds; 0 before the first.
    round_trip: AtomicU64,
    meters: NodeMeters,
}

impl NodeCounts {
    pub(super) fn new(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            granted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            not_renewed: AtomicU64::new(0),
            renewal_unanswered: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            releases_pending: AtomicU64::new(0),
            asked_at: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            meters: NodeMeters::new(name),
        }
    }

    pub(super) fn observe_vote(&self, vote: &NodeVote) {
        let (count, vote, reason) = match vote {
            NodeVote::Granted => (&self.granted, "granted", ""),
            NodeVote::Denied => (&self.denied, "denied", ""),
            NodeVote::Unknown(failure) => (&self.unknown, "unknown", failure.kind()),
            NodeVote::NotAwaited => return,
        };
        add(count, 1);
        self.meters.vote(vote, reason);
    }

    /// Counts the answer to one command that was to renew `leases` leases, or its failure.
    pub(in crate::coordinator) fn observe_renewals(&self, leases: usize, reply: &Reply<Vec<Answer>>) {
        let Ok(answers) = reply else {
            add(&self.renewal_unanswered, leases);
            return self.meters.renewals("unknown", leases);
        };
        let renewed = answers.iter().filter(|answer| **answer == Answer::Yes).count();
        let not_renewed = answers.len() - renewed;
        add(&self.renewed, renewed);
        add(&self.not_renewed, not_renewed);
        self.meters.renewals("granted", renewed);
        self.meters.renewals("denied", not_renewed);
    }

    pub(super) fn observe_restored(&self, vote: Vote) {
        match vote {
            Vote::Granted => {
                add(&self.restored, 1);
                self.meters.restored();
            }
            Vote::Denied | Vote::Unknown => {}
        }
    }

    pub(in crate::coordinator) fn observe_up(&self) {
        add(&self.connected, 1);
        self.meters.connected(1.0);
    }

    pub(in crate::coordinator) fn observe_down(&self, failure: &NodeFailure) {
        self.meters.connected(-1.0);
        self.meters.disconnect(failure.kind());
        // Answers that were still expected will not arrive.
        self.asked_at.store(0, Ordering::Relaxed);
    }

    /// The client was dropped.
    pub(in crate::coordinator) fn observe_finished(&self) {
        self.meters.connected(-1.0);
        self.observe_pending(0);
    }

    pub(in crate::coordinator) fn observe_pending(&self, releases: usize) {
        let before = self.releases_pending.swap(releases as u64, Ordering::Relaxed);
        if before != releases as u64 {
            self.meters.pending(before, releases as u64);
        }
    }

    /// Bytes were written to the node. Like [`observe_read`](Self::observe_read), only called by the connection's one
    /// task.
    pub(super) fn observe_written(&self, now: impl FnOnce() -> Moment) {
        if get(&self.asked_at) == 0 {
            self.asked_at.store(now().as_nanos(), Ordering::Relaxed);
        }
    }

    /// Bytes were read from the node. The time since the first unanswered bytes counts as one round trip, even if
    /// nobody awaits the answer. Measuring only the answers that decide attempts would leave out the slowest node.
    pub(super) fn observe_read(&self, now: impl FnOnce() -> Moment) {
        let asked_at = get(&self.asked_at);
        if asked_at == 0 {
            return;
        }
        self.asked_at.store(0, Ordering::Relaxed);
        let nanos = now().as_nanos().saturating_sub(asked_at);
        let mean = match get(&self.round_trip) {
            0 => nanos,
            mean => mean - mean / ROUND_TRIPS + nanos / ROUND_TRIPS,
        };
        self.round_trip.store(mean.max(1), Ordering::Relaxed);
        self.meters.round_trip(Duration::from_nanos(nanos));
    }

    /// The counters of the node. `failure`: why the node's vote is lost now.
    pub(super) fn stats(&self, failure: Option<NodeFailure>) -> NodeStats {
        let round_trip = get(&self.round_trip);
        NodeStats {
            name: self.name.to_string(),
            failure,
            votes: VoteCounts {
                granted: get(&self.granted),
                denied: get(&self.denied),
                unknown: get(&self.unknown),
            },
            renewals: Renewals {
                granted: get(&self.renewed),
                denied: get(&self.not_renewed),
                unknown: get(&self.renewal_unanswered),
            },
            restored: get(&self.restored),
            connected: get(&self.connected),
            releases_pending: get(&self.releases_pending),
            round_trip: (round_trip > 0).then_some(Duration::from_nanos(round_trip)),
        }
    }
}
