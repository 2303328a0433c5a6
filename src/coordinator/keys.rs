//! The keys of one lock on the nodes: what is known of each, and the releases that remove them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fanout::{Answers, vote_of};
use crate::node::{Acquired, Answer, Epoch, Release, SetStatus};
use crate::protocol::{KeyState, Lease, NodeSet};
use crate::types::{Moment, NodeId, Resource, Token, Ttl, Wake};

/// How long after their command answers are waited for that came too late for its decision. They are 1.5 KB each, and
/// after a burst of locks there may be very many, from a node that hangs or lags behind. A command that has not left
/// the process by then is withdrawn, and the node given its key by a renewal.
pub(super) const LATE_MAX: Duration = Duration::from_millis(250);

/// The keys of one lock, as far as they are known.
pub(super) struct LockKeys {
    pub(super) lease: Lease,
    /// The longest TTL that any of our commands asked for: no key of ours outlives its command by more.
    pub(super) ttl: Ttl,
    /// The connection on which each node was last asked for a key.
    pub(super) epochs: Box<[Epoch]>,
    pub(super) last_round: LastRound,
}

impl LockKeys {
    pub(super) fn new(lease: Lease, ttl: Ttl) -> Self {
        let epochs = vec![Epoch::FIRST; lease.nodes()].into();
        Self { lease, ttl, epochs, last_round: LastRound::default() }
    }

    /// Takes in the answers that have arrived since the last decision, and keeps what waits for the others, for a while.
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
                }
                answers.are_open()
            }
        };
        if open && sent_at.until(now) < LATE_MAX {
            self.last_round.set(stragglers);
        }
    }

    /// A release for every node that may hold our key; afterwards there is none left to be made. Those for nodes of
    /// `notifying` call who waits there.
    pub(super) fn take_releases(
        &mut self,
        resource: &Resource,
        token: &Token,
        notifying: NodeSet,
        now: Moment,
    ) -> Vec<(NodeId, Release)> {
        self.settle_stragglers(now);
        self.last_round.take();
        let expires = now + self.ttl.as_duration();
        let release = |(node, planted): (NodeId, KeyState)| {
            let set_status = match planted {
                KeyState::Granted => SetStatus::Answered,
                KeyState::Stray => SetStatus::Stray,
                KeyState::Unknown | KeyState::NotSent | KeyState::Denied => {
                    SetStatus::Unanswered(self.epochs[node.0])
                }
            };
            let (resource, token) = (resource.clone(), token.clone());
            let wake = if notifying.contains(node) { Wake::Next } else { Wake::Nobody };
            (node, Release { resource, token, set_status, wake, ttl: self.ttl, expires })
        };
        self.lease.take_nodes_to_release().into_iter().map(release).collect()
    }
}

/// The stragglers of the last round, if there are any. A mutex that is never locked: it makes an attempt `Sync`,
/// which futures are not, and whoever takes them has it to itself.
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

/// Answers that came too late to matter for the decision, but not for the lease. Kept instead of dropped, for a
/// dropped command that has not left the process yet is not sent.
pub(super) struct Stragglers {
    pub(super) answers: LateAnswers,
    pub(super) sent_at: Moment,
    pub(super) ttl: Ttl,
}

pub(super) enum LateAnswers {
    ToAcquire(Answers<Acquired>),
    ToExtend(Answers<Answer>),
}
