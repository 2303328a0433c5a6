//! Votes and the decision from them.

use super::Quorum;

/// A node's answer to one command of one attempt. `Unknown` means that the command may or may not have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vote {
    Granted,
    Denied,
    Unknown,
}

/// The decision from the votes so far. `Won` and `Failed` are final, because no later vote can change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending,
    Won,
    Failed,
}

/// Why a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundFailure {
    /// Enough nodes answered, but too many of them denied.
    Contended,
    /// Too few nodes answered for a quorum, whatever the answers were.
    NoQuorum,
}

/// Counts votes against a quorum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    quorum: Quorum,
    granted: usize,
    denied: usize,
    unknown: usize,
}

impl Tally {
    pub(crate) fn new(quorum: Quorum) -> Self {
        Self { quorum, granted: 0, denied: 0, unknown: 0 }
    }

    pub(crate) fn count(&mut self, vote: Vote) {
        match vote {
            Vote::Granted => self.granted += 1,
            Vote::Denied => self.denied += 1,
            Vote::Unknown => self.unknown += 1,
        }
    }

    /// The earliest possible decision: won at q grants, failed as soon as q grants are impossible.
    pub(crate) fn decision(&self) -> Decision {
        if self.granted >= self.quorum.needed() {
            Decision::Won
        } else if self.denied + self.unknown > self.quorum.spare() {
            Decision::Failed
        } else {
            Decision::Pending
        }
    }

    /// Why the round failed. Call this after all votes that have arrived are counted.
    pub(crate) fn loss(&self) -> RoundFailure {
        if self.unknown > self.quorum.spare() { RoundFailure::NoQuorum } else { RoundFailure::Contended }
    }
}
