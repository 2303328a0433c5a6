//! The holds of the clients, and their waits.

use super::super::event::{Sharing, Why};
use crate::lost::Lost;

/// One hold of a resource. A lock of several resources is as many visits.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) life: usize,
    pub(crate) resource: usize,
    /// The place of the resource among those of its lock. What is counted by locks is counted at place 0.
    pub(crate) place: usize,
    pub(crate) sharing: Sharing,
    pub(crate) slot: Option<usize>,
    /// Since when the client wanted the lock, including its failed waits.
    pub(crate) wanted_at: u64,
    /// When the call that acquired the lock began.
    pub(crate) requested_at: u64,
    pub(crate) acquired_at: u64,
    pub(crate) deadline: u64,
    pub(crate) renewals: usize,
    pub(crate) fencing_token: u64,
    /// The key's value on the nodes.
    pub(crate) token: String,
    pub(crate) end: End,
    /// The shared number that the client read, if the client incremented it.
    pub(crate) counted: Option<u64>,
    /// When the guard first reported that the lease was over.
    pub(crate) over_at: Option<u64>,
    /// When the lease was valid again after its loss.
    pub(crate) valid_again_at: Option<u64>,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// No end is known.
    Open,
    Released {
        at: u64,
    },
    Lost {
        at: u64,
        why: String,
    },
}

/// A wait that ended without the lock.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) resource: usize,
    /// As in [`Visit`].
    pub(crate) place: usize,
    /// Since when the client wanted the lock, including earlier failed waits.
    pub(crate) wanted_at: u64,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) outcome: Outcome,
    /// The nodes that did not answer, with the reasons.
    pub(crate) failures: Vec<Lost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Missed(Why),
    /// The client was killed, or the run ended.
    CutShort,
}

impl Visit {
    pub(crate) fn ended_at(&self) -> Option<u64> {
        match self.end {
            End::Open => None,
            End::Released { at } | End::Lost { at, .. } => Some(at),
        }
    }

    /// The end of the hold: the deadline or the actual end, whichever is earlier.
    pub(crate) fn until(&self) -> u64 {
        self.ended_at().map_or(self.deadline, |end| end.min(self.deadline))
    }
}
