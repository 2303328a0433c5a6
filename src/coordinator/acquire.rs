//! One attempt at a lock.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{LateAnswers, LockKeys, Stragglers};
use super::fanout::{Fanout, Reply, vote_of};
use super::{Attempt, Coordinator, Links};
use crate::config::{Fencing, LeaseTerms};
use crate::error::{LockError, NodeFailure, NodeVote};
use crate::node::{Acquire, Acquired, Fence};
use crate::protocol::{Decision, Lease, Proposal, Raise, RoundFailure};
use crate::types::{FencingToken, NodeId, Resource, Token, Wake};

impl Coordinator {
    /// Asks every node once, waits at most `limit` for a decision, and leaves nothing behind unless it is won.
    /// `rollback`: whom the releases of a lost attempt call.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, every node that may have planted the key is told to remove it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        resource: &Resource,
        terms: LeaseTerms,
        limit: Duration,
        rollback: Wake,
    ) -> Result<Attempt, LockError> {
        self.counts.attempt(self.ask_all(resource, terms, limit, rollback)).await
    }

    async fn ask_all(
        self: &Arc<Self>,
        resource: &Resource,
        terms: LeaseTerms,
        limit: Duration,
        rollback: Wake,
    ) -> Result<Attempt, LockError> {
        if self.is_shut_down() {
            return Err(LockError::ShutDown);
        }
        let LeaseTerms { ttl, min_validity } = terms;
        // A fresh token for every attempt: a late command of this one can never act on the next one's key.
        let mut held = self.new_attempt(resource, terms, rollback);
        let links = self.links();
        if links.iter().all(|link| matches!(link, Err(NodeFailure::RuntimeEnded))) {
            return Err(LockError::RuntimeEnded);
        }
        let (command, mut proposal) = self.command(&held, &links).await?;
        let mut fanout = Fanout::new(self);
        // Before anything is queued: each key lives for a TTL from some later moment.
        let sent_at = self.now();
        for (i, link) in links.into_iter().enumerate() {
            match link {
                Ok(link) => {
                    held.keys.lease.handle_sent(NodeId(i));
                    held.keys.epochs[i] = link.epoch();
                    if let Some(failure) = self.refusal(NodeId(i), sent_at) {
                        held.keys.lease.handle_quarantined(NodeId(i));
                        fanout.handle_quarantined(NodeId(i), failure);
                    }
                    fanout.answers.send(NodeId(i), link, &command);
                }
                Err(failure) => fanout.handle_unreachable(NodeId(i), failure),
            }
        }
        let lease = &mut held.keys.lease;
        let record = |node, reply: &_| {
            let (name, vote) = (self.node(node).name(), vote_of(reply));
            tracing::trace!(node = %name, ?vote, elapsed = ?sent_at.until(self.now()), "vote");
            lease.handle_acquired(node, sent_at, ttl, vote_of(reply));
            // A node that may have forgotten locks may have forgotten tokens, too.
            if let (Some(proposal), Some(raise), false) =
                (&mut proposal, raise_of(reply), lease.is_quarantined(node))
            {
                proposal.handle_granted(node, raise);
            }
        };
        let decision = fanout.decide(limit, record).await;
        let Fanout { round, votes, answers, .. } = fanout;
        if answers.are_open() {
            let stragglers = Stragglers { answers: LateAnswers::ToAcquire(answers), sent_at, ttl };
            held.keys.last_round.set(Box::new(stragglers));
        }
        self.counts.observe_votes(&votes);
        match decision {
            Decision::Won => {}
            Decision::Failed | Decision::Pending => {
                let loss = round.failure();
                match loss {
                    RoundFailure::Contended => {}
                    // Others may reach more nodes, and have seen our keys. It is not tried again at once.
                    RoundFailure::NoQuorum => held.rollback = Wake::Next,
                }
                return Err(self.failed(resource, loss, votes));
            }
        }
        if let Some(proposal) = proposal {
            held.fence = self.fence(&held, &proposal, min_validity).await?;
        }
        // Last of all: whatever took its time above, enough of the lease is left now.
        let now = self.now();
        let left = held.keys.lease.deadline(now).map_or(Duration::ZERO, |deadline| now.until(deadline));
        if left <= min_validity {
            let (resource, votes) = (resource.name().to_owned(), self.votes(votes));
            return Err(LockError::TooLate { resource, left, min_validity, votes });
        }
        Ok(held)
    }

    pub(super) fn new_attempt(
        self: &Arc<Self>,
        resource: &Resource,
        terms: LeaseTerms,
        rollback: Wake,
    ) -> Attempt {
        let quorum = self.settings.quorum;
        Attempt {
            coordinator: Arc::clone(self),
            resource: resource.clone(),
            token: Token::new(&self.settings.owner, self.random()),
            keys: LockKeys::new(Lease::new(quorum, self.settings.drift), terms.ttl),
            fence: FencingToken::new(0),
            rollback,
        }
    }

    /// The command to send, and the proposal that it carries unless fencing is off.
    async fn command(&self, held: &Attempt, links: &Links) -> Result<(Acquire, Option<Proposal>), LockError> {
        let Attempt { resource, token, keys, .. } = held;
        let ttl = keys.ttl;
        match self.settings.fencing {
            Fencing::Off => Ok((Acquire::plain(resource, token, ttl), None)),
            Fencing::On => {
                let fence = self.propose(resource, links).await?;
                let proposal = Proposal::new(self.settings.quorum, fence.get());
                Ok((Acquire::fenced(resource, token, ttl, fence), Some(proposal)))
            }
        }
    }

    pub(super) fn failed(&self, resource: &Resource, loss: RoundFailure, votes: Vec<NodeVote>) -> LockError {
        let (resource, votes) = (resource.name().to_owned(), self.votes(votes));
        match loss {
            RoundFailure::Contended => LockError::Contended { resource, votes },
            RoundFailure::NoQuorum => {
                LockError::NoQuorum { resource, needed: self.settings.quorum.needed(), votes }
            }
        }
    }
}

/// What a grant says of the fencing token that was sent along.
fn raise_of(reply: &Reply<Acquired>) -> Option<Raise> {
    match reply {
        Ok(Acquired::Granted(Fence::Raised)) => Some(Raise::Raised),
        Ok(Acquired::Granted(Fence::Stale)) => Some(Raise::Stale),
        Ok(Acquired::Granted(Fence::Off) | Acquired::Denied) | Err(_) => None,
    }
}
