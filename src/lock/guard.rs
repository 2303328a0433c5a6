//! A lock that is held.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::coordinator::HeldLease;
use crate::error::{ExtendError, Loss, ReleaseError, Released};
use crate::types::FencingToken;

/// A lock that is held, until its [`deadline`](Guard::deadline).
///
/// Dropping the guard releases the lock in the background: the release is handed to a task of the client and
/// retried while the key could still be on a node. [`release`](Guard::release) does the same and waits for the
/// confirmation.
///
/// The lease ends at its deadline whether the guard still exists or not. No lock service can stop a holder that is
/// paused beyond it: check [`is_valid`](Guard::is_valid) close to what you protect, and see SAFETY.md for what
/// remains.
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    leased: Arc<HeldLease>,
}

impl Guard {
    pub(super) fn new(leased: Arc<HeldLease>) -> Self {
        Self { leased }
    }

    /// The name that is locked.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.leased.resource().name()
    }

    /// The value of the key on the nodes: the owner label and 128 random bits, never used by any other attempt.
    /// Good for check-and-set on the resource itself.
    #[must_use]
    pub fn token(&self) -> &str {
        self.leased.token().as_str()
    }

    /// A number larger than that of every earlier lock of this resource, for the resource to check: it should
    /// refuse a token lower than the highest that it has seen. Extensions keep it. 0 when fencing is
    /// [off](crate::Fencing::Off).
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.leased.fencing_token()
    }

    /// Whether the lease is ours at this moment, by a clock that counts suspend.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.leased.deadline().is_some()
    }

    /// Time left until the deadline; zero once the lease is over. Drift is already subtracted.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.leased.deadline().map_or(Duration::ZERO, |(now, deadline)| now.until(deadline))
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
        let terms = self.leased.settings().lease_terms(ttl, Some(Duration::ZERO))?;
        self.leased.extend(terms.ttl).await
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
        self.leased.release().await
    }

    /// Returns when the lease is over although nobody released it, and why; never before it is in doubt. On Linux
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
        let ended = self.leased.cancellation_token();
        let mut ended = pin!(ended.cancelled());
        let mut alarm = self.leased.alarm();
        poll_fn(|cx| {
            loop {
                // Whoever was stopped or suspended learns at its first step, whatever its timers say.
                if let Some(loss) = self.leased.loss() {
                    return Poll::Ready(loss);
                }
                let over = ended.as_mut().poll(cx).is_ready();
                match self.leased.deadline() {
                    // An alarm of our own: the keeper's runtime may stand still. It has moved if the lease was renewed.
                    Some((_, deadline)) if !over => ready!(alarm.poll_reached(deadline, cx)),
                    // Between the questions.
                    Some(_) | None => return self.leased.loss().map_or(Poll::Pending, Poll::Ready),
                }
            }
        })
        .await
    }

    pub(super) fn loss(&self) -> Option<Loss> {
        self.leased.loss()
    }

    /// Cancelled as soon as the lease is over: when it is lost, and when it is released or its guard dropped. For
    /// work that is not done where the guard is. A task in the runtime in which the client was connected sees to it: while
    /// that runtime stands still only [`lost`](Self::lost) and [`Mutex::run`](crate::Mutex::run) notice the deadline.
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        self.leased.cancellation_token()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.leased.give_up();
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
