//! What `redlock run` locks.

use redlock_quorum::{Guard, LockError, Multi, Mutex, Redlock, RwLock, SettingsError};

use crate::failure::Failure;

/// How the keys of the command line are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For one owner: all keys or none.
    Exclusive,
    /// One key, together with other readers.
    Shared,
}

impl Kind {
    pub(super) fn of(shared: bool, keys: &[String]) -> Result<Self, Failure> {
        match (shared, keys) {
            (false, _) => Ok(Self::Exclusive),
            (true, [_]) => Ok(Self::Shared),
            (true, _) => {
                Err(Failure::Usage("--shared takes one KEY; several are locked for one owner alone"))
            }
        }
    }
}

/// The locks of the library.
pub(crate) enum Locks {
    One(Mutex),
    Several(Multi),
    Reader(RwLock),
}

impl Locks {
    pub(super) fn new(redlock: &Redlock, kind: Kind, keys: &[String]) -> Result<Self, SettingsError> {
        match (kind, keys) {
            (Kind::Shared, [key]) => redlock.rwlock(key).map(Self::Reader),
            (Kind::Exclusive, [key]) => redlock.mutex(key).map(Self::One),
            (Kind::Exclusive | Kind::Shared, keys) => redlock.multi(keys).map(Self::Several),
        }
    }

    pub(super) async fn lock(&self) -> Result<Guard, LockError> {
        match self {
            Self::One(mutex) => mutex.lock().await,
            Self::Several(multi) => multi.lock().await,
            Self::Reader(lock) => lock.read().await,
        }
    }

    pub(super) async fn try_lock(&self) -> Result<Guard, LockError> {
        match self {
            Self::One(mutex) => mutex.try_lock().await,
            Self::Several(multi) => multi.try_lock().await,
            Self::Reader(lock) => lock.try_read().await,
        }
    }
}
