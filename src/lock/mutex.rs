//! One resource, one holder.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{Keep, KeepAlive, MaxHold};
use crate::coordinator::{Coordinator, HeldLease, LockRequest};
use crate::error::{ExtendError, LockError, Loss, ReleaseError, Released, SettingsError};
use crate::protocol::Retry;
use crate::types::{FencingToken, Resource};

/// A named lock that one owner at a time can hold. Made by [`Redlock::mutex`](crate::Redlock::mutex); cheap to
/// make and to clone.
///
/// Not reentrant: a second `lock` of the same name waits for the first guard, also in the same task.
#[derive(Clone)]
#[must_use = "a mutex does nothing until it is locked"]
pub struct Mutex {
    coordinator: Arc<Coordinator>,
    resource: Resource,
    ttl: Duration,
    min_validity: Option<Duration>,
    max_wait: Duration,
    retry: Retry,
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
        let held = self.coordinator.lock(&self.request()?).await?;
        Ok(Guard { held })
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
        let held = self.coordinator.try_lock(&self.request()?).await?;
        Ok(Guard { held })
    }

    fn request(&self) -> Result<LockRequest<'_>, SettingsError> {
        self.keep.check()?;
        Ok(LockRequest {
            resource: &self.resource,
            terms: self.coordinator.settings().lease_terms(self.ttl, self.min_validity)?,
            keep: self.keep,
            retry: self.retry,
            max_wait: self.max_wait,
        })
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

/// A lock that is held, until its [`deadline`](Guard::deadline).
///
/// Dropping the guard releases the lock in the background: the release is handed to a task of the client and
/// retried while the key could still be on a node. [`release`](Guard::release) does the same and waits for the
/// confirmation.
///
/// The lease ends at its deadline whether the guard still exists or not. No lock service can stop a holder that is
/// paused beyond it: check [`is_valid`](Guard::is_valid) close to what you protect, and see SAFETY.md for what
/// remains.
#[must_use = "the lock is reheld when its guard is dropped"]
pub struct Guard {
    held: Arc<HeldLease>,
}

impl Guard {
    /// The name that is locked.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.held.resource().name()
    }

    /// The value of the key on the nodes: the owner label and 128 random bits, never used by any other attempt.
    /// Good for check-and-set on the resource itself.
    #[must_use]
    pub fn token(&self) -> &str {
        self.held.token().as_str()
    }

    /// A number larger than that of every earlier lock of this resource, for the resource to check: it should
    /// refuse a token lower than the highest that it has seen. Extensions keep it. 0 when fencing is
    /// [off](crate::Fencing::Off).
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.held.fencing_token()
    }

    /// Whether the lease is ours at this moment, by a clock that counts suspend.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.held.deadline().is_some()
    }

    /// Time left until the deadline; zero once the lease is over. Drift is already subtracted.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.held.deadline().map_or(Duration::ZERO, |(now, deadline)| now.until(deadline))
    }

    /// The instant until which the lease is exclusively ours, in the past or now once it is over. Drift is
    /// already subtracted.
    ///
    /// `Instant` stands still while the machine is suspended; the lease does not. After a suspend ask again.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "translates a moment of our clock into the standard library's"
    )]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.remaining()
    }

    /// Lets the lease live for `ttl` from now on, 10 ms to `max_ttl`. Never shortens it: a quorum of nodes keeps
    /// the lock at least as long as before.
    ///
    /// # Errors
    ///
    /// - [`ExtendError::Lost`]: the deadline has passed, or too many nodes no longer hold the lock. A lease that
    ///   is over is never revived, for another client may have held the lock since.
    /// - [`ExtendError::NoQuorum`]: too few nodes answered; the old deadline stands.
    /// - [`ExtendError::Invalid`]: `ttl` is out of its bounds.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropped half way, the old deadline stands.
    pub async fn extend(&mut self, ttl: Duration) -> Result<(), ExtendError> {
        let terms = self.held.settings().lease_terms(ttl, Some(Duration::ZERO))?;
        self.held.extend(terms.ttl).await
    }

    /// Releases the lock and returns when a quorum of nodes has confirmed; the others are seen to in the
    /// background. At most `node_timeout`.
    ///
    /// A lease that had already expired is no error: the outcome says so.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Unconfirmed`] when fewer nodes than a quorum answered. The release goes on in the
    /// background.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the release goes on in the background.
    pub async fn release(self) -> Result<Released, ReleaseError> {
        self.held.release().await
    }

    /// Returns when the lease is over although nobody reheld it, and why; never before it is in doubt. On Linux
    /// within milliseconds of the deadline, and right after a resume that was too late for it. Any number of tasks
    /// may wait, each with a timer of its own, in whatever runtime. When the runtime in which the client was connected
    /// ends, the lease is lost with it, and that is told at once.
    ///
    /// # Panics
    ///
    /// In a tokio runtime whose timers are disabled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> Loss {
        let ended = self.held.cancellation_token();
        let mut ended = pin!(ended.cancelled());
        let mut alarm = self.held.alarm();
        poll_fn(|cx| {
            loop {
                // Whoever was stopped or suspended learns at its first step, whatever its timers say.
                if let Some(loss) = self.held.loss() {
                    return Poll::Ready(loss);
                }
                let over = ended.as_mut().poll(cx).is_ready();
                match self.held.deadline() {
                    // An alarm of our own: the keeper's runtime may stand still. It has moved if the lease was renewed.
                    Some((_, deadline)) if !over => ready!(alarm.poll_reached(deadline, cx)),
                    // Between the questions.
                    Some(_) | None => return self.held.loss().map_or(Poll::Pending, Poll::Ready),
                }
            }
        })
        .await
    }

    pub(super) fn loss(&self) -> Option<Loss> {
        self.held.loss()
    }

    /// Cancelled as soon as the lease is over: when it is lost, and when it is reheld or its guard dropped. For
    /// work that is not done where the guard is. A task in the runtime in which the client was connected sees to it: while
    /// that runtime stands still only [`lost`](Self::lost) and [`Mutex::run`](crate::Mutex::run) notice the deadline.
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        self.held.cancellation_token()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.held.give_up();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("resource", &self.resource())
            .field("token", &self.token())
            .field("remaining", &self.remaining())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `&Guard` that lives across an await of a spawned task needs `Sync`.
    #[test]
    fn a_guard_can_be_shared_and_sent() {
        fn assert_send_and_sync<T: Send + Sync + 'static>() {}
        assert_send_and_sync::<Guard>();
        assert_send_and_sync::<crate::Mutex>();
        assert_send_and_sync::<crate::Redlock>();
    }
}
