//! The kinds of locks that clients take. A new primitive is a variant of [`Kind`], and what to do with it here; the
//! oracle knows a kind by the number of its holders.

use std::sync::LazyLock;
use std::time::Duration;

use super::RESOURCES;
use crate::Redlock;
use crate::error::{LockError, ReleaseError, Released};
use crate::lock::{Election, Guard, Multi, Mutex, RwLock, Semaphore, WriteGuard};
use crate::protocol::Retry;
use crate::types::{KeyPrefix, Resource};

/// The permits of each semaphore.
const PERMITS: usize = 2;

/// The keys that nodes have while somebody holds a lock.
pub(super) static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let keys = RESOURCES.iter().flat_map(|name| {
        let plain = Resource::parse(&KeyPrefix::default(), name).expect("a good name");
        let slots = plain.semaphore(0..PERMITS).slots().iter().map(ToString::to_string).collect::<Vec<_>>();
        slots.into_iter().chain([plain.key().to_owned()])
    });
    keys.collect()
});

/// What is locked, and with whom it is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Mutex,
    /// All resources at once.
    Multi,
    Reader,
    Writer,
    Permit,
    Leader,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Mutex, Self::Multi, Self::Reader, Self::Writer, Self::Permit, Self::Leader];

    /// What is held of which at most so many may be held: a semaphore is another resource than the mutex of its name.
    pub(super) fn held(self, guard: &Guard) -> Vec<String> {
        match self {
            Self::Mutex | Self::Multi | Self::Reader | Self::Writer | Self::Leader => {
                guard.resources().map(str::to_owned).collect()
            }
            Self::Permit => vec![format!("a permit of {}", guard.resource())],
        }
    }

    /// Where somebody waits for it: those who wait for all resources, and for a permit, are in a place of their own.
    pub(super) fn waits_at(self, resource: &str) -> String {
        match self {
            Self::Mutex | Self::Reader | Self::Writer | Self::Leader => resource.to_owned(),
            Self::Multi => RESOURCES.join(", "),
            Self::Permit => format!("a permit of {resource}"),
        }
    }

    /// As long as fewer hold it, whoever waits has to be served.
    pub(super) fn served(self) -> usize {
        match self {
            Self::Mutex | Self::Multi | Self::Reader | Self::Writer | Self::Leader => 1,
            Self::Permit => PERMITS,
        }
    }

    /// How many may hold the resource at once, this one included.
    pub(super) fn holders_max(self) -> usize {
        match self {
            Self::Mutex | Self::Multi | Self::Writer | Self::Leader => 1,
            Self::Reader => usize::MAX,
            Self::Permit => PERMITS,
        }
    }

    pub(super) fn is_exclusive(self) -> bool {
        self.holders_max() == 1
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutexes",
            Self::Multi => "multis",
            Self::Reader => "readers",
            Self::Writer => "writers",
            Self::Permit => "permits",
            Self::Leader => "leaders",
        }
    }
}

/// On what terms a lock is taken; what is `None` is left at its default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) max_wait: Duration,
    pub(super) ttl: Duration,
    pub(super) keep_alive: bool,
    pub(super) retry: Option<Retry>,
    pub(super) max_hold: Option<Duration>,
}

/// A lock of one of the kinds.
pub(super) enum Lock {
    Mutex(Mutex),
    Multi(Multi),
    Reader(RwLock),
    Writer(RwLock),
    Semaphore(Semaphore),
    Election(Election),
}

macro_rules! on_terms {
    ($lock:expr, $terms:expr) => {{
        let Terms { max_wait, ttl, keep_alive, retry, max_hold } = $terms;
        let lock = $lock.expect("good names").max_wait(max_wait).ttl(ttl).keep_alive(keep_alive);
        let lock = if let Some(retry) = retry { lock.retry(retry) } else { lock };
        if let Some(max_hold) = max_hold { lock.max_hold(max_hold) } else { lock }
    }};
}

impl Lock {
    /// A lock of a resource, or of all of them.
    pub(super) fn new(redlock: &Redlock, kind: Kind, resource: &str, terms: Terms) -> Self {
        match kind {
            Kind::Mutex => Self::Mutex(on_terms!(redlock.mutex(resource), terms)),
            Kind::Multi => Self::Multi(on_terms!(redlock.multi(RESOURCES), terms)),
            Kind::Reader => Self::Reader(on_terms!(redlock.rwlock(resource), terms)),
            Kind::Writer => Self::Writer(on_terms!(redlock.rwlock(resource), terms)),
            Kind::Permit => Self::Semaphore(on_terms!(redlock.semaphore(resource, PERMITS), terms)),
            Kind::Leader => Self::Election(on_terms!(redlock.election(resource), terms)),
        }
    }

    pub(super) async fn lock(&self) -> Result<Locked, LockError> {
        match self {
            Self::Mutex(lock) => lock.lock().await.map(Locked::Guard),
            Self::Multi(lock) => lock.lock().await.map(Locked::Guard),
            Self::Reader(lock) => lock.read().await.map(Locked::Guard),
            Self::Writer(lock) => lock.write().await.map(Locked::Writer),
            Self::Semaphore(lock) => lock.acquire().await.map(|permit| Locked::Guard(permit.into())),
            Self::Election(lock) => lock.campaign().await.map(|leader| Locked::Guard(leader.into())),
        }
    }

    pub(super) async fn try_lock(&self) -> Result<Locked, LockError> {
        match self {
            Self::Mutex(lock) => lock.try_lock().await.map(Locked::Guard),
            Self::Multi(lock) => lock.try_lock().await.map(Locked::Guard),
            Self::Reader(lock) => lock.try_read().await.map(Locked::Guard),
            Self::Writer(lock) => lock.try_write().await.map(Locked::Writer),
            Self::Semaphore(lock) => lock.try_acquire().await.map(|permit| Locked::Guard(permit.into())),
            // A candidate that does not wait is none.
            Self::Election(_) => self.lock().await,
        }
    }
}

/// A lock that is held.
pub(super) enum Locked {
    Guard(Guard),
    /// A writer, which may become a reader.
    Writer(WriteGuard),
}

impl Locked {
    pub(super) fn guard(&self) -> &Guard {
        match self {
            Self::Guard(guard) => guard,
            Self::Writer(guard) => guard,
        }
    }

    pub(super) fn guard_mut(&mut self) -> &mut Guard {
        match self {
            Self::Guard(guard) => guard,
            Self::Writer(guard) => guard,
        }
    }

    /// Makes a reader of a writer.
    pub(super) async fn downgrade(self) -> Self {
        match self {
            Self::Guard(guard) => Self::Guard(guard),
            Self::Writer(guard) => Self::Guard(guard.downgrade().await),
        }
    }

    pub(super) async fn release(self) -> Result<Released, ReleaseError> {
        match self {
            Self::Guard(guard) => guard.release().await,
            Self::Writer(guard) => guard.release().await,
        }
    }
}
