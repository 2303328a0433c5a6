//! A value that tasks read, and whose changes they wait for.

use std::fmt;
use std::pin::pin;
use std::sync::PoisonError;

use super::sync::{Notify, RwLock, RwLockReadGuard};

/// A value whose changes tasks wait for. Waiters are woken in the order in which they came; tokio's `watch` draws the
/// order, and a simulation would not repeat itself.
pub(crate) struct Published<T> {
    value: RwLock<Versioned<T>>,
    changed: Notify,
}

struct Versioned<T> {
    value: T,
    /// The number of changes.
    version: u64,
}

impl<T> Published<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: RwLock::new(Versioned { value, version: 0 }), changed: Notify::const_new() }
    }

    /// Calls `read` with the value. It must not call back into this value.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.lock().value)
    }

    pub(crate) fn set(&self, value: T) {
        self.change(|current| *current = value);
    }

    /// Changes the value and wakes whoever waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut changed = None;
        self.change_if(|value| {
            changed = Some(change(value));
            true
        });
        changed.expect("the closure has run")
    }

    /// Changes the value, and wakes whoever waits if `change` returns true. Returns what `change` returns.
    pub(crate) fn change_if(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let is_changed = {
            let mut locked = self.value.write().unwrap_or_else(PoisonError::into_inner);
            let is_changed = change(&mut locked.value);
            locked.version += u64::from(is_changed);
            is_changed
        };
        if is_changed {
            self.changed.notify_waiters();
        }
        is_changed
    }

    /// Returns when `condition` holds; at once if it does already. Cancel safe.
    pub(crate) async fn wait_for(&self, condition: impl Fn(&T) -> bool) {
        self.wait(|current| condition(&current.value)).await;
    }

    /// The number of changes so far, to be given to [`changed_since`](Self::changed_since).
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Returns when the version is another one than `version`. Cancel safe.
    pub(crate) async fn changed_since(&self, version: u64) {
        self.wait(|current| current.version != version).await;
    }

    async fn wait(&self, condition: impl Fn(&Versioned<T>) -> bool) {
        let mut changed = pin!(self.changed.notified());
        loop {
            // Before the value is read, so that no change is missed in between.
            changed.as_mut().enable();
            if condition(&self.lock()) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Versioned<T>> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().value.fmt(f)
    }
}

#[cfg(all(test, redlock_shuttle))]
#[path = "published_schedules_tests.rs"]
mod schedules;
