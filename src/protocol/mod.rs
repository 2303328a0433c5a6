//! The protocol: pure rules over values. No async, no IO, no clock, no randomness, no logging.
//!
//! Time and randomness are arguments, so tests choose both.

mod backoff;
mod clock_history;
mod clock_peers;
mod contender;
mod deadline;
mod fencing;
mod intervals;
mod lease;
#[cfg(test)]
mod models;
mod node_list;
mod node_set;
mod quarantine;
mod queue_node;
mod quorum;
mod record;
mod renewal;
mod round;
mod timer_queue;
mod vote;
mod wait_queue;
pub(crate) mod wall_clock;

pub use backoff::Retry;
pub(crate) use backoff::{LOOK_AGAIN, LOOK_AT_LEAST, Pause, Strategy};
pub(crate) use clock_history::{ClockHistory, ClockRule, Pace, Reading, SETTLES_AFTER, take_standstill};
pub(crate) use clock_peers::{ClockNews, Moved, PeerClock, moved};
pub(crate) use contender::{Contender, Demand, Step};
pub(crate) use deadline::Drift;
pub(crate) use fencing::{Proposal, Raise, ScoreTooHigh, TOKEN_MAX, next_token, proposal};
pub(crate) use intervals::{observation_lasts, observe_every, span, used_for};
pub(crate) use lease::{Connection, KeyState, Lease};
pub use node_list::ChangeProgress;
pub(crate) use node_list::{Bar, CHANGE, ListUse, UNMET, hinders, is_complete, is_harmless};
pub(crate) use node_set::NodeSet;
pub(crate) use quarantine::{NodeView, Quarantine, RestartGuard, is_introduced, lacking, longest_announced};
pub(crate) use queue_node::{Health, QueueOrder, nodes_to_notify};
pub(crate) use quorum::{ListQuorum, NODES_MAX, Quorum, QuorumError, QuorumSize};
pub(crate) use record::{Change, Durability, MemoryBreak, MetNode, Observation, Record, Span};
pub(crate) use renewal::{Renewal, spread};
pub(crate) use round::Round;
pub(crate) use timer_queue::TimerQueue;
pub(crate) use vote::{Decision, RoundFailure, Vote};
pub(crate) use wait_queue::{AfterLeaving, WaitQueue};
