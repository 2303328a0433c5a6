//! Waiting for a lock in turn: by a line in this process, and a queue between processes.

use std::time::Duration;

use super::quarantine::QuarantineNotice;
use super::{Guard, Mutex};
use crate::config::LeaseTerms;
use crate::coordinator::Position;
use crate::error::{LockError, NodeFailure};
use crate::protocol::{Pause, Step};
use crate::types::{Moment, Wake};

impl Mutex {
    /// Waits in line; the head of it asks the nodes, when there is something to be had.
    pub(super) async fn lock_in_turn(&self, terms: LeaseTerms, give_up: Moment) -> Result<Guard, LockError> {
        let mut place = self.coordinator.join_wait_queue(&self.resource, self.retry);
        let (mut attempt, mut cut_short) = (0_u32, 0_u32);
        // Why our own terms could not be met, if the last attempt ended so.
        let mut unmet = None;
        let mut quarantine = QuarantineNotice::Due;
        loop {
            let now = self.coordinator.now();
            let step = match place.position(now) {
                Position::Closed => return Err(LockError::ShutDown),
                Position::Behind => Step::Sleep(give_up),
                Position::Head(step) => step,
            };
            let left = now.until(give_up);
            if left.is_zero() {
                return Err(self.timeout(unmet.unwrap_or_else(|| place.reason())));
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
                        Err(error) if is_cut_short(&error, self.node_timeout()) => {
                            cut_short = cut_short.saturating_add(1);
                            let pause = match self.retry.pause(cut_short, self.coordinator.random_u64()) {
                                Pause::For(pause) => pause,
                                Pause::GiveUp => return Err(error),
                            };
                            // Others may have terms that can be met: they go on at once.
                            unmet = Some(place.step_aside(error, unmet, limit));
                            tokio::time::sleep(pause.min(self.left(give_up))).await;
                            place = self.coordinator.join_wait_queue(&self.resource, self.retry);
                        }
                        Err(error) => {
                            unmet = None;
                            quarantine.give(&error, self.left(give_up), &self.coordinator);
                            place.handle_failed(error, limit);
                        }
                    }
                }
            }
        }
    }
}

/// Whether the attempt ended because its own terms, or the rest of its wait, left less time than a node may take. The
/// nodes may be well, and others get the lock.
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
        | LockError::ShutDown
        | LockError::RuntimeEnded => false,
    }
}

/// Whether waiting does not help.
pub(super) fn is_final(error: &LockError) -> bool {
    match error {
        LockError::Invalid(_)
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
