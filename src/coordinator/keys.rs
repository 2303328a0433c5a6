//! The keys of one lock on the nodes: the state of each key, and the releases that remove the keys.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fanout::{Answers, vote_of};
use super::waiting::Notifying;
use crate::node::{Acquired, Answer, Epoch, Release, SetStatus};
use crate::planted;
use crate::protocol::{KeyState, Lease};
use crate::types::{Claim, Moment, NodeId, Token, Ttl};

/// How long after sending we still await answers that missed the decision. Each pending answer takes 1.5 KB of memory,
/// and a node that hangs or lags may owe very many after a burst of locks. When the time has passed, a command that has
/// not left the process is withdrawn; a later renewal then sets the key on that node.
pub(super) const LATE_MAX: Duration = Duration::from_millis(250);

/// The keys of one lock, and what is known of each.
pub(super) struct LockKeys {
    pub(super) lease: Lease,
    /// The longest TTL that any of our commands asked for. A key of ours expires at most this long after its last
    /// command ran.
    pub(super) ttl: Ttl,
    /// For each node, the connection on which the last command that sets the key was sent.
    pub(super) epochs: Box<[Epoch]>,
    pub(super) last_round: LastRound,
}

impl LockKeys {
    pub(super) fn new(lease: Lease, ttl: Ttl) -> Self {
        let epochs = vec![Epoch::FIRST; lease.nodes()].into();
        Self { lease, ttl, epochs, last_round: LastRound::default() }
    }

    /// Handles the answers that have arrived since the last decision. Keeps awaiting the others until [`LATE_MAX`]
    /// after sending.
    pub(super) fn settle_stragglers(&mut self, now: Moment) {
        let Some(mut stragglers) = self.last_round.take() else { return };
        let Stragglers { answers, sent_at, ttl } = &mut *stragglers;
        let open = match answers {
            LateAnswers::ToAcquire(answers) => {
                while let Some((node, reply)) = answers.arrived() {
                    self.lease.handle_acquired(node, *sent_at, *ttl, vote_of(&reply));
                }
                answers.are_open()
            }
            LateAnswers::ToExtend(answers) => {
                while let Some((node, reply)) = answers.arrived() {
                    self.lease.handle_extended(node, *sent_at, *ttl, vote_of(&reply), now);
                    if planted::is(planted::Fault::LateExtension) {
                        self.lease.revive();
                    }
                }
                answers.are_open()
            }
        };
        if open && sent_at.until(now) < LATE_MAX {
            self.last_round.set(stragglers);
        }
    }

    /// Takes a release for every node that may hold our key; a second call returns none.
    pub(super) fn take_releases(
        &mut self,
        claim: &Claim,
        token: &Token,
        notifying: &Notifying,
        now: Moment,
    ) -> Vec<(NodeId, Release)> {
        self.settle_stragglers(now);
        self.last_round.take();
        let expires = now + self.ttl.as_duration();
        let release = |(node, key): (NodeId, KeyState)| {
            let set_status = match key {
                KeyState::Granted => SetStatus::Answered,
                KeyState::Stray => SetStatus::Stray,
                KeyState::Unknown | KeyState::NotSent | KeyState::Denied => {
                    SetStatus::Unanswered(self.epochs[node.0])
                }
            };
            let (claim, token) = (claim.clone(), token.clone());
            let notify = notifying.on(node);
            (node, Release { claim, token, set_status, notify, ttl: self.ttl, expires })
        };
        let mut nodes = self.lease.take_nodes_to_release();
        if planted::is(planted::Fault::PartialRollback) {
            nodes.retain(|(_, key)| *key == KeyState::Granted);
        }
        nodes.into_iter().map(release).collect()
    }
}

/// The stragglers of the last round, if there are any. The mutex is never locked, because access needs `&mut`; it is
/// there to make an attempt `Sync` although futures are not.
#[derive(Default)]
pub(super) struct LastRound(Mutex<Option<Box<Stragglers>>>);

impl LastRound {
    pub(super) fn set(&mut self, stragglers: Box<Stragglers>) {
        *self.slot() = Some(stragglers);
    }

    pub(super) fn is_open(&mut self) -> bool {
        self.slot().is_some()
    }

    pub(super) fn take(&mut self) -> Option<Box<Stragglers>> {
        self.slot().take()
    }

    fn slot(&mut self) -> &mut Option<Box<Stragglers>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers that missed the decision but still matter for the lease. The futures are kept because dropping one would
/// withdraw a command that has not left the process.
pub(super) struct Stragglers {
    pub(super) answers: LateAnswers,
    pub(super) sent_at: Moment,
    pub(super) ttl: Ttl,
}

pub(super) enum LateAnswers {
    ToAcquire(Answers<Acquired>),
    ToExtend(Answers<Answer>),
}
