//! The guard of a lock that is held.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::coordinator::HeldLease;
use crate::error::{ExtendError, Loss, ReleaseError, Released};
use crate::types::{FencingToken, Resource};

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
    pub(super) held: Arc<HeldLease>,
}

impl Guard {
    /// The name of the lock; for several resources their names in alphabetical order, separated by commas.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.held.claim().name()
    }

    /// The names of all resources that are held, in alphabetical order.
    pub fn resources(&self) -> impl ExactSizeIterator<Item = &str> {
        self.held.claim().resources().iter().map(Resource::name)
    }

    /// The value of the key on the nodes: the owner label and 128 random bits, unique to this attempt. In place of the
    /// label, a leader has what it says of itself, which may be any text. Suitable for check-and-set on the resource
    /// itself.
    #[must_use]
    pub fn token(&self) -> &str {
        self.held.token().as_str()
    }

    /// The fencing token: a number larger than the token of every earlier lock of this resource; with several resources,
    /// of every earlier lock of each of them. The resource should
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

/// What a guard of a certain kind shares with all guards. The guard is a struct with the field `guard`.
macro_rules! is_a_guard {
    ($kind:ident) => {
        impl $kind {
            /// Releases the lock; see [`Guard::release`](crate::Guard::release).
            ///
            /// # Errors
            ///
            /// As [`Guard::release`](crate::Guard::release).
            ///
            /// # Cancel safety
            ///
            /// As [`Guard::release`](crate::Guard::release).
            pub async fn release(self) -> Result<crate::Released, crate::ReleaseError> {
                self.guard.release().await
            }
        }

        /// The guard alone.
        impl From<$kind> for crate::Guard {
            fn from(kind: $kind) -> Self {
                kind.guard
            }
        }

        impl std::borrow::Borrow<crate::Guard> for $kind {
            fn borrow(&self) -> &crate::Guard {
                &self.guard
            }
        }

        impl std::ops::Deref for $kind {
            type Target = crate::Guard;

            fn deref(&self) -> &crate::Guard {
                &self.guard
            }
        }

        impl std::ops::DerefMut for $kind {
            fn deref_mut(&mut self) -> &mut crate::Guard {
                &mut self.guard
            }
        }

        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.guard.fmt(f)
            }
        }
    };
}
pub(super) use is_a_guard;

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
