//! What a client has counted, for whoever asks.

use std::time::Duration;

use crate::error::NodeFailure;

/// What a client has done so far, by [`Redlock::stats`](crate::Redlock::stats). Counts since it was made; they wrap at
/// 2^64. Each is exact; taken one after the other, they may be of slightly different moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at locks: several where a lock was waited for.
    pub attempts: Attempts,
    /// How many calls of `lock` are under way now.
    pub waiting: u64,
    /// Locks that are held now.
    pub leases_held: u64,
    /// Locks that were given back by their holders.
    pub released: u64,
    /// Locks that ended although their holders had not given them back.
    pub lost: Losses,
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
    /// Nothing was asked: the client is shut down, its runtime has ended, or there is no fencing token to be had.
    pub refused: u64,
    /// The attempt was dropped before it ended.
    pub cancelled: u64,
}

/// Why locks ended under their holders' hands; see [`Loss`](crate::Loss).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Too few nodes renewed them in time.
    pub expired: u64,
    /// Too many nodes no longer had them.
    pub denied: u64,
    /// They had been held for `max_hold`.
    pub max_hold: u64,
    /// The client was shut down.
    pub shut_down: u64,
    /// The runtime of the client had ended.
    pub runtime_ended: u64,
}

/// What one node has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Its name.
    pub name: String,
    /// Why its vote is lost now; `None` while it counts.
    pub failure: Option<NodeFailure>,
    /// Its votes in attempts.
    pub votes: VoteCounts,
    /// Its answers to renewals, one for each lease and time that it was asked.
    pub renewals: Renewals,
    /// Keys that it lacked and was given again.
    pub healed: u64,
    /// Connections to it that became usable.
    pub connected: u64,
    /// Releases that it has not answered yet.
    pub releases_pending: u64,
    /// How long it has taken to answer lately: a mean in which the last round trip weighs an eighth. `None` before the
    /// first.
    pub round_trip: Option<Duration>,
}

/// Votes of one node, as they stood when their attempts were decided. One that was not there by then, and was not
/// needed, is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VoteCounts {
    /// Yes.
    pub granted: u64,
    /// No.
    pub denied: u64,
    /// Lost, be it that the node could not be asked, did not answer, or is in quarantine.
    pub unknown: u64,
}

/// Answers of one node to renewals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewals {
    /// Renewed.
    pub granted: u64,
    /// The node did not have the key any more.
    pub denied: u64,
    /// Not answered.
    pub unknown: u64,
}

impl Losses {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { expired, denied, max_hold, shut_down, runtime_ended } = self;
        expired + denied + max_hold + shut_down + runtime_ended
    }
}
