//! One resource, one holder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::Guard;
use super::quarantine::QuarantineNotice;
use super::wait::is_final;
use crate::config::{Keep, KeepAlive, LeaseTerms, MaxHold};
use crate::coordinator::{Coordinator, HeldLease};
use crate::error::{LockError, SettingsError};
use crate::protocol::{Pause, Retry};
use crate::types::{Moment, Resource, Wake};

/// A named lock that one owner at a time can hold. Made by [`Redlock::mutex`](crate::Redlock::mutex); cheap to
/// make and to clone.
///
/// Not reentrant: a second `lock` of the same name waits for the first guard, also in the same task.
#[derive(Clone)]
#[must_use = "a mutex does nothing until it is locked"]
pub struct Mutex {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) resource: Resource,
    ttl: Duration,
    min_validity: Option<Duration>,
    max_wait: Duration,
    pub(super) retry: Retry,
    keep: Keep,
}

impl Mutex {
    pub(crate) fn new(coordinator: Arc<Coordinator>, name: &str) -> Result<Self, SettingsError> {
        let settings = coordinator.settings();
        Ok(Self {
            resource: settings.resource(name)?,
            ttl: settings.ttl.as_duration(),
            min_validity: None,
            max_wait: settings.max_wait,
            retry: settings.retry(),
            keep: settings.keep,
            coordinator,
        })
    }

    /// Time to live of the lease, instead of the client's: 10 ms to `max_ttl`, in whole milliseconds. A value out
    /// of these bounds is answered by `lock` with [`LockError::Invalid`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How much of the lease has to be left when it is handed over, instead of the client's; below the TTL less
    /// its drift.
    pub fn min_validity(mut self, min_validity: Duration) -> Self {
        self.min_validity = Some(min_validity);
        self
    }

    /// Longest time that [`lock`](Mutex::lock) waits in all, instead of the client's; zero means a single attempt.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Whether the lease is renewed for as long as its guard lives, instead of the client's choice. Without, it ends
    /// a TTL after it was acquired or [extended](Guard::extend).
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep.alive = KeepAlive::when(keep_alive);
        self
    }

    /// The longest that the lock may be held, at least 10 ms, instead of the client's: then it is released, and its
    /// holder told as of any other loss.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.keep.max_hold = MaxHold::For(max_hold);
        self
    }

    /// How [`lock`](Mutex::lock) waits, instead of the client's.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Waits until the lock is ours, for at most `max_wait`.
    ///
    /// Nodes that are down or in quarantine count as lost votes; the wait goes on through an outage, for nodes come
    /// back. A wait for the end of a quarantine is told once, by a warning in the log.
    ///
    /// # Errors
    ///
    /// - [`LockError::Timeout`]: `max_wait` is over; it carries the last attempt's error.
    /// - [`LockError::Contended`], [`LockError::NoQuorum`], [`LockError::TooLate`]: the last of the attempts that
    ///   the [`Retry`] strategy allows ended so. A waiter whose own terms cannot be met goes to the end of the line.
    /// - [`LockError::Invalid`]: a setting of this lock is out of its bounds.
    /// - [`LockError::ClockSkew`], [`LockError::FenceTooHigh`]: no fencing token can be had; waiting does not help.
    /// - [`LockError::ShutDown`]: the client is shut down.
    /// - [`LockError::RuntimeEnded`]: the runtime in which the client was connected has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropped at any point, every node that may have planted the key is told to remove it, and the next
    /// waiter goes on at once. A future that is neither polled nor dropped, as one that a `select!` in a loop has put aside
    /// for long, keeps those behind it in this process waiting.
    pub async fn lock(&self) -> Result<Guard, LockError> {
        let terms = self.terms()?;
        let started = self.coordinator.now();
        let give_up = started + self.max_wait;
        let span = tracing::debug_span!("lock", resource = self.resource.name());
        let wait = async {
            let mut waited = self.coordinator.start_wait();
            let guard = if self.retry.is_fifo() && !self.max_wait.is_zero() {
                self.lock_in_turn(terms, give_up).await
            } else {
                self.lock_by_trying(terms, give_up).await
            };
            waited.handle_ended(&guard);
            tracing::debug!(elapsed = ?started.until(self.coordinator.now()), locked = guard.is_ok(), "waited");
            guard
        };
        wait.instrument(span).await
    }

    /// Plain trying again.
    async fn lock_by_trying(&self, terms: LeaseTerms, give_up: Moment) -> Result<Guard, LockError> {
        let (mut attempt, mut last) = (1_u32, None);
        let mut quarantine = QuarantineNotice::Due;
        loop {
            let limit = self.attempt_limit(give_up);
            let error = match self.attempt(terms, limit, Wake::Next, attempt).await {
                Ok(guard) => return Ok(guard),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => match last.take() {
                    // An attempt that the end of the wait cut short has nothing to say of the nodes.
                    Some(earlier) if limit < self.node_timeout() => earlier,
                    Some(_) | None => error,
                },
            };
            let pause = match self.retry.pause(attempt, self.coordinator.random_u64()) {
                Pause::For(pause) => pause,
                Pause::GiveUp => return Err(error),
            };
            quarantine.give(&error, self.left(give_up), &self.coordinator);
            tokio::time::sleep(pause.min(self.left(give_up))).await;
            if self.left(give_up).is_zero() {
                return Err(self.timeout(error));
            }
            attempt = attempt.saturating_add(1);
            last = Some(error);
        }
    }

    /// One attempt; never waits for another owner. At most `node_timeout`.
    ///
    /// # Errors
    ///
    /// As [`lock`](Mutex::lock), without `Timeout`. [`LockError::Contended`] is the ordinary answer when somebody
    /// else holds the lock.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropped at any point, every node that may have planted the key is told to remove it.
    pub async fn try_lock(&self) -> Result<Guard, LockError> {
        let terms = self.terms()?;
        self.attempt(terms, self.node_timeout(), Wake::Next, 1).await
    }

    /// Attempt number `attempt`; `rollback`: whom its releases call if it is lost.
    pub(super) async fn attempt(
        &self,
        terms: LeaseTerms,
        limit: Duration,
        rollback: Wake,
        attempt: u32,
    ) -> Result<Guard, LockError> {
        // Answers that come when too little of the lease is left cannot win it any more.
        let limit = limit.min(terms.ttl.as_duration().saturating_sub(terms.min_validity));
        let span = tracing::debug_span!("attempt", resource = self.resource.name(), attempt);
        let started = self.coordinator.now();
        let attempt = async {
            let held = self.coordinator.acquire(&self.resource, terms, limit, rollback).await;
            let guard = held.and_then(|held| HeldLease::hold(held, self.keep)).map(Guard::new);
            let elapsed = || started.until(self.coordinator.now());
            match &guard {
                Ok(_) => tracing::debug!(elapsed = ?elapsed(), "acquired"),
                Err(error) => tracing::debug!(elapsed = ?elapsed(), %error, "attempt lost"),
            }
            guard
        };
        attempt.instrument(span).await
    }

    fn terms(&self) -> Result<LeaseTerms, SettingsError> {
        self.keep.check()?;
        self.coordinator.settings().lease_terms(self.ttl, self.min_validity)
    }

    pub(super) fn timeout(&self, last: LockError) -> LockError {
        LockError::Timeout { max_wait: self.max_wait, last: Box::new(last) }
    }

    pub(super) fn node_timeout(&self) -> Duration {
        self.coordinator.settings().node_timeout
    }

    /// An attempt ends with the wait, unless there is to be a single one.
    fn attempt_limit(&self, give_up: Moment) -> Duration {
        if self.max_wait.is_zero() {
            self.node_timeout()
        } else {
            self.node_timeout().min(self.left(give_up))
        }
    }

    pub(super) fn left(&self, give_up: Moment) -> Duration {
        self.coordinator.now().until(give_up)
    }
}

impl fmt::Debug for Mutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("resource", &self.resource.name())
            .field("ttl", &self.ttl)
            .field("max_wait", &self.max_wait)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
