//! The protocol: pure rules over values. No async, no IO, no clock, no randomness, no logging.
//!
//! Time and randomness are arguments, so every rule is tested with the values it is given.

mod backoff;
mod deadline;
mod fencing;
mod lease;
mod quorum;
mod round;
mod vote;

pub use backoff::Retry;
pub(crate) use backoff::{Pause, Strategy};
pub(crate) use deadline::Drift;
pub(crate) use fencing::{Proposal, Raise, ScoreTooHigh, next_token, proposal};
pub(crate) use lease::{Lease, Planted};
pub(crate) use quorum::{Quorum, QuorumError, QuorumSize};
pub(crate) use round::Round;
pub(crate) use vote::{Decision, Loss, Tally, Vote};
