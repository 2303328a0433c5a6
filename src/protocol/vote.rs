//! Votes and what they add up to.

use super::Quorum;

/// A node's answer to one command of one attempt. `Unknown` is a value: the command may or may not have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vote {
    Granted,
    Denied,
    Unknown,
}

/// What the votes so far decide; final as soon as no later vote can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending,
    Won,
    Failed,
}

/// Why a lost round was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundFailure {
    /// Enough nodes answered; too many of them said no.
    Contended,
    /// So many nodes did not answer that no quorum could be had, whatever the others said.
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

    /// The earliest decision both ways: won at q grants, lost as soon as q can no longer be reached.
    pub(crate) fn decision(&self) -> Decision {
        if self.granted >= self.quorum.needed() {
            Decision::Won
        } else if self.denied + self.unknown > self.quorum.spare() {
            Decision::Failed
        } else {
            Decision::Pending
        }
    }

    /// How a lost round is called. Ask after the votes that have already arrived are counted.
    pub(crate) fn loss(&self) -> RoundFailure {
        if self.unknown > self.quorum.spare() { RoundFailure::NoQuorum } else { RoundFailure::Contended }
    }
}
