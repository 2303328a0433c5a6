//! Whether a free lock is taken at once by whoever waits for it, while nothing is in the way.

use std::collections::BTreeMap;
use std::time::Duration;

/// In the calm phase a free lock is had within this time: a few round trips, and a pause after attempts that collided. A
/// waiter that is not woken sleeps for half a second at least.
const FREE_MAX: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(super) struct Waits {
    calm_since: Option<Duration>,
    locks: BTreeMap<String, Lock>,
    numbers: u64,
    longest: Duration,
}

#[derive(Default)]
struct Lock {
    holders: usize,
    /// As long as there are fewer holders, the lock is free for whoever waits.
    served: usize,
    free_since: Duration,
    /// Since when they wait.
    waiters: BTreeMap<u64, Duration>,
}

/// A free lock that somebody has waited for during this time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neglected(pub(super) Duration);

impl Waits {
    pub(super) fn begin_calm(&mut self, now: Duration) {
        self.calm_since = Some(now);
    }

    /// The longest time that a lock was free although somebody waited.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    pub(super) fn start(&mut self, resource: &str, served: usize, now: Duration) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        let lock = self.lock(resource);
        lock.served = served;
        lock.waiters.insert(number, now);
        number
    }

    pub(super) fn end(&mut self, resource: &str, number: u64, now: Duration) -> Result<(), Neglected> {
        let since = self.lock(resource).waiters.remove(&number).unwrap_or(now);
        self.judge(resource, since, now)
    }

    pub(super) fn taken(&mut self, resource: &str, now: Duration) -> Result<(), Neglected> {
        let since = self.lock(resource).waiters.values().min().copied().unwrap_or(now);
        let judged = self.judge(resource, since, now);
        let lock = self.lock(resource);
        lock.holders += 1;
        // From now on it is the next waiter's turn.
        lock.free_since = now;
        judged
    }

    pub(super) fn freed(&mut self, resource: &str, now: Duration) {
        let lock = self.lock(resource);
        lock.holders = lock.holders.saturating_sub(1);
        lock.free_since = now;
    }

    fn judge(&mut self, resource: &str, waits_since: Duration, now: Duration) -> Result<(), Neglected> {
        let Some(calm_since) = self.calm_since else { return Ok(()) };
        let Lock { holders, served, free_since, .. } = *self.lock(resource);
        if holders >= served {
            return Ok(());
        }
        let free = now.saturating_sub(waits_since.max(free_since).max(calm_since));
        self.longest = self.longest.max(free);
        if free > FREE_MAX { Err(Neglected(free)) } else { Ok(()) }
    }

    fn lock(&mut self, resource: &str) -> &mut Lock {
        if !self.locks.contains_key(resource) {
            self.locks.insert(resource.to_owned(), Lock::default());
        }
        self.locks.get_mut(resource).expect("it was just inserted")
    }
}
