//! The counters of a client, as users see them.

use std::time::Duration;

use crate::error::NodeFailure;

/// The counters of a client since it was connected, returned by [`Redlock::stats`](crate::Redlock::stats). Counters
/// wrap at 2^64. Each counter is exact, but they are read one after the other and may be from slightly different
/// moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at locks. One call of `lock` may make several attempts; at a semaphore,
    /// one at each slot that was tried.
    pub attempts: Attempts,
    /// Running calls of `lock`.
    pub waiting: u64,
    /// Locks that are held now.
    pub leases_held: u64,
    /// Locks that their holders released.
    pub released: u64,
    /// Locks that were lost while they were held.
    pub lost: Losses,
    /// The counters of each node, in the order of the configuration.
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
    /// The client refused: it is shut down, its runtime has ended, or there is no valid fencing token.
    pub refused: u64,
    /// The attempt was dropped before it ended.
    pub cancelled: u64,
}

/// Why locks were lost while they were held; see [`Loss`](crate::Loss).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Too few nodes renewed the lease in time.
    pub expired: u64,
    /// Too many nodes no longer had the key.
    pub denied: u64,
    /// The lock had been held for `max_hold`.
    pub max_hold: u64,
    /// The client was shut down.
    pub shut_down: u64,
    /// The runtime of the client had ended.
    pub runtime_ended: u64,
}

/// The counters of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// The node's name.
    pub name: String,
    /// Why the node's vote is lost now; `None` while the vote counts.
    pub failure: Option<NodeFailure>,
    /// The node's votes in attempts.
    pub votes: VoteCounts,
    /// The node's answers to renewals: one for each lease, each time that the node was asked.
    pub renewals: Renewals,
    /// Keys that the node had lost and that were set again.
    pub restored: u64,
    /// How often a connection to the node became usable.
    pub connected: u64,
    /// Releases that the node has not answered yet.
    pub releases_pending: u64,
    /// The mean round trip, in which the last round trip has a weight of one eighth. `None` before the first round
    /// trip.
    pub round_trip: Option<Duration>,
}

/// The votes of one node in attempts, counted when each attempt was decided. A vote that arrived after the decision is
/// not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoteCounts {
    /// The node set the key.
    pub granted: u64,
    /// The node refused: it holds another owner's key, or a key of another type.
    pub denied: u64,
    /// The vote was lost: the node could not be asked, did not answer in time, or is in quarantine.
    pub unknown: u64,
}

/// The answers of one node to renewals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewals {
    /// The node renewed the key.
    pub granted: u64,
    /// The node no longer had the key.
    pub denied: u64,
    /// The node did not answer.
    pub unknown: u64,
}

impl Losses {
    /// The number of all losses.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { expired, denied, max_hold, shut_down, runtime_ended } = self;
        expired + denied + max_hold + shut_down + runtime_ended
    }
}
