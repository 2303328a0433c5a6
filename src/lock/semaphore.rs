//! Semaphores: a number of permits, each for one owner.

use std::sync::Arc;

use super::Guard;
use super::guard::is_a_guard;
use super::locking::{Locking, lock_settings};
use crate::coordinator::Coordinator;
use crate::error::{LockError, RunError, SettingsError};
use crate::types::{Claim, KEYS_MAX, Resource};

/// A named number of permits, each of which one owner at a time can hold: at most so many workers at once.
/// [`Redlock::semaphore`](crate::Redlock::semaphore) makes one; cheap to make and to clone.
///
/// Each permit is a slot, and **each slot is a lock over the quorum of its own**. To count holders on each node instead
/// would be wrong: with three nodes and two permits, three holders fit, each of them on two nodes.
///
/// All clients have to use the same number of permits. A client that uses another number gets
/// [`LockError::OtherPermits`] as long as a permit is held, and for up to a TTL longer.
///
/// A semaphore and a [`Mutex`](crate::Mutex) of the same name have nothing to do with each other.
#[derive(Clone)]
#[must_use = "a semaphore does nothing until a permit is acquired"]
pub struct Semaphore {
    locking: Locking,
}

lock_settings!(Semaphore);

impl Semaphore {
    pub(crate) fn new(
        coordinator: Arc<Coordinator>,
        name: &str,
        permits: usize,
    ) -> Result<Self, SettingsError> {
        let plain = coordinator.settings().resource(name)?;
        if !(1..=KEYS_MAX).contains(&permits) {
            let (value, bound) = (permits.to_string(), format!("between 1 and {KEYS_MAX}"));
            return Err(SettingsError::OutOfRange { setting: "number of permits", value, bound });
        }
        let claim = Claim::slot(&plain.semaphore(0..permits), 0);
        Ok(Self { locking: Locking::new(coordinator, claim) })
    }

    pub(crate) fn resource(&self) -> &Resource {
        self.locking.claim().first()
    }

    /// Waits until a permit is free, for at most `max_wait`, and acquires it.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock), and [`LockError::OtherPermits`]: other clients use another number of
    /// permits.
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let exports = redlock.semaphore("exports", 3)?;
    /// let permit = exports.acquire().await?;
    /// println!("one of at most three, in slot {}", permit.slot());
    /// permit.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self) -> Result<Permit, LockError> {
        Ok(Permit { guard: self.locking.lock().await? })
    }

    /// Acquires a permit if one is free, within `node_timeout`; never waits for another owner. May fail although a permit
    /// is free if other clients are faster at eight permits in a row.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), without `Timeout`. [`LockError::Contended`] is the ordinary result when all
    /// permits are held.
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    pub async fn try_acquire(&self) -> Result<Permit, LockError> {
        Ok(Permit { guard: self.locking.try_lock().await? })
    }

    /// Runs `body` while a permit is held; otherwise as [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Errors
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::run`](crate::Mutex::run).
    pub async fn run<T, E, F>(&self, body: F) -> Result<T, RunError<E>>
    where
        F: AsyncFnOnce(&Permit) -> Result<T, E>,
    {
        super::run::run(self.acquire().await?, body).await
    }
}

/// A permit of a [`Semaphore`] that is held: a [`Guard`] with the number of its slot.
///
/// The [fencing tokens](Guard::fencing_token) of a semaphore grow over all its slots. A resource that refuses tokens
/// lower than the highest it has seen would refuse the earlier of two permits that are both held; let it remember the
/// highest token of each slot.
#[must_use = "the permit is released when it is dropped"]
pub struct Permit {
    guard: Guard,
}

impl Permit {
    /// The number of the slot, from 0 up to the number of permits less one. No other valid permit has it.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.guard.held.claim().as_slot().map_or(0, |slot| slot.number)
    }
}

is_a_guard!(Permit);
