//! Tasks that take and release locks, and their measurements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use redlock_quorum::{CancellationToken, LockError};
use tokio::task::JoinSet;

use crate::failure::Failure;

/// The histograms keep three significant digits.
const DIGITS: u8 = 3;
/// A task waits as long as a client does by default before an attempt counts as failed.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A running load. Dropped, its tasks end and release what they hold.
pub(super) struct Load {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    tally: Arc<Mutex<Tally>>,
    started: Instant,
    pub(super) duration: Duration,
}

/// The measurements.
pub(super) struct Measured {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// In nanoseconds.
    pub(super) lock: Histogram<u64>,
    pub(super) release: Histogram<u64>,
    pub(super) contended: u64,
    pub(super) no_quorum: u64,
    pub(super) too_late: u64,
    pub(super) other: u64,
    pub(super) unreleased: u64,
}

impl Load {
    pub(super) fn start(mutexes: Vec<redlock_quorum::Mutex>, duration: Duration) -> Result<Self, Failure> {
        let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::new()?)));
        let mut tasks = JoinSet::new();
        for mutex in mutexes {
            let (stop, tally) = (stop.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                let mutex = mutex.max_wait(MAX_WAIT);
                while let Some(()) = stop.run_until_cancelled(cycle(&mutex, &tally)).await {}
            });
        }
        Ok(Self { tasks, stop, tally, started: now(), duration })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn locks(&self) -> u64 {
        locked(&self.tally).lock.len()
    }

    /// Stops the tasks, and waits until they have ended.
    pub(super) async fn end(mut self) -> Measured {
        let elapsed = self.elapsed();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let tally = locked(&self.tally).clone();
        Measured { tally, elapsed }
    }
}

impl Measured {
    pub(super) fn failed(&self) -> u64 {
        let Tally { lock: _, release: _, contended, no_quorum, too_late, other, unreleased } = &self.tally;
        contended + no_quorum + too_late + other + unreleased
    }
}

impl Tally {
    fn new() -> Result<Self, Failure> {
        let histogram = || Histogram::new(DIGITS).map_err(|error| Failure::Internal(error.to_string()));
        Ok(Self {
            lock: histogram()?,
            release: histogram()?,
            contended: 0,
            no_quorum: 0,
            too_late: 0,
            other: 0,
            unreleased: 0,
        })
    }
}

/// One lock and its release. Dropped half way, the guard releases the lock.
async fn cycle(mutex: &redlock_quorum::Mutex, tally: &Mutex<Tally>) {
    let started = now();
    let guard = match mutex.lock().await {
        Ok(guard) => guard,
        Err(error) => return count(&error, &mut locked(tally)),
    };
    let taken = now();
    let released = guard.release().await;
    let (lock, release) = (taken.duration_since(started), taken.elapsed());
    let mut tally = locked(tally);
    record(&mut tally.lock, lock);
    match released {
        Ok(_) => record(&mut tally.release, release),
        Err(_) => tally.unreleased += 1,
    }
}

fn count(error: &LockError, tally: &mut Tally) {
    match error.reason() {
        LockError::Contended { .. } => tally.contended += 1,
        LockError::NoQuorum { .. } => tally.no_quorum += 1,
        LockError::TooLate { .. } => tally.too_late += 1,
        LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. }
        | LockError::Timeout { .. }
        | LockError::Invalid(_)
        | LockError::ShutDown
        | _ => tally.other += 1,
    }
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    // The histogram grows on demand; only a duration of centuries would be too large.
    let _ = histogram.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// A task that panicked has left no half-written tally, so poisoning is ignored.
fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "measures, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}
