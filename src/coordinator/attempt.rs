//! An attempt: the owner of the keys that may be set, before there is a lease.

use std::sync::Arc;

use super::Coordinator;
use super::keys::LockKeys;
use crate::config::LeaseTerms;
use crate::planted;
use crate::protocol::Lease;
use crate::types::{Claim, FencingToken, KeySet, Token};

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
