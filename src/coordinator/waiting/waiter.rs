//! One waiter in the wait queue of a lock.

use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use crate::coordinator::Coordinator;
use crate::error::{LockError, NodeFailure, NodeVote};
use crate::node::{ForWhom, Leave, Register, Registered};
use crate::planted;
use crate::protocol::{AfterLeaving, Contender, Retry, RoundFailure, Step};
use crate::types::sync::Notify;
use crate::types::{Claim, Manner, Moment, NodeId, Resource};

/// A waiter in the local wait queue of a lock. A waiter that is dropped leaves the wait queue at once: the next waiter
/// becomes head, or, if none is left, other clients are notified.
pub(crate) struct Waiter {
    coordinator: Arc<Coordinator>,
    resource: Resource,
    retry: Retry,
    number: u64,
    woken: Arc<Notify>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Acquired,
}

/// How often a waiter that sleeps looks at the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    /// As often as the first in the queue.
    AsFirst,
    /// The less often, the more clients wait before this one.
    ByPlace,
}

/// A waiter's position, and what the waiter does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Behind the head: nothing to do.
    Behind,
    /// Head of the wait queue: the step of its contender.
    Head(Step),
    /// The client is shut down.
    Closed,
}

impl Waiter {
    pub(super) fn new(
        coordinator: Arc<Coordinator>,
        resource: Resource,
        retry: Retry,
        number: u64,
        woken: Arc<Notify>,
    ) -> Self {
        Self { coordinator, resource, retry, number, woken, stage: Stage::Waiting }
    }

    pub(crate) fn position(&self, now: Moment) -> Position {
        let state = self.coordinator.wait_queues.state();
        match state.queues.get(&self.resource).filter(|queue| queue.waiters.contains(self.number)) {
            None => Position::Closed,
            Some(queue) if queue.waiters.is_head(self.number) => {
                Position::Head(queue.waiters.contender.step(now))
            }
            Some(_) => Position::Behind,
        }
    }

    /// Returns when the waiter's position or step may have changed, and at `until` at the latest. Cancel safe.
    pub(crate) async fn changed(&self, until: Moment) {
        let began = self.coordinator.now();
        // Only the head watches the connection to the queue node.
        let at = self.with_queue(|queue| queue.waiters.is_head(self.number).then_some(queue.at)?).flatten();
        let gone = async {
            match at {
                Some((node, epoch)) => self.coordinator.node(node).left(epoch).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.woken.notified() => {}
            () = tokio::time::sleep(began.until(until)) => {}
            () = gone => {
                self.with_queue(|queue| {
                    queue.at = None;
                    queue.waiters.contender.handle_queue_lost();
                });
            }
        }
        tracing::trace!(elapsed = ?began.until(self.coordinator.now()), "woken");
    }

    /// Registers in the lock's queue on the queue node, or asks there whether it is our turn. `looks` says when to ask
    /// again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future has the same effect as a lost answer.
    pub(crate) async fn register(&self, claim: &Claim, manner: Manner, looks: Looks, limit: Duration) {
        let coordinator = &self.coordinator;
        let Some((node, link)) = coordinator.queue_node(&self.resource) else {
            // No node can notify us: try again after pauses instead.
            self.handle_outage();
            return;
        };
        let Some((before, ticket)) = self.with_queue(|queue| {
            let before = queue.at.replace((node, link.epoch()));
            (before, queue.waiters.contender.ticket().cloned())
        }) else {
            return;
        };
        if let Some((before, _)) = before.filter(|(before, _)| *before != node) {
            self.leave_queue(before, ForWhom::Owner);
        }
        let node_timeout = coordinator.settings.node_timeout;
        let command = Register::new(
            &self.resource,
            ForWhom::of(claim),
            &coordinator.wait_queues.channel,
            ticket.as_ref(),
            manner,
            node_timeout,
        );
        let answer = tokio::time::timeout(limit.min(node_timeout), link.send(command)).await;
        match answer {
            Ok(Ok(Registered { turn, ticket, slot, ahead })) => {
                self.trace(node, &format_args!("{turn:?}"));
                let (now, random) = (coordinator.now(), self.coordinator.random_u64());
                self.with_queue(|queue| {
                    queue.free_slot = slot;
                    queue.waiters.contender.handle_registered(
                        turn,
                        ticket,
                        match looks {
                            Looks::AsFirst => 0,
                            Looks::ByPlace => ahead,
                        },
                        self.retry.look_again(),
                        now,
                        random,
                    );
                });
            }
            Ok(Err(failure)) => {
                if let NodeFailure::Permission { detail } = &failure {
                    coordinator.wait_queues.notify_warning.warn_once(coordinator.node(node).name(), detail);
                }
                self.handle_queue_lost(node, &failure);
            }
            Err(_) if limit >= node_timeout => self.handle_queue_lost(node, &"no answer"),
            // The wait has ended, which says nothing about the node.
            Err(_) => {}
        }
    }

    /// Called when an attempt begins. Returns the slot of a semaphore that was last said to be free.
    pub(crate) fn handle_attempt(&self) -> Option<usize> {
        if planted::is(planted::Fault::LostNotification) {
            self.with_contender(Contender::handle_attempt_and_forget);
        } else {
            self.with_contender(Contender::handle_attempt);
        }
        self.with_queue(|queue| queue.free_slot.take()).flatten()
    }

    /// Leaves the wait queue, so that the other waiters continue at once, after an attempt that failed because this
    /// waiter allowed the nodes too little time. Returns the error to report if the wait ends now. `earlier` is the
    /// error that this method returned last time; `limit` as in [`handle_failed`](Self::handle_failed).
    pub(crate) fn step_aside(
        self,
        claim: &Claim,
        error: LockError,
        earlier: Option<LockError>,
        limit: Duration,
    ) -> LockError {
        let of_line = || self.last_of(claim);
        if self.is_cut_by_the_wait(limit) { earlier.or_else(of_line).unwrap_or(error) } else { error }
    }

    /// Called when the attempt has failed. `limit` is how long the attempt could wait for answers.
    pub(crate) fn handle_failed(&self, claim: &Claim, error: LockError, limit: Duration) {
        match &error {
            LockError::Contended { .. } => self.with_contender(Contender::handle_lost),
            LockError::NoQuorum { .. }
            | LockError::TooLate { .. }
            | LockError::ClockSkew { .. }
            | LockError::FenceTooHigh { .. }
            | LockError::Timeout { .. }
            | LockError::Invalid(_)
            | LockError::OtherPermits { .. }
            | LockError::ShutDown
            | LockError::RuntimeEnded => {
                self.handle_outage();
                // A notification may have caused the attempt, and other clients may reach more nodes. Leaving the queue
                // notifies the next client; we register again behind the others.
                if let Some((node, _)) = self.with_queue(|queue| queue.at.take()).flatten() {
                    self.leave_queue(node, ForWhom::Owner);
                }
            }
        }
        let cut_short = self.is_cut_by_the_wait(limit);
        self.with_queue(|queue| match &queue.last {
            Some(_) if cut_short => {}
            Some(_) | None => queue.last = Some((claim.clone(), error)),
        });
    }

    /// Whether the end of the wait cut the attempt short. The attempt's error then says nothing about the nodes.
    fn is_cut_by_the_wait(&self, limit: Duration) -> bool {
        limit < self.coordinator.settings.node_timeout
    }

    /// Why the waiters of this wait queue do not have the lock.
    pub(crate) fn reason(&self, claim: &Claim) -> LockError {
        // Without a failed attempt, the lock is contended: a waiter of this process has acquired the lock since, or the
        // queue node alone said that it was held.
        self.last_of(claim).unwrap_or_else(|| {
            let nobody_asked = self.coordinator.node_ids().map(|_| NodeVote::NotAwaited).collect();
            self.coordinator.failed(claim, RoundFailure::Contended, nobody_asked, Vec::new())
        })
    }

    /// The error of the last attempt, if it was an attempt at this claim. A wait queue may have waiters with other
    /// claims, such as several resources.
    fn last_of(&self, claim: &Claim) -> Option<LockError> {
        let last = self.with_queue(|queue| queue.last.clone()).flatten();
        last.filter(|(of, _)| of == claim).map(|(_, error)| error)
    }

    fn handle_outage(&self) {
        let (now, random) = (self.coordinator.now(), self.coordinator.random_u64());
        self.with_contender(|contender| contender.handle_outage(self.retry, now, random));
    }

    /// Called when the attempt has acquired the lock: leaves the wait queue.
    pub(crate) fn handle_acquired(mut self, claim: &Claim) {
        self.stage = Stage::Acquired;
        let now = self.coordinator.now();
        let mut state = self.coordinator.wait_queues.state();
        for other in claim.resources().iter().filter(|other| **other != self.resource) {
            if let Some(queue) = state.queues.get_mut(other) {
                queue.waiters.handle_won(now);
            }
        }
        let Some(queue) = state.queues.get_mut(&self.resource) else { return };
        // The next head takes over the client's entry in the queue node's queue, with a new ticket.
        let at = queue.at;
        queue.last = None;
        match queue.waiters.handle_acquired(self.number, now) {
            AfterLeaving::SameHead => {}
            AfterLeaving::NewHead(head) => {
                if claim.is_shared() {
                    // The next head may be a reader, too.
                    queue.waiters.contender.handle_notified();
                }
                // Unlocked first, because wakers run other code.
                drop(state);
                head.notify_one();
            }
            AfterLeaving::Empty => {
                state.queues.remove(&self.resource);
                let Some((node, _)) = at else { return };
                state.remember_wanted(&self.resource, now);
                drop(state);
                // Leave here, because our release does so only in one case: it removes a notified client from the queue
                // where it finds the key. The queue node may lack the key if its answer was not needed and the command
                // had not left this process by then.
                self.leave_queue(node, ForWhom::of(claim));
            }
        }
    }

    fn leave_queue(&self, node: NodeId, for_whom: ForWhom) {
        let Coordinator { wait_queues, settings, .. } = &*self.coordinator;
        let leave = Leave::new(&self.resource, for_whom, &wait_queues.channel, settings.node_timeout);
        self.coordinator.node(node).notify(leave);
    }

    fn handle_queue_lost(&self, node: NodeId, reason: &dyn std::fmt::Display) {
        self.trace(node, reason);
        self.coordinator.avoid(node);
        self.with_queue(|queue| {
            queue.at = None;
            queue.waiters.contender.handle_queue_lost();
        });
        // If the node resumes, it may still register us; this command comes after that one.
        self.leave_queue(node, ForWhom::Owner);
    }

    fn trace(&self, node: NodeId, turn: &dyn std::fmt::Display) {
        let (resource, node) = (self.resource.name(), self.coordinator.node(node).name());
        tracing::debug!(resource, %node, %turn, "registered");
    }

    fn with_contender(&self, change: impl FnOnce(&mut Contender)) {
        self.with_queue(|queue| change(&mut queue.waiters.contender));
    }

    /// Changes the wait queue; `None` if it no longer exists. A call of `lock` that comes after the shutdown makes a
    /// queue of its own, which is not ours.
    fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut state = self.coordinator.wait_queues.state();
        let queue = state.queues.get_mut(&self.resource)?;
        queue.waiters.contains(self.number).then(|| change(queue))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        match self.stage {
            Stage::Waiting => {}
            Stage::Acquired => return,
        }
        let mut state = self.coordinator.wait_queues.state();
        let Some(queue) = state.queues.get_mut(&self.resource) else { return };
        match queue.waiters.handle_left(self.number) {
            AfterLeaving::SameHead => {}
            AfterLeaving::NewHead(_) if planted::is(planted::Fault::LostWakeUp) => {}
            AfterLeaving::NewHead(head) => {
                drop(state);
                head.notify_one();
            }
            AfterLeaving::Empty => {
                state.queues.remove(&self.resource);
                drop(state);
                self.coordinator.leave_queues(&self.resource);
            }
        }
    }
}
