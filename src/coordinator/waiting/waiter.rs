//! One waiter's place in a line.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Queue;
use crate::coordinator::Coordinator;
use crate::error::{LockError, NodeFailure, NodeVote};
use crate::node::{Leave, Register};
use crate::protocol::{AfterLeaving, Contender, Retry, RoundFailure, Step};
use crate::types::{Manner, Moment, NodeId, Resource};

/// Dropped, it leaves the line at once: the next one is the head, or, where nobody is left, others are called.
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

/// What a waiter has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Nothing: others come first.
    Behind,
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
        let board = self.coordinator.wait_queues.board();
        match board.queues.get(&self.resource) {
            None => Position::Closed,
            Some(queue) if queue.waiters.is_head(self.number) => {
                Position::Head(queue.waiters.contender.step(now))
            }
            Some(_) => Position::Behind,
        }
    }

    /// Returns when something may have changed, and at `until` at the latest. Cancel safe.
    pub(crate) async fn changed(&self, until: Moment) {
        let began = self.coordinator.now();
        // Those behind have nothing to do with it.
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

    /// Gets into the lock's queue, or looks whether it is our turn there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropped half way, it is as if the answer had been lost.
    pub(crate) async fn register(&self, manner: Manner, limit: Duration) {
        let coordinator = &self.coordinator;
        let Some((node, link)) = coordinator.queue_node(&self.resource) else {
            // Nobody can call us. Then it is plain trying again.
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
            self.leave_queue(before);
        }
        let node_timeout = coordinator.settings.node_timeout;
        let command = Register::new(
            &self.resource,
            &coordinator.wait_queues.channel,
            ticket.as_ref(),
            manner,
            node_timeout,
        );
        let answer = tokio::time::timeout(limit.min(node_timeout), link.send(command)).await;
        match answer {
            Ok(Ok((turn, ticket))) => {
                self.trace(node, &format_args!("{turn:?}"));
                let (now, random) = (coordinator.now(), self.coordinator.random_u64());
                self.with_contender(|contender| contender.handle_registered(turn, ticket, now, random));
            }
            Ok(Err(failure)) => {
                if let NodeFailure::Permission { detail } = &failure {
                    coordinator.wait_queues.notify_warning.warn_once(coordinator.node(node).name(), detail);
                }
                self.handle_queue_lost(node, &failure);
            }
            Err(_) if limit >= node_timeout => self.handle_queue_lost(node, &"no answer"),
            // The wait is over, which says nothing of the node.
            Err(_) => {}
        }
    }

    /// An attempt begins.
    pub(crate) fn handle_attempt(&self) {
        self.with_contender(Contender::handle_attempt);
    }

    /// An attempt was lost for reasons that are this waiter's own: leaves the line at once, for the others. Answers what
    /// kept the lock from this waiter, which was `earlier` before. `limit` as in [`handle_failed`](Self::handle_failed).
    pub(crate) fn step_aside(
        self,
        error: LockError,
        earlier: Option<LockError>,
        limit: Duration,
    ) -> LockError {
        let of_line = || self.with_queue(|queue| queue.last.clone()).flatten();
        if self.is_cut_by_the_wait(limit) { earlier.or_else(of_line).unwrap_or(error) } else { error }
    }

    /// It was lost. It had waited for answers until `limit` at most.
    pub(crate) fn handle_failed(&self, error: LockError, limit: Duration) {
        match &error {
            LockError::Contended { .. } => self.with_contender(Contender::handle_lost),
            LockError::NoQuorum { .. }
            | LockError::TooLate { .. }
            | LockError::ClockSkew { .. }
            | LockError::FenceTooHigh { .. }
            | LockError::Timeout { .. }
            | LockError::Invalid(_)
            | LockError::ShutDown
            | LockError::RuntimeEnded => {
                self.handle_outage();
                // It may have been called, and others may reach more nodes. They get in line before it.
                if let Some((node, _)) = self.with_queue(|queue| queue.at.take()).flatten() {
                    self.leave_queue(node);
                }
            }
        }
        let cut_short = self.is_cut_by_the_wait(limit);
        self.with_queue(|queue| match &queue.last {
            Some(_) if cut_short => {}
            Some(_) | None => queue.last = Some(error),
        });
    }

    /// Then it has nothing to say of the nodes.
    fn is_cut_by_the_wait(&self, limit: Duration) -> bool {
        limit < self.coordinator.settings.node_timeout
    }

    /// What keeps the lock from those in line.
    pub(crate) fn reason(&self) -> LockError {
        let last = self.with_queue(|queue| queue.last.clone()).flatten();
        // Otherwise a holder in this process has won it since, or nobody has needed to ask all nodes.
        last.unwrap_or_else(|| {
            let nobody_asked = self.coordinator.node_ids().map(|_| NodeVote::NotAwaited).collect();
            self.coordinator.failed(&self.resource, RoundFailure::Contended, nobody_asked)
        })
    }

    fn handle_outage(&self) {
        let (now, random) = (self.coordinator.now(), self.coordinator.random_u64());
        self.with_contender(|contender| contender.handle_outage(self.retry, now, random));
    }

    /// It was won.
    pub(crate) fn handle_acquired(mut self) {
        self.stage = Stage::Acquired;
        let now = self.coordinator.now();
        let mut board = self.coordinator.wait_queues.board();
        let Some(queue) = board.queues.get_mut(&self.resource) else { return };
        // Whoever is next takes over our entry in the queue, with a ticket of its own.
        let at = queue.at;
        queue.last = None;
        match queue.waiters.handle_acquired(self.number, now) {
            AfterLeaving::SameHead => {}
            AfterLeaving::NewHead(head) => {
                // Wakers run other people's code.
                drop(board);
                head.notify_one();
            }
            AfterLeaving::Empty => {
                board.queues.remove(&self.resource);
                let Some((node, _)) = at else { return };
                board.remember_wanted(&self.resource, now);
                drop(board);
                // Our own release takes a client out that was called, but only where it finds the key: not on a
                // node whose answer was not needed, and whose command had not left us by then.
                self.leave_queue(node);
            }
        }
    }

    fn leave_queue(&self, node: NodeId) {
        let Coordinator { wait_queues, settings, .. } = &*self.coordinator;
        let leave = Leave::new(&self.resource, &wait_queues.channel, settings.node_timeout);
        self.coordinator.node(node).notify(leave);
    }

    fn handle_queue_lost(&self, node: NodeId, reason: &dyn std::fmt::Display) {
        self.trace(node, reason);
        self.coordinator.avoid(node);
        self.with_queue(|queue| {
            queue.at = None;
            queue.waiters.contender.handle_queue_lost();
        });
        // When it goes on it may register us, behind which comes this.
        self.leave_queue(node);
    }

    fn trace(&self, node: NodeId, turn: &dyn std::fmt::Display) {
        let (resource, node) = (self.resource.name(), self.coordinator.node(node).name());
        tracing::debug!(resource, %node, %turn, "registered");
    }

    fn with_contender(&self, change: impl FnOnce(&mut Contender)) {
        self.with_queue(|queue| change(&mut queue.waiters.contender));
    }

    /// `None` where the line is dissolved.
    fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        self.coordinator.wait_queues.board().queues.get_mut(&self.resource).map(change)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        match self.stage {
            Stage::Waiting => {}
            Stage::Acquired => return,
        }
        let mut board = self.coordinator.wait_queues.board();
        let Some(queue) = board.queues.get_mut(&self.resource) else { return };
        match queue.waiters.handle_left(self.number) {
            AfterLeaving::SameHead => {}
            AfterLeaving::NewHead(head) => {
                drop(board);
                head.notify_one();
            }
            AfterLeaving::Empty => {
                board.queues.remove(&self.resource);
                drop(board);
                self.coordinator.leave_queues(&self.resource);
            }
        }
    }
}
