//! What an attempt planted, and what it became. Whoever drops it has released it.

use std::sync::{Arc, Mutex, PoisonError};

use super::Coordinator;
use super::fanout::{Answers, vote_of};
use crate::config::Settings;
use crate::node::{Acquired, Answer, Epoch, Planting, Release};
use crate::protocol::{Lease, Planted};
use crate::types::{FencingToken, Moment, NodeId, Resource, Token, Ttl};

/// Owns every key that one attempt may have planted, from before the first command is queued. Dropped in any
/// state (the attempt lost, timed out, was cancelled; the guard went out of scope), it hands the release to every
/// node that may hold the key. Never blocks.
pub(crate) struct Held {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) resource: Resource,
    pub(super) token: Token,
    pub(super) lease: Lease,
    /// The longest TTL that any of our commands asked for: no key of ours outlives its command by more.
    pub(super) ttl: Ttl,
    /// The connection on which each node was asked.
    pub(super) epochs: Vec<Epoch>,
    pub(super) last_round: LastRound,
    pub(super) fence: FencingToken,
}

/// The stragglers of the last round, if there was one. A mutex that is never locked: it makes guards `Sync`, which
/// futures are not, and whoever takes them has the guard to itself.
#[derive(Default)]
pub(super) struct LastRound(Mutex<Option<Stragglers>>);

impl LastRound {
    pub(super) fn set(&mut self, stragglers: Stragglers) {
        *self.slot() = Some(stragglers);
    }

    fn take(&mut self) -> Option<Stragglers> {
        self.slot().take()
    }

    fn slot(&mut self) -> &mut Option<Stragglers> {
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

impl Held {
    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn fencing_token(&self) -> FencingToken {
        self.fence
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.coordinator.settings
    }

    /// The instant until which the lease is exclusively ours, and the time it was asked; `None` once it is over.
    pub(crate) fn deadline(&self) -> Option<(Moment, Moment)> {
        let now = self.coordinator.now();
        Some((now, self.lease.deadline(now)?))
    }

    /// Takes in the answers that have arrived since the last decision, and gives up those that have not.
    pub(super) fn settle_stragglers(&mut self) {
        let Some(mut stragglers) = self.last_round.take() else { return };
        let Stragglers { answers, sent_at, ttl } = &mut stragglers;
        match answers {
            LateAnswers::ToAcquire(answers) => {
                while let Some((node, reply)) = answers.arrived() {
                    self.lease.handle_acquired(node, *sent_at, *ttl, vote_of(&reply));
                }
            }
            LateAnswers::ToExtend(answers) => {
                while let Some((node, reply)) = answers.arrived() {
                    let now = self.coordinator.now();
                    self.lease.handle_extended(node, *sent_at, *ttl, vote_of(&reply), now);
                }
            }
        }
    }

    /// A release for every node that may hold our key; afterwards there is none left to be made.
    pub(super) fn take_releases(&mut self) -> Vec<(NodeId, Release)> {
        self.settle_stragglers();
        let expires = self.coordinator.now() + self.ttl.as_duration();
        let release = |(node, planted): (NodeId, Planted)| {
            let planting = match planted {
                Planted::Granted => Planting::Answered,
                Planted::Unknown | Planted::NotSent | Planted::Denied => {
                    Planting::Unanswered(self.epochs[node.0])
                }
            };
            let (resource, token) = (self.resource.clone(), self.token.clone());
            (node, Release { resource, token, planting, ttl: self.ttl, expires })
        };
        self.lease.take_nodes_to_release().into_iter().map(release).collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.coordinator.now();
        for (node, release) in self.take_releases() {
            self.coordinator.node(node).release(release, now);
        }
    }
}
