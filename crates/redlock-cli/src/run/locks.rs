//! What `redlock run` locks.

use redlock_quorum::{Guard, LockError, Multi, Mutex, Permit, Redlock, RwLock, Semaphore, SettingsError};

use crate::failure::Failure;

/// How the keys of the command line are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For one owner: all keys or none.
    Exclusive,
    /// One key, together with other readers.
    Shared,
    /// One of so many slots of one key.
    Slots(usize),
}

impl Kind {
    pub(super) fn of(shared: bool, slots: Option<usize>, keys: &[String]) -> Result<Self, Failure> {
        match (shared, slots, keys) {
            (false, None, _) => Ok(Self::Exclusive),
            (true, _, [_]) => Ok(Self::Shared),
            (false, Some(slots), [_]) => Ok(Self::Slots(slots)),
            (true, _, _) => {
                Err(Failure::Usage("--shared takes one KEY; several are locked for one owner alone"))
            }
            (false, Some(_), _) => Err(Failure::Usage("--slots takes one KEY")),
        }
    }
}

/// The locks of the library.
pub(super) enum Locks {
    One(Mutex),
    Several(Multi),
    Reader(RwLock),
    Slot(Semaphore),
}

/// A lock that is held.
pub(super) struct Taken {
    pub(super) guard: Guard,
    pub(super) slot: Option<usize>,
}

impl Locks {
    pub(super) fn new(redlock: &Redlock, kind: Kind, keys: &[String]) -> Result<Self, SettingsError> {
        match (kind, keys) {
            (Kind::Shared, [key]) => redlock.rwlock(key).map(Self::Reader),
            (Kind::Slots(slots), [key]) => redlock.semaphore(key, slots).map(Self::Slot),
            (Kind::Exclusive, [key]) => redlock.mutex(key).map(Self::One),
            (Kind::Exclusive | Kind::Shared | Kind::Slots(_), keys) => redlock.multi(keys).map(Self::Several),
        }
    }

    pub(super) async fn lock(&self) -> Result<Taken, LockError> {
        match self {
            Self::One(mutex) => mutex.lock().await.map(Taken::of),
            Self::Several(multi) => multi.lock().await.map(Taken::of),
            Self::Reader(lock) => lock.read().await.map(Taken::of),
            Self::Slot(semaphore) => semaphore.acquire().await.map(Taken::of_permit),
        }
    }

    pub(super) async fn try_lock(&self) -> Result<Taken, LockError> {
        match self {
            Self::One(mutex) => mutex.try_lock().await.map(Taken::of),
            Self::Several(multi) => multi.try_lock().await.map(Taken::of),
            Self::Reader(lock) => lock.try_read().await.map(Taken::of),
            Self::Slot(semaphore) => semaphore.try_acquire().await.map(Taken::of_permit),
        }
    }
}

impl Taken {
    fn of(guard: Guard) -> Self {
        Self { guard, slot: None }
    }

    fn of_permit(permit: Permit) -> Self {
        Self { slot: Some(permit.slot()), guard: permit.into() }
    }
}
