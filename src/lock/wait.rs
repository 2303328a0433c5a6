//! Waiting for a lock in turn: by a line in this process, and a queue between processes.

use super::quarantine::QuarantineNotice;
use super::{Guard, Mutex};
use crate::config::LeaseTerms;
use crate::coordinator::Standing;
use crate::error::LockError;
use crate::protocol::Step;
use crate::types::{Moment, Wake};

impl Mutex {
    /// Waits in line; the head of it asks the nodes, when there is something to be had.
    pub(super) async fn lock_in_turn(&self, terms: LeaseTerms, give_up: Moment) -> Result<Guard, LockError> {
        let place = self.coordinator.stand_in_line(&self.resource, self.retry);
        let mut attempt = 0_u32;
        let mut quarantine = QuarantineNotice::Due;
        loop {
            let now = self.coordinator.now();
            let step = match place.standing(now) {
                Standing::Dissolved => return Err(LockError::ShutDown),
                Standing::Behind => Step::Sleep(give_up),
                Standing::Head(step) => step,
            };
            let left = now.until(give_up);
            if left.is_zero() {
                return Err(self.timeout(place.reason()));
            }
            match step {
                Step::Sleep(until) => place.changed(until.min(give_up)).await,
                Step::Register(manner) => place.register(manner, left).await,
                Step::Attempt => {
                    attempt = attempt.saturating_add(1);
                    place.handle_attempt();
                    // Whoever is in line sees to it that nobody sleeps beside a free lock, also when it leaves.
                    let limit = self.node_timeout().min(left);
                    match self.attempt(terms, limit, Wake::Nobody, attempt).await {
                        Ok(guard) => {
                            place.handle_acquired();
                            return Ok(guard);
                        }
                        Err(error) if is_final(&error) => return Err(error),
                        Err(error) => {
                            quarantine.give(&error, self.left(give_up), &self.coordinator);
                            place.handle_failed(error, limit);
                        }
                    }
                }
            }
        }
    }
}

/// Whether waiting does not help.
pub(super) fn is_final(error: &LockError) -> bool {
    match error {
        LockError::Invalid(_)
        | LockError::ShutDown
        | LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. } => true,
        LockError::Contended { .. }
        | LockError::NoQuorum { .. }
        | LockError::TooLate { .. }
        | LockError::Timeout { .. } => false,
    }
}
