//! An attempt: the owner of the keys that may be set, before there is a lease.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::denials::Denials;
use super::keys::LockKeys;
use super::lock::LockRequest;
use super::{Coordinator, HeldLease, slots};
use crate::config::LeaseTerms;
use crate::error::LockError;
use crate::planted;
use crate::protocol::Lease;
use crate::types::{Claim, FencingToken, KeySet, Token, Wake, leader_label};

/// Owns every key that one attempt may have set, from before the first command is queued until the lease is
/// [held](super::HeldLease). Dropping an attempt (failed, timed out or cancelled) queues a release for every node that
/// may hold the key. Never blocks.
pub(crate) struct Attempt {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) claim: Claim,
    pub(super) token: Token,
    pub(super) keys: LockKeys,
    pub(super) fence: FencingToken,
    /// The keys for which the releases notify the next waiter if the attempt is dropped.
    pub(super) rollback: KeySet,
}

impl Attempt {
    /// Moves the keys to another owner.
    pub(super) fn take_keys(&mut self) -> LockKeys {
        let quorum = self.coordinator.settings.quorum;
        let nothing = LockKeys::new(Lease::new(quorum, self.coordinator.drift()), self.keys.ttl);
        std::mem::replace(&mut self.keys, nothing)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if planted::is(planted::Fault::NoRollback) {
            return;
        }
        let now = self.coordinator.now();
        let notifying = self.coordinator.notifying(&self.claim, self.rollback);
        for (node, release) in self.keys.take_releases(&self.claim, &self.token, &notifying, now) {
            self.coordinator.node(node).release(release, now);
        }
    }
}

impl Coordinator {
    /// Makes attempt number `number`. `rollback` says which waiter the releases notify if the attempt fails. At a
    /// semaphore the attempt begins with the slot `free` and goes on to others that the nodes say are free.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        limit: Duration,
        rollback: Wake,
        number: u32,
        free: Option<usize>,
    ) -> Result<Arc<HeldLease>, LockError> {
        let &LockRequest { claim, terms, keep, .. } = request;
        // An answer after this limit is useless: less than `min_validity` of the lease would be left.
        let limit = limit.min(terms.ttl.as_duration().saturating_sub(terms.min_validity));
        let span = tracing::debug_span!("attempt", resource = claim.name(), attempt = number);
        let started = self.now();
        let attempt = async {
            let won = self.acquire_any(request, limit, rollback, free).await;
            let held = won.and_then(|attempt| HeldLease::hold(attempt, keep));
            let elapsed = || started.until(self.now());
            match &held {
                Ok(_) => tracing::debug!(elapsed = ?elapsed(), "acquired"),
                Err(error) => tracing::debug!(elapsed = ?elapsed(), %error, "attempt failed"),
            }
            held
        };
        attempt.instrument(span).await
    }

    /// Acquires what is claimed; of a semaphore, any slot. Tries again at once where the answers say that this helps.
    async fn acquire_any(
        self: &Arc<Self>,
        request: &LockRequest<'_>,
        limit: Duration,
        rollback: Wake,
        free: Option<usize>,
    ) -> Result<Attempt, LockError> {
        let (claim, give_up) = (request.claim, self.now() + limit);
        let mut slot = self.first_slot(claim, free);
        let (mut tries, mut left) = (1, limit);
        loop {
            let mut denials = Denials::default();
            let claim = slot.as_ref().unwrap_or(claim);
            let acquire = self.acquire(request, claim, left, rollback, &mut denials);
            let error = match self.counts.attempt(acquire).await {
                Ok(attempt) => return Ok(attempt),
                Err(error) => error,
            };
            let next = self.next_slot(claim, &denials.slots);
            let helps = next.is_some() || denials.is_stale;
            left = self.now().until(give_up);
            if !helps || tries == slots::TRIES_MAX || left.is_zero() {
                return Err(error);
            }
            slot = next;
            tries += 1;
        }
    }

    /// A token that says who leads.
    pub(super) fn leader_token(&self, term: u64, value: &str) -> Token {
        let since_ms = self.ambient.wall_micros() / 1000;
        Token::new(&leader_label(term, since_ms, value), self.random())
    }

    pub(super) fn new_attempt(
        self: &Arc<Self>,
        claim: &Claim,
        terms: LeaseTerms,
        rollback: KeySet,
    ) -> Attempt {
        let random = if planted::is(planted::Fault::ReusedToken) { 0 } else { self.random() };
        let quorum = self.settings.quorum;
        Attempt {
            coordinator: Arc::clone(self),
            claim: claim.clone(),
            token: Token::new(&self.settings.owner, random),
            keys: LockKeys::new(Lease::new(quorum, self.drift()), terms.ttl),
            fence: FencingToken::new(0),
            rollback,
        }
    }
}

/// The keys for which an attempt notifies when it is dropped or fails after its round. The waiter of an attempt that
/// notifies nobody waits for one resource only, so that waiters of others are notified all the same.
pub(super) fn keys_to_notify(claim: &Claim, rollback: Wake) -> KeySet {
    match (claim, rollback) {
        (Claim::Exclusive { .. } | Claim::Shared { .. } | Claim::Slot(_), Wake::Nobody) => KeySet::EMPTY,
        (Claim::Many { .. }, Wake::Nobody) | (_, Wake::Next) => claim.all(),
    }
}
