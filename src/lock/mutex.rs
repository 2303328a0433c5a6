//! The mutex: one resource, one owner.

use std::sync::Arc;

use super::locking::{Locking, lock_methods};
use crate::coordinator::Coordinator;
use crate::error::SettingsError;
use crate::types::Claim;

/// A named lock that one owner at a time can hold. [`Redlock::mutex`](crate::Redlock::mutex) makes one; cheap to make
/// and to clone.
///
/// Not reentrant: a second `lock` of the same name waits for the first guard, even in the same task.
#[derive(Clone)]
#[must_use = "a mutex does nothing until it is locked"]
pub struct Mutex {
    locking: Locking,
}

impl Mutex {
    pub(crate) fn new(coordinator: Arc<Coordinator>, name: &str) -> Result<Self, SettingsError> {
        let claim = Claim::Exclusive { key: coordinator.settings().resource(name)? };
        Ok(Self { locking: Locking::new(coordinator, claim) })
    }
}

lock_methods!(Mutex);
