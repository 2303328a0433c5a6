//! The protocol: pure rules over values. No async, no IO, no clock, no randomness, no logging.
//!
//! Time and randomness are arguments, so every rule is tested with the values it is given.

mod agenda;
mod backoff;
mod contender;
mod deadline;
mod fencing;
mod lease;
mod line;
#[cfg(test)]
mod models;
mod node_set;
mod quarantine;
mod queue_node;
mod quorum;
mod record;
mod renewal;
mod round;
mod vote;
pub(crate) mod wall_clock;

pub(crate) use agenda::Agenda;
pub use backoff::Retry;
pub(crate) use backoff::{Pause, Strategy};
pub(crate) use contender::{Contender, Demand, Step};
pub(crate) use deadline::Drift;
pub(crate) use fencing::{Proposal, Raise, ScoreTooHigh, TOKEN_MAX, next_token, proposal};
pub(crate) use lease::{Connection, Lease, Planted};
pub(crate) use line::{Gone, Line};
pub(crate) use node_set::NodeSet;
pub(crate) use quarantine::{
    Known, Quarantine, RestartGuard, fresh_for, is_introduced, lacking, longest_announced, look_every, span,
};
pub(crate) use queue_node::{Health, QueueOrder, nodes_to_call};
pub(crate) use quorum::{Quorum, QuorumError, QuorumSize};
pub(crate) use record::{Break, Change, Durability, Look, Met, Record, Span, UNMET, Use, is_complete};
pub(crate) use renewal::Renewal;
pub(crate) use round::Round;
pub(crate) use vote::{Decision, Loss, Tally, Vote};
