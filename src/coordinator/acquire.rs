//! One attempt at a lock.

use std::sync::Arc;
use std::time::Duration;

use super::fanout::Fanout;
use super::held::{Asked, LastRound, Stragglers};
use super::{Coordinator, Held};
use crate::config::LeaseTerms;
use crate::error::{LockError, NodeVote};
use crate::node::{Command, Epoch};
use crate::protocol::{Decision, Lease, Loss};
use crate::types::{Resource, Token};

impl Coordinator {
    /// Asks every node once, waits at most `limit` for a decision, and leaves nothing behind unless it is won.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, every node that may have planted the key is told to remove it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        resource: &Resource,
        terms: LeaseTerms,
        limit: Duration,
    ) -> Result<Held, LockError> {
        if self.is_shut_down() {
            return Err(LockError::ShutDown);
        }
        let LeaseTerms { ttl, min_validity } = terms;
        // A fresh token for every attempt: a late command of this one can never act on the next one's key.
        let mut held = self.nothing_held(resource, terms);
        let command = Command::acquire(resource, &held.token, ttl);
        let mut fanout = Fanout::new(self);
        // Before anything is queued: each key lives for a TTL from some later moment.
        let sent_at = self.now();
        for node in self.node_ids() {
            match self.node(node).link() {
                Ok(link) => {
                    held.lease.handle_sent(node);
                    held.epochs[node.0] = link.epoch();
                    fanout.answers.send(node, link, &command);
                }
                Err(failure) => fanout.cast(node, NodeVote::Unknown(failure)),
            }
        }
        let lease = &mut held.lease;
        let decision =
            fanout.decide(limit, |node, vote| lease.handle_acquired(node, sent_at, ttl, vote)).await;
        let Fanout { round, votes, answers } = fanout;
        held.last_round.set(Stragglers { answers, to: Asked::Acquire, sent_at, ttl });
        match decision {
            Decision::Won => {}
            Decision::Lost | Decision::Pending => {
                return Err(self.lost(resource, round.loss(), votes));
            }
        }
        // Last of all: whatever took its time above, enough of the lease is left now.
        let now = self.now();
        let left = held.lease.deadline(now).map_or(Duration::ZERO, |deadline| now.until(deadline));
        if left <= min_validity {
            let (resource, votes) = (resource.as_str().to_owned(), self.votes(votes));
            return Err(LockError::TooLate { resource, left, min_validity, votes });
        }
        Ok(held)
    }

    fn nothing_held(self: &Arc<Self>, resource: &Resource, terms: LeaseTerms) -> Held {
        let quorum = self.settings.quorum;
        Held {
            coordinator: Arc::clone(self),
            resource: resource.clone(),
            token: Token::new(&self.settings.owner, self.random()),
            lease: Lease::new(quorum, self.settings.drift),
            ttl: terms.ttl,
            epochs: vec![Epoch::FIRST; quorum.nodes()],
            last_round: LastRound::default(),
        }
    }

    fn lost(&self, resource: &Resource, loss: Loss, votes: Vec<NodeVote>) -> LockError {
        let (resource, votes) = (resource.as_str().to_owned(), self.votes(votes));
        match loss {
            Loss::Contended => LockError::Contended { resource, votes },
            Loss::NoQuorum => LockError::NoQuorum { resource, needed: self.settings.quorum.needed(), votes },
        }
    }
}
