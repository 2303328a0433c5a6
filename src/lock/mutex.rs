//! The mutex and its guard.

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

/// A named lock that one owner at a time can hold. [`Redlock::mutex`](crate::Redlock::mutex) makes one; cheap to make
/// and to clone.
///
/// Not reentrant: a second `lock` of the same name waits for the first guard, even in the same task.
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

    /// Time to live of the lease, instead of the client's default: 10 ms to `max_ttl`, rounded down to whole
    /// milliseconds. [`lock`](Mutex::lock) returns [`LockError::Invalid`] for a value out of these bounds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How much of the lease must be left when `lock` returns the guard, instead of the client's default. Must be below
    /// the TTL minus its drift; otherwise `lock` returns [`LockError::Invalid`].
    pub fn min_validity(mut self, min_validity: Duration) -> Self {
        self.min_validity = Some(min_validity);
        self
    }

    /// Longest time that [`lock`](Mutex::lock) waits in all, instead of the client's default. Zero means a single
    /// attempt.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Whether the client renews the lease as long as its guard lives, instead of the client's default. Without
    /// renewal, the lease expires a TTL after it was acquired or [extended](Guard::extend).
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep.alive = KeepAlive::when(keep_alive);
        self
    }

    /// Longest time that the lock may be held, at least 10 ms, instead of the client's default. The client then
    /// releases the lock, and the holder sees a loss ([`Loss::MaxHold`]).
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.keep.max_hold = MaxHold::For(max_hold);
        self
    }

    /// How [`lock`](Mutex::lock) waits, instead of the client's default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Waits until the lock is acquired, for at most `max_wait`.
    ///
    /// Nodes that are down or in quarantine count as lost votes. The wait continues through an outage, because nodes
    /// come back. A wait for the end of a quarantine is logged once, as a warning.
    ///
    /// # Errors
    ///
    /// - [`LockError::Timeout`]: `max_wait` has passed; the error contains the last attempt's error.
    /// - [`LockError::Contended`], [`LockError::NoQuorum`], [`LockError::TooLate`]: the last attempt that the [`Retry`]
    ///   strategy allows failed with this error. With [`Retry::fifo`], a waiter whose TTL or `min_validity` leaves the
    ///   nodes too little time to answer goes to the end of the wait queue.
    /// - [`LockError::Invalid`]: a setting of this lock is out of its bounds.
    /// - [`LockError::ClockSkew`], [`LockError::FenceTooHigh`]: there is no valid fencing token; waiting does not help.
    /// - [`LockError::ShutDown`]: the client is shut down.
    /// - [`LockError::RuntimeEnded`]: the runtime in which the client was connected has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. When the future is dropped, every node that may have set the key is asked to remove it, and the
    /// next waiter continues at once. A future that is neither polled nor dropped blocks the waiters behind it in this
    /// process; an example is a future that a `select!` in a loop keeps but does not poll.
    pub async fn lock(&self) -> Result<Guard, LockError> {
        let held = self.coordinator.lock(&self.request()?).await?;
        Ok(Guard { held })
    }

    /// Makes one attempt, of at most `node_timeout`; never waits for another owner.
    ///
    /// # Errors
    ///
    /// As [`lock`](Mutex::lock), without `Timeout`. [`LockError::Contended`] is the ordinary result when another owner
    /// holds the lock.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. When the future is dropped, every node that may have set the key is asked to remove it.
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
/// Dropping the guard releases the lock in the background: a task of the client sends the release, and repeats it as
/// long as the key could still be on a node. [`release`](Guard::release) also waits for the confirmation.
///
/// The lease expires at its deadline even if the guard still exists. No lock service can stop a holder that is paused
/// beyond the deadline: check [`is_valid`](Guard::is_valid) right before each protected step, and see SAFETY.md for the
/// remaining risk.
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    held: Arc<HeldLease>,
}

impl Guard {
    /// The name of the lock.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.held.resource().name()
    }

    /// The value of the key on the nodes: the owner label and 128 random bits, unique to this attempt. Suitable for
    /// check-and-set on the resource itself.
    #[must_use]
    pub fn token(&self) -> &str {
        self.held.token().as_str()
    }

    /// The fencing token: a number larger than the token of every earlier lock of this resource. The resource should
    /// refuse a token lower than the highest one it has seen. An extension does not change the token. 0 when fencing is
    /// [off](crate::Fencing::Off).
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.held.fencing_token()
    }

    /// Whether the lease is held at this moment. On Linux and Android the clock counts the time that the machine is
    /// suspended; elsewhere the clock may stand still then.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.held.deadline().is_some()
    }

    /// The lease, for the simulation to watch it.
    #[cfg(test)]
    pub(crate) fn lease(&self) -> &Arc<HeldLease> {
        &self.held
    }

    /// Time left until the deadline; zero once the lease has ended. Drift is already subtracted.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.held.deadline().map_or(Duration::ZERO, |(now, deadline)| now.until(deadline))
    }

    /// The instant until which the lease is exclusively held; the current instant once the lease has ended. Drift is
    /// already subtracted.
    ///
    /// `Instant` stands still while the machine is suspended, but the lease goes on expiring. After a suspend, ask for
    /// the deadline again.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "translates a moment of our clock into the standard library's"
    )]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.remaining()
    }

    /// Extends the lease to `ttl` from now, 10 ms to `max_ttl`. Never shortens the lease: a quorum of nodes keeps the
    /// lock at least as long as before.
    ///
    /// # Errors
    ///
    /// - [`ExtendError::Lost`]: the deadline has passed, or too many nodes no longer hold the lock. A lease that has
    ///   ended is never revived, because another client may have held the lock since.
    /// - [`ExtendError::NoQuorum`]: too few nodes answered; the old deadline stands.
    /// - [`ExtendError::Invalid`]: `ttl` is out of its bounds.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. When the future is dropped, the old deadline stands.
    pub async fn extend(&mut self, ttl: Duration) -> Result<(), ExtendError> {
        let terms = self.held.settings().lease_terms(ttl, Some(Duration::ZERO))?;
        self.held.extend(terms.ttl).await
    }

    /// Releases the lock. Returns when a quorum of nodes has confirmed the release, after at most `node_timeout`; the
    /// release on the other nodes continues in the background.
    ///
    /// A lease that had already expired is no error: the result is [`Released::AlreadyExpired`].
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Unconfirmed`] when fewer nodes than a quorum confirmed. The release continues in the background.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the release continues in the background.
    pub async fn release(self) -> Result<Released, ReleaseError> {
        self.held.release().await
    }

    /// Waits until the lease is lost, and returns the reason. Never returns while the lease is still exclusively held.
    ///
    /// On Linux the future completes within milliseconds of the deadline, or right after the machine resumes when the
    /// deadline passed during a suspend. When the runtime in which the client was connected ends, the lease is lost and
    /// the future completes at once. Any number of tasks may wait, in any runtime; each uses a timer of its own.
    ///
    /// # Panics
    ///
    /// When polled in a tokio runtime whose timers are disabled.
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
                // Checked first: after a stop or suspend the first poll reports the loss, whatever the timers say.
                if let Some(loss) = self.held.loss() {
                    return Poll::Ready(loss);
                }
                let over = ended.as_mut().poll(cx).is_ready();
                match self.held.deadline() {
                    // A timer of our own, because the keeper's runtime may be blocked. A renewal moves the deadline.
                    Some((_, deadline)) if !over => ready!(alarm.poll_reached(deadline, cx)),
                    // The lease may have ended since `loss` was asked above.
                    Some(_) | None => return self.held.loss().map_or(Poll::Pending, Poll::Ready),
                }
            }
        })
        .await
    }

    pub(super) fn loss(&self) -> Option<Loss> {
        self.held.loss()
    }

    /// A token that is cancelled as soon as the lease ends: when it is lost or released, or when its guard is dropped.
    /// Pass the token to work that does not have the guard.
    ///
    /// A task in the runtime in which the client was connected cancels the token. While that runtime is blocked, only
    /// [`lost`](Self::lost) and [`Mutex::run`](crate::Mutex::run) notice the deadline.
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

    /// A `&Guard` that a spawned task holds across an await needs `Sync`.
    #[test]
    fn a_guard_can_be_shared_and_sent() {
        fn assert_send_and_sync<T: Send + Sync + 'static>() {}
        assert_send_and_sync::<Guard>();
        assert_send_and_sync::<crate::Mutex>();
        assert_send_and_sync::<crate::Redlock>();
    }
}
