//! Acquires one lock, from the request to the lease: waits until the lock may be free, asks all nodes, and removes all
//! keys when the attempt fails.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, warn};

use super::attempt::{Attempt, keys_to_notify};
use super::denials::{Denials, to_notify, to_wait_for};
use super::fanout::{Fanout, vote_of};
use super::fencing::raise_of;
use super::intent::Intent;
use super::keys::{LateAnswers, Stragglers};
use super::waiting::{Looks, Position};
use super::{Coordinator, HeldLease};
use crate::config::{Keep, LeaseTerms};
use crate::error::{LockError, NodeFailure, NodeVote, Taken};
use crate::node::Acquire;
use crate::planted;
use crate::protocol::{Decision, Demand, Pause, Raise, Retry, RoundFailure, Step};
use crate::types::{Claim, FencingToken, Moment, NodeId, Wake};

/// A caller's request for a lock.
pub(crate) struct LockRequest<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) terms: LeaseTerms,
    pub(crate) keep: Keep,
    pub(crate) retry: Retry,
    /// Longest time that `lock` takes in all; zero means a single attempt.
    pub(crate) max_wait: Duration,
    /// Whether new readers are kept out while the caller waits.
    pub(crate) keeps_readers_out: bool,
    /// The value of a candidate for leader. Its token then says the value, the term, and since when.
    pub(crate) leads_as: Option<&'a str>,
}

impl LockRequest<'_> {
    /// A writer has to look often, so that new readers stay out; and a reader, because others may let it in without a
    /// release.
    fn looks(&self) -> Looks {
        if self.keeps_readers_out || self.claim.is_shared() { Looks::AsFirst } else { Looks::ByPlace }
    }
}

impl Coordinator {
    /// Waits until the lock is acquired, for at most `max_wait`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. When the future is dropped, every node that may hold the key is asked to remove it, and the next
    /// waiter continues at once.
    pub(crate) async fn lock(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
    ) -> Result<Arc<HeldLease>, LockError> {
        let started = self.now();
        let give_up = started + request.max_wait;
        let span = tracing::debug_span!("lock", resource = request.claim.name());
        let wait = async {
            let mut waited = self.start_wait();
            let held = if request.retry.is_fifo() && !request.max_wait.is_zero() {
                self.lock_in_queue(request, give_up).await
            } else {
                self.lock_by_retrying(request, give_up).await
            };
            waited.handle_ended(&held);
            tracing::debug!(elapsed = ?started.until(self.now()), locked = held.is_ok(), "waited");
            held
        };
        wait.instrument(span).await
    }

    /// Makes one attempt, of at most `node_timeout`.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub(crate) async fn try_lock(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
    ) -> Result<Arc<HeldLease>, LockError> {
        self.attempt(request, self.settings.node_timeout, Wake::Next, 1, None).await
    }

    /// Waits in the wait queue. The head of the wait queue asks the nodes, as its contender decides.
    async fn lock_in_queue(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        give_up: Moment,
    ) -> Result<Arc<HeldLease>, LockError> {
        let (claim, node_timeout) = (request.claim, self.settings.node_timeout);
        // With several resources, the waiter is in the wait queue of one of them at a time, and holds nothing meanwhile.
        let mut at = 0;
        let join = |at: usize, demand| self.join_wait_queue(&claim.resources()[at], request.retry, demand);
        let mut intent = Intent::new(self, request);
        let mut waiter = match self.read_at_once(request, give_up).await? {
            Early::Held(held) => return Ok(held),
            Early::NotTried => join(at, Demand::Unknown),
            Early::Failed => join(at, Demand::Wanted),
        };
        let (mut attempts, mut cut_short) = (0_u32, 0_u32);
        // Why our TTL, `min_validity` or the rest of the wait was too short, if the last attempt failed because of
        // that.
        let mut unmet = None;
        let mut is_warned = false;
        loop {
            let now = self.now();
            let step = match waiter.position(now) {
                Position::Closed => return Err(LockError::ShutDown),
                Position::Behind => Step::Sleep(give_up),
                Position::Head(step) => step,
            };
            let left = now.until(give_up);
            if left.is_zero() {
                return Err(request.timeout(unmet.unwrap_or_else(|| waiter.reason(claim))));
            }
            match step {
                Step::Sleep(until) => waiter.changed(until.min(give_up)).await,
                Step::Register(manner) => {
                    intent.announce();
                    waiter.register(claim, manner, request.looks(), left).await;
                }
                Step::Attempt => {
                    attempts = attempts.saturating_add(1);
                    let free = waiter.handle_attempt();
                    // The rollback notifies nobody: this waiter tries again, and notifies others if it leaves the
                    // queue.
                    let limit = node_timeout.min(left);
                    match self.attempt(request, limit, Wake::Nobody, attempts, free).await {
                        Ok(held) => {
                            waiter.handle_acquired(claim);
                            return Ok(held);
                        }
                        Err(error) if is_final(&error) => return Err(error),
                        Err(error) if is_cut_short(&error, node_timeout) => {
                            cut_short = cut_short.saturating_add(1);
                            let pause = match request.retry.pause(cut_short, self.random_u64()) {
                                Pause::For(pause) => pause,
                                Pause::GiveUp => return Err(error),
                            };
                            // The other waiters may allow the nodes enough time: the next head continues at once.
                            unmet = Some(waiter.step_aside(claim, error, unmet, limit));
                            tokio::time::sleep(pause.min(self.now().until(give_up))).await;
                            waiter = join(at, Demand::Unknown);
                        }
                        Err(error) => {
                            unmet = None;
                            self.warn_of_quarantine(&error, give_up, &mut is_warned);
                            match to_wait_for(claim, &error) {
                                // The next head of the queue that we leave repeats the attempt, because this resource
                                // may be free.
                                Some(taken) if taken != at => {
                                    at = taken;
                                    waiter = join(at, Demand::Wanted);
                                    unmet = Some(error);
                                }
                                Some(_) | None => waiter.handle_failed(claim, error, limit),
                            }
                        }
                    }
                }
            }
        }
    }

    /// A reader attempts at once unless others of this process wait, because readers need not wait for each other.
    async fn read_at_once(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        give_up: Moment,
    ) -> Result<Early, LockError> {
        let claim = request.claim;
        if !claim.is_shared() || self.is_waited_for(claim.first()) {
            return Ok(Early::NotTried);
        }
        let limit = self.settings.node_timeout.min(self.now().until(give_up));
        match self.attempt(request, limit, Wake::Next, 1, None).await {
            Ok(held) => Ok(Early::Held(held)),
            Err(error) if is_final(&error) => Err(error),
            Err(_) => Ok(Early::Failed),
        }
    }

    /// Alternates attempts and pauses, without a wait queue.
    async fn lock_by_retrying(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        give_up: Moment,
    ) -> Result<Arc<HeldLease>, LockError> {
        let node_timeout = self.settings.node_timeout;
        let left = || self.now().until(give_up);
        let (mut attempts, mut last) = (1_u32, None);
        let mut is_warned = false;
        let mut intent = Intent::new(self, request);
        loop {
            // An attempt ends with the wait. A single attempt (`max_wait` zero) may take a whole node timeout.
            let limit = if request.max_wait.is_zero() { node_timeout } else { node_timeout.min(left()) };
            let error = match self.attempt(request, limit, Wake::Next, attempts, None).await {
                Ok(held) => return Ok(held),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => match last.take() {
                    // The end of the wait cut the attempt short: its error says nothing about the nodes.
                    Some(earlier) if limit < node_timeout => earlier,
                    Some(_) | None => error,
                },
            };
            let pause = match request.retry.pause(attempts, self.random_u64()) {
                Pause::For(pause) => pause,
                Pause::GiveUp => return Err(error),
            };
            self.warn_of_quarantine(&error, give_up, &mut is_warned);
            intent.announce();
            tokio::time::sleep(pause.min(left())).await;
            if left().is_zero() {
                return Err(request.timeout(error));
            }
            attempts = attempts.saturating_add(1);
            last = Some(error);
        }
    }

    /// Logs a warning that a wait lasts until a quarantine ends: at most once in each wait, and for one of all waits
    /// every 10 s. Without the warning a first deployment looks hung. Logs nothing when the wait ends before the
    /// quarantine, because the error then contains the reason.
    fn warn_of_quarantine(&self, error: &LockError, give_up: Moment, is_warned: &mut bool) {
        let patience = self.now().until(give_up);
        let Some(left) = error.quarantine().filter(|left| *left <= patience) else { return };
        if !std::mem::replace(is_warned, true) && self.may_warn_of_quarantine() {
            let seconds = left.as_secs_f64();
            warn!(%error, "waiting another {seconds:.1} s for nodes in quarantine; `redlock doctor` tells why");
        }
    }

    /// Asks every node once and waits at most `limit` for a decision. Removes all keys when the attempt fails.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, every node that may hold the key is asked to remove it.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        claim: &Claim,
        limit: Duration,
        rollback: Wake,
        denials: &mut Denials,
    ) -> Result<Attempt, LockError> {
        if self.is_shut_down() {
            return Err(LockError::ShutDown);
        }
        let LeaseTerms { ttl, min_validity } = request.terms;
        // Every attempt has a fresh token, so that a late command of this attempt never acts on the next attempt's key.
        let mut attempt = self.new_attempt(claim, request.terms, keys_to_notify(claim, rollback));
        let links = self.links();
        if links.iter().all(|link| matches!(link, Err(NodeFailure::RuntimeEnded))) {
            return Err(LockError::RuntimeEnded);
        }
        let mut limit = limit;
        if request.leads_as.is_some() {
            let began = self.now();
            self.learn_scores(claim, limit).await?;
            limit = limit.saturating_sub(began.until(self.now()));
        }
        let mut proposal = self.proposal(claim, &links).await?;
        if let (Some(value), Some(proposal)) = (request.leads_as, &proposal) {
            attempt.token = self.leader_token(proposal.token(), value);
        }
        let fence = proposal.as_ref().map(|proposal| FencingToken::new(proposal.token()));
        let command = Acquire::new(claim, &attempt.token, ttl, fence, self.roster.clocks().are_guarded());
        let mut fanout = Fanout::new(self);
        // Taken before any command is queued: each key lives for a TTL from a later moment, so the deadline is safe.
        let sent_at = self.now();
        for (i, link) in links.into_iter().enumerate() {
            match link {
                Ok(link) => {
                    attempt.keys.lease.handle_sent(NodeId(i));
                    attempt.keys.epochs[i] = link.epoch();
                    if let Some(failure) = self.refusal(NodeId(i), sent_at) {
                        attempt.keys.lease.handle_quarantined(NodeId(i));
                        fanout.handle_quarantined(NodeId(i), failure);
                    }
                    let with_clock = self.with_clock(NodeId(i), sent_at);
                    fanout.answers.send_and(NodeId(i), link, &command, with_clock);
                }
                Err(failure) => fanout.handle_unreachable(NodeId(i), failure),
            }
        }
        let lease = &mut attempt.keys.lease;
        let record = |node, reply: &_| {
            denials.handle_answer(reply);
            let (name, vote) = (self.node(node).name(), vote_of(reply));
            tracing::trace!(node = %name, ?vote, elapsed = ?sent_at.until(self.now()), "vote");
            let sent_at = if planted::is(planted::Fault::SentAtLate) { self.now() } else { sent_at };
            lease.handle_acquired(node, sent_at, ttl, vote_of(reply));
            // A node that may have forgotten locks may also have forgotten fencing tokens.
            if let (Some(proposal), Some(raise), false) =
                (&mut proposal, raise_of(reply), lease.is_quarantined(node))
            {
                let raise = if planted::is(planted::Fault::StaleCounted) { Raise::Raised } else { raise };
                proposal.handle_granted(node, raise);
            }
        };
        let decision = fanout.decide(limit, record).await;
        let Fanout { round, votes, answers, .. } = fanout;
        if answers.are_open() {
            let stragglers = Stragglers { answers: LateAnswers::ToAcquire(answers), sent_at, ttl };
            attempt.keys.last_round.set(Box::new(stragglers));
        }
        self.counts.observe_votes(&votes);
        match decision {
            Decision::Won => {}
            Decision::Failed | Decision::Pending => {
                let error = match (claim.as_slot(), denials.other_permits) {
                    (Some(slot), Some(others)) => LockError::OtherPermits {
                        resource: claim.name().to_owned(),
                        permits: slot.of.slots().len(),
                        others,
                        votes: self.votes(votes),
                    },
                    (Some(_) | None, _) => self.failed(claim, round.failure(), votes, denials.taken(claim)),
                };
                match rollback {
                    Wake::Next => {}
                    // The caller goes on to another slot, and leaves this one to others.
                    Wake::Nobody if denials.slots.are_free() => attempt.rollback = claim.all(),
                    Wake::Nobody => attempt.rollback = to_notify(claim, &error),
                }
                return Err(error);
            }
        }
        if let Some(proposal) = proposal {
            attempt.fence = self.fence((claim, &attempt.keys.lease), &proposal, min_validity).await?;
            // Our token says what was proposed. The next proposal is above the token that we have raised to.
            if request.leads_as.is_some() && attempt.fence.get() != proposal.token() {
                denials.is_stale = true;
                return Err(self.failed(claim, RoundFailure::Contended, votes, Vec::new()));
            }
        }
        // Checked last, so that enough of the lease is left no matter how long the steps above took.
        let now = self.now();
        let left = attempt.keys.lease.deadline(now).map_or(Duration::ZERO, |deadline| now.until(deadline));
        if left <= min_validity {
            let (resource, votes) = (claim.name().to_owned(), self.votes(votes));
            return Err(LockError::TooLate { resource, left, min_validity, votes });
        }
        Ok(attempt)
    }

    pub(super) fn failed(
        &self,
        claim: &Claim,
        failure: RoundFailure,
        votes: Vec<NodeVote>,
        taken: Vec<Taken>,
    ) -> LockError {
        let (resource, votes) = (claim.name().to_owned(), self.votes(votes));
        match failure {
            RoundFailure::Contended => LockError::Contended { resource, votes, taken },
            RoundFailure::NoQuorum => {
                LockError::NoQuorum { resource, needed: self.settings.quorum.needed(), votes }
            }
        }
    }
}

/// How an attempt outside of the wait queue ended.
enum Early {
    Held(Arc<HeldLease>),
    Failed,
    NotTried,
}

impl LockRequest<'_> {
    fn timeout(&self, last: LockError) -> LockError {
        LockError::Timeout { max_wait: self.max_wait, last: Box::new(last) }
    }
}

/// Whether the attempt failed because its own TTL, `min_validity` or the rest of its wait allowed the nodes less than a
/// node timeout. The nodes may be healthy, and other waiters may get the lock.
fn is_cut_short(error: &LockError, node_timeout: Duration) -> bool {
    let early = |failure: &NodeFailure| {
        if let NodeFailure::NoAnswer { after } = failure { *after < node_timeout } else { false }
    };
    match error {
        LockError::TooLate { .. } => true,
        LockError::NoQuorum { votes, .. } => votes.failures().any(|(_, failure)| early(failure)),
        LockError::Contended { .. }
        | LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. }
        | LockError::Timeout { .. }
        | LockError::Invalid(_)
        | LockError::OtherPermits { .. }
        | LockError::ShutDown
        | LockError::RuntimeEnded => false,
    }
}

/// Whether further attempts are useless.
fn is_final(error: &LockError) -> bool {
    match error {
        LockError::Invalid(_)
        | LockError::OtherPermits { .. }
        | LockError::ShutDown
        | LockError::RuntimeEnded
        | LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. } => true,
        LockError::Contended { .. }
        | LockError::NoQuorum { .. }
        | LockError::TooLate { .. }
        | LockError::Timeout { .. } => false,
    }
}
