//! The kinds of locks that keep the promises of a mutex: each case of [`crate::cases`] runs with each of them.

use std::time::Duration;

use redlock_quorum::{Election, Guard, LockError, Multi, Mutex, Redlock, Retry, RwLock, Semaphore};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Mutex,
    /// The name of the case and two more names, one before and one behind it.
    Multi,
    /// The writer of a lock that also has readers.
    Writer,
    /// The only slot of a semaphore.
    Slot,
    Leader,
}

impl Kind {
    pub(crate) fn of(self, client: &Redlock, name: &str) -> Lock {
        match self {
            Self::Mutex => Lock::Mutex(client.mutex(name).unwrap()),
            Self::Multi => {
                let names = [format!("{name}, behind"), format!(" before {name}"), name.to_owned()];
                Lock::Multi(client.multi(names).unwrap())
            }
            Self::Writer => Lock::Writer(client.rwlock(name).unwrap()),
            Self::Slot => Lock::Slot(client.semaphore(name, 1).unwrap()),
            Self::Leader => Lock::Leader(client.election(name).unwrap()),
        }
    }

    /// The key of a lock of this name.
    pub(crate) fn key(self, name: &str) -> String {
        match self {
            Self::Mutex | Self::Multi | Self::Writer | Self::Leader => name.to_owned(),
            Self::Slot => format!("redlock-quorum:slot:0:{name}"),
        }
    }

    /// A command that each attempt sends once.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Mutex | Self::Leader => "set",
            Self::Multi | Self::Slot => "eval",
            // A waiting writer sets its intent, too.
            Self::Writer => "zadd",
        }
    }
}

/// A lock of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Lock {
    Mutex(Mutex),
    Multi(Multi),
    Writer(RwLock),
    /// One that shares its lock with other readers.
    Reader(RwLock),
    Slot(Semaphore),
    Leader(Election),
}

macro_rules! of_any_kind {
    ($self:ident, $lock:ident => $result:expr) => {
        match $self {
            Lock::Mutex($lock) => Lock::Mutex($result),
            Lock::Multi($lock) => Lock::Multi($result),
            Lock::Writer($lock) => Lock::Writer($result),
            Lock::Reader($lock) => Lock::Reader($result),
            Lock::Slot($lock) => Lock::Slot($result),
            Lock::Leader($lock) => Lock::Leader($result),
        }
    };
}

impl Lock {
    pub(crate) async fn lock(&self) -> Result<Guard, LockError> {
        match self {
            Self::Mutex(mutex) => mutex.lock().await,
            Self::Multi(multi) => multi.lock().await,
            Self::Writer(rwlock) => rwlock.write().await.map(Guard::from),
            Self::Reader(rwlock) => rwlock.read().await,
            Self::Slot(semaphore) => semaphore.acquire().await.map(Guard::from),
            Self::Leader(election) => election.campaign().await.map(Guard::from),
        }
    }

    pub(crate) async fn try_lock(&self) -> Result<Guard, LockError> {
        match self {
            Self::Mutex(mutex) => mutex.try_lock().await,
            Self::Multi(multi) => multi.try_lock().await,
            Self::Writer(rwlock) => rwlock.try_write().await.map(Guard::from),
            Self::Reader(rwlock) => rwlock.try_read().await,
            Self::Slot(semaphore) => semaphore.try_acquire().await.map(Guard::from),
            Self::Leader(election) => election.try_campaign().await.map(Guard::from),
        }
    }

    pub(crate) fn ttl(self, ttl: Duration) -> Self {
        of_any_kind!(self, lock => lock.ttl(ttl))
    }

    pub(crate) fn min_validity(self, min_validity: Duration) -> Self {
        of_any_kind!(self, lock => lock.min_validity(min_validity))
    }

    pub(crate) fn max_wait(self, max_wait: Duration) -> Self {
        of_any_kind!(self, lock => lock.max_wait(max_wait))
    }

    pub(crate) fn retry(self, retry: Retry) -> Self {
        of_any_kind!(self, lock => lock.retry(retry))
    }
}
