//! Readers and writers.

use std::sync::Arc;

use super::Guard;
use super::guard::is_a_guard;
use super::locking::{Locking, lock_settings};
use crate::coordinator::Coordinator;
use crate::error::{LockError, RunError, SettingsError};
use crate::types::Claim;

/// A named lock that any number of readers, or one writer, can hold. [`Redlock::rwlock`](crate::Redlock::rwlock) makes
/// one; cheap to make and to clone.
///
/// The writer is an ordinary lock of this name: a [`Mutex`](crate::Mutex) of the name, a [`Multi`](crate::Multi) that
/// contains it, and clients of other implementations exclude readers and writers alike.
///
/// **Writers come first**: while a writer waits in [`write`](RwLock::write), nobody becomes a reader, except that one may
/// slip in between two writers. A writer that dies while it waits keeps readers out for at most two seconds more. A reader
/// that dies keeps writers out until its TTL has passed, whatever other readers do.
///
/// Not reentrant: a task that reads and waits to write waits for itself. [`WriteGuard::downgrade`] is the way from a
/// writer to a reader; there is no way back but to release.
#[derive(Clone)]
#[must_use = "a lock does nothing until it is locked"]
pub struct RwLock {
    locking: Locking,
}

lock_settings!(RwLock);

impl RwLock {
    pub(crate) fn new(coordinator: Arc<Coordinator>, name: &str) -> Result<Self, SettingsError> {
        let claim = Claim::Exclusive { key: coordinator.settings().resource(name)? };
        Ok(Self { locking: Locking::new(coordinator, claim).for_writer() })
    }

    /// Waits until no writer holds the lock or waits for it, for at most `max_wait`, and becomes a reader.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let index = redlock.rwlock("index")?;
    /// let reader = index.read().await?;
    /// // ... read, together with others ...
    /// reader.release().await?;
    /// let writer = index.write().await?;
    /// // ... write, alone ...
    /// let reader = writer.downgrade().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self) -> Result<Guard, LockError> {
        self.locking.for_reader().lock().await
    }

    /// Makes one attempt to become a reader; never waits for a writer.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    pub async fn try_read(&self) -> Result<Guard, LockError> {
        self.locking.for_reader().try_lock().await
    }

    /// Waits until nobody else holds the lock, for at most `max_wait`, and becomes the writer. Keeps new readers out
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    pub async fn write(&self) -> Result<WriteGuard, LockError> {
        Ok(WriteGuard { guard: self.locking.lock().await? })
    }

    /// Makes one attempt to become the writer; never waits, and keeps nobody out.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    pub async fn try_write(&self) -> Result<WriteGuard, LockError> {
        Ok(WriteGuard { guard: self.locking.try_lock().await? })
    }

    /// Runs `body` as a reader; otherwise as [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Errors
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    pub async fn run_reading<T, E, F>(&self, body: F) -> Result<T, RunError<E>>
    where
        F: AsyncFnOnce(&Guard) -> Result<T, E>,
    {
        super::run::run(self.read().await?, body).await
    }

    /// Runs `body` as the writer; otherwise as [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Errors
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    pub async fn run_writing<T, E, F>(&self, body: F) -> Result<T, RunError<E>>
    where
        F: AsyncFnOnce(&Guard) -> Result<T, E>,
    {
        super::run::run(self.write().await?.guard, body).await
    }
}

/// The guard of a writer: a [`Guard`] that can be turned into that of a reader.
#[must_use = "the lock is released when its guard is dropped"]
pub struct WriteGuard {
    guard: Guard,
}

impl WriteGuard {
    /// Turns the writer into a reader, without a gap in which another writer could come. The deadline and the fencing
    /// token stay.
    ///
    /// Asks all nodes at once, and returns after at most `node_timeout`. A node that could not be reached keeps readers
    /// out until the next renewal reaches it. If the lease is lost, the reader's is, too.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the lock is released in the background.
    pub async fn downgrade(self) -> Guard {
        self.guard.held.downgrade().await;
        self.guard
    }
}

is_a_guard!(WriteGuard);
