//! Locking: the settings of a lock, and how it is locked. All kinds of locks share both.

use std::sync::Arc;
use std::time::Duration;

use super::Guard;
use crate::config::{Keep, KeepAlive, MaxHold};
use crate::coordinator::{Coordinator, LockRequest};
use crate::error::{LockError, SettingsError};
use crate::protocol::Retry;
use crate::types::Claim;

/// A claim with the settings for it.
#[derive(Clone)]
pub(super) struct Locking {
    coordinator: Arc<Coordinator>,
    claim: Claim,
    pub(super) ttl: Duration,
    pub(super) min_validity: Option<Duration>,
    pub(super) max_wait: Duration,
    pub(super) retry: Retry,
    keep: Keep,
    keeps_readers_out: bool,
    /// The value of a candidate for leader.
    pub(super) leads_as: Option<Arc<str>>,
}

impl Locking {
    /// Takes the client's defaults.
    pub(super) fn new(coordinator: Arc<Coordinator>, claim: Claim) -> Self {
        let settings = coordinator.settings();
        Self {
            claim,
            ttl: settings.ttl.as_duration(),
            min_validity: None,
            max_wait: settings.max_wait,
            retry: settings.retry(),
            keep: settings.keep,
            keeps_readers_out: false,
            leads_as: None,
            coordinator,
        }
    }

    /// The same for a writer, whose wait keeps new readers out.
    pub(super) fn for_writer(mut self) -> Self {
        self.keeps_readers_out = true;
        self
    }

    /// The same for a reader.
    pub(super) fn for_reader(&self) -> Self {
        let claim = Claim::Shared { key: self.claim.first().clone() };
        Self { claim, keeps_readers_out: false, ..self.clone() }
    }

    pub(super) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn keep_alive(&mut self, keep_alive: bool) {
        self.keep.alive = KeepAlive::when(keep_alive);
    }

    pub(super) fn max_hold(&mut self, max_hold: Duration) {
        self.keep.max_hold = MaxHold::For(max_hold);
    }

    pub(super) async fn lock(&self) -> Result<Guard, LockError> {
        let held = self.coordinator.lock(&self.request()?).await?;
        Ok(Guard { held })
    }

    pub(super) async fn try_lock(&self) -> Result<Guard, LockError> {
        let held = self.coordinator.try_lock(&self.request()?).await?;
        Ok(Guard { held })
    }

    fn request(&self) -> Result<LockRequest<'_>, SettingsError> {
        self.keep.check()?;
        Ok(LockRequest {
            claim: &self.claim,
            terms: self.coordinator.settings().lease_terms(self.ttl, self.min_validity)?,
            keep: self.keep,
            retry: self.retry,
            max_wait: self.max_wait,
            keeps_readers_out: self.keeps_readers_out,
            leads_as: self.leads_as.as_deref(),
        })
    }
}

/// The settings that all locks have. The lock is a struct with the field `locking`.
macro_rules! lock_settings {
    ($lock:ident) => {
        impl $lock {
            /// Time to live of the lease, instead of the client's default: 10 ms to `max_ttl`, rounded down to whole
            /// milliseconds. `lock` returns [`LockError::Invalid`](crate::LockError::Invalid) for a value
            /// out of these bounds.
            pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
                self.locking.ttl = ttl;
                self
            }

            /// How much of the lease must be left when `lock` returns the guard, instead of the client's default. Must
            /// be below the TTL minus its drift; otherwise `lock` returns
            /// [`LockError::Invalid`](crate::LockError::Invalid).
            pub fn min_validity(mut self, min_validity: std::time::Duration) -> Self {
                self.locking.min_validity = Some(min_validity);
                self
            }

            /// Longest time that `lock` waits in all, instead of the client's default. Zero means a
            /// single attempt.
            pub fn max_wait(mut self, max_wait: std::time::Duration) -> Self {
                self.locking.max_wait = max_wait;
                self
            }

            /// Whether the client renews the lease as long as its guard lives, instead of the client's default. Without
            /// renewal, the lease expires a TTL after it was acquired or [extended](crate::Guard::extend).
            pub fn keep_alive(mut self, keep_alive: bool) -> Self {
                self.locking.keep_alive(keep_alive);
                self
            }

            /// Longest time that the lock may be held, at least 10 ms, instead of the client's default. The client then
            /// releases the lock, and the holder sees a loss ([`Loss::MaxHold`](crate::Loss::MaxHold)).
            pub fn max_hold(mut self, max_hold: std::time::Duration) -> Self {
                self.locking.max_hold(max_hold);
                self
            }

            /// How `lock` waits, instead of the client's default.
            pub fn retry(mut self, retry: crate::Retry) -> Self {
                self.locking.retry = retry;
                self
            }
        }

        impl std::fmt::Debug for $lock {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($lock))
                    .field("resource", &self.locking.claim().name())
                    .field("ttl", &self.locking.ttl)
                    .field("max_wait", &self.locking.max_wait)
                    .field("retry", &self.locking.retry)
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(super) use lock_settings;

/// The settings, and the methods of the locks that one owner at a time can hold.
macro_rules! lock_methods {
    ($lock:ident) => {
        super::locking::lock_settings!($lock);

        impl $lock {
            /// Waits until the lock is acquired, for at most `max_wait`.
            ///
            /// Nodes that are down or in quarantine count as lost votes. The wait continues through an outage, because
            /// nodes come back. A wait for the end of a quarantine is logged once, as a warning.
            ///
            /// # Errors
            ///
            /// - [`LockError::Timeout`](crate::LockError::Timeout): `max_wait` has passed; the error contains the last
            ///   attempt's error.
            /// - [`LockError::Contended`](crate::LockError::Contended),
            ///   [`LockError::NoQuorum`](crate::LockError::NoQuorum),
            ///   [`LockError::TooLate`](crate::LockError::TooLate): the last attempt that the [`Retry`](crate::Retry)
            ///   strategy allows failed with this error. With [`Retry::fifo`](crate::Retry::fifo), a waiter whose TTL
            ///   or `min_validity` leaves the nodes too little time to answer goes to the end of the wait queue.
            /// - [`LockError::Invalid`](crate::LockError::Invalid): a setting of this lock is out of its bounds.
            /// - [`LockError::ClockSkew`](crate::LockError::ClockSkew),
            ///   [`LockError::FenceTooHigh`](crate::LockError::FenceTooHigh): there is no valid fencing token; waiting
            ///   does not help.
            /// - [`LockError::ShutDown`](crate::LockError::ShutDown): the client is shut down.
            /// - [`LockError::RuntimeEnded`](crate::LockError::RuntimeEnded): the runtime in which the client was
            ///   connected has ended.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe. When the future is dropped, every node that may have set the key is asked to remove it, and
            /// the next waiter continues at once. A future that is neither polled nor dropped blocks the waiters behind
            /// it in this process; an example is a future that a `select!` in a loop keeps but does not poll.
            pub async fn lock(&self) -> Result<crate::Guard, crate::LockError> {
                self.locking.lock().await
            }

            /// Makes one attempt, of at most `node_timeout`; never waits for another owner.
            ///
            /// # Errors
            ///
            /// As `lock`, without `Timeout`. [`LockError::Contended`](crate::LockError::Contended) is the
            /// ordinary result when another owner holds the lock.
            ///
            /// # Cancel safety
            ///
            /// Cancel safe. When the future is dropped, every node that may have set the key is asked to remove it.
            pub async fn try_lock(&self) -> Result<crate::Guard, crate::LockError> {
                self.locking.try_lock().await
            }

            /// Acquires the lock as `lock` does, runs `body` while the lock is held, and releases the
            /// lock. When the lease is lost, the body is dropped at the await that it has reached: the body is never
            /// polled after the deadline.
            ///
            /// The body's value is returned even if fewer nodes than a quorum confirm the release; the release then
            /// continues in the background.
            ///
            /// # Errors
            ///
            /// - [`RunError::NotAcquired`](crate::RunError::NotAcquired): as `lock`; the body was not called.
            /// - [`RunError::Lost`](crate::RunError::Lost): the lease was lost before the body ended.
            /// - [`RunError::Body`](crate::RunError::Body): the body's own error, and the result of the release.
            ///
            /// # Cancel safety
            ///
            /// When the future is dropped, the body is dropped, and the lock is released in the background.
            ///
            /// # Examples
            ///
            /// ```no_run
            /// # async fn charge(token: u64) -> Result<u64, std::io::Error> { Ok(token) }
            /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
            /// let total = redlock
            ///     .mutex("invoice:42")?
            ///     .run(async |lease| charge(lease.fencing_token().get()).await)
            ///     .await?;
            /// # Ok(())
            /// # }
            /// ```
            pub async fn run<T, E, F>(&self, body: F) -> Result<T, crate::RunError<E>>
            where
                F: AsyncFnOnce(&crate::Guard) -> Result<T, E>,
            {
                super::run::run(self.locking.lock().await?, body).await
            }
        }
    };
}
pub(super) use lock_methods;
