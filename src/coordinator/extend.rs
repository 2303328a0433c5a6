//! Extends a lease at the holder's request.

use super::HeldLease;
use super::fanout::{Fanout, vote_of};
use super::keys::{LateAnswers, Stragglers};
use crate::error::{ExtendError, NodeVote};
use crate::node::Extend;
use crate::planted;
use crate::protocol::Decision;
use crate::types::{Claim, Ttl};

impl HeldLease {
    /// Asks every connected node to keep our key for `ttl` from now.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the old deadline stands. Nodes may have extended the key, which does no harm.
    pub(crate) async fn extend(&self, ttl: Ttl) -> Result<(), ExtendError> {
        let coordinator = &self.coordinator;
        let mut fanout = Fanout::new(coordinator);
        let (sent_at, deadline) = {
            let mut state = self.lock();
            // Read under the lock, as in `handle_extended`.
            let sent_at = coordinator.now();
            state.keys.settle_stragglers(sent_at);
            let Some(deadline) = state.deadline(sent_at) else {
                return Err(self.lost(fanout.votes));
            };
            state.keys.ttl = state.keys.ttl.max(ttl);
            (sent_at, deadline)
        };
        let command = Extend::new(self.claim(), &self.token, ttl);
        for node in coordinator.node_ids() {
            match coordinator.node(node).link() {
                Ok(link) => fanout.answers.send(node, link, &command),
                Err(failure) => fanout.handle_unreachable(node, failure),
            }
        }
        let limit = coordinator.settings.node_timeout.min(sent_at.until(deadline));
        let record = |node, reply: &_| {
            if planted::is(planted::Fault::LateExtension) {
                let mut state = self.lock();
                state.keys.lease.handle_extended(node, sent_at, ttl, vote_of(reply), coordinator.now());
                return state.keys.lease.revive();
            }
            self.handle_extended(self.lock(), node, sent_at, ttl, vote_of(reply));
        };
        let decision = fanout.decide(limit, record).await;
        let Fanout { votes, answers, .. } = fanout;

        let now = coordinator.now();
        let mut state = self.lock();
        if answers.are_open() {
            let stragglers = Stragglers { answers: LateAnswers::ToExtend(answers), sent_at, ttl };
            state.keys.last_round.set(Box::new(stragglers));
        }
        let deadline = state.deadline(now);
        self.reconsider(state, now);
        let Some(deadline) = deadline else {
            return Err(self.lost(votes));
        };
        match decision {
            Decision::Won => Ok(()),
            Decision::Failed | Decision::Pending => Err(ExtendError::NoQuorum {
                resource: self.claim().name().to_owned(),
                left: now.until(deadline),
                votes: coordinator.votes(votes),
            }),
        }
    }

    /// Turns the hold of a writer into that of a reader, without a gap: from now on all commands of the lease are a
    /// reader's, and each node changes the key at the next extension or renewal that reaches it. Until then the node
    /// goes on excluding everybody. An answer of a node that has not changed is no reason to fail.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the lease is a reader's; nodes that were not reached change at the next renewal.
    pub(crate) async fn downgrade(&self) {
        let key = self.claim().first().clone();
        // Ordered before or after the end of the lease, whose releases are those of its claim then.
        let state = self.lock();
        let _ = self.downgraded.set(Claim::Shared { key: key.clone() });
        drop(state);
        let _ = self.extend(self.ttl).await;
        self.coordinator.handle_readable(&key);
    }

    fn lost(&self, votes: Vec<NodeVote>) -> ExtendError {
        ExtendError::Lost { resource: self.claim().name().to_owned(), votes: self.coordinator.votes(votes) }
    }
}
