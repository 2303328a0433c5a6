//! Our own clock, which is put forward when all nodes show that it stood still: on a machine that was frozen by its host,
//! no clock shows the time that has passed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::types::sync::{AtomicU64, Mutex, MutexGuard};
use crate::types::{Ambient, Moment, Timer};

/// A clock that can be put forward.
#[derive(Clone)]
pub(super) struct Forward(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Ambient>,
    /// How far it was put forward in all, in nanoseconds.
    by: AtomicU64,
    /// The tasks that wait for timers: the keeper's.
    waiting: Mutex<Vec<Weak<AtomicWaker>>>,
}

impl Forward {
    pub(super) fn new(inner: Arc<dyn Ambient>) -> Self {
        Self(Arc::new(Shared { inner, by: AtomicU64::new(0), waiting: Mutex::default() }))
    }

    /// Puts the clock forward, and wakes the timers, so that leases that are over now are lost at once.
    pub(super) fn put_forward(&self, by: Duration) {
        self.0.by.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.waiting().iter().filter_map(Weak::upgrade).for_each(|waiting| waiting.wake());
    }
}

impl Shared {
    fn by(&self) -> Duration {
        Duration::from_nanos(self.by.load(Ordering::Relaxed))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Weak<AtomicWaker>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ambient for Forward {
    fn now(&self) -> Moment {
        self.0.inner.now() + self.0.by()
    }

    fn wall_micros(&self) -> u64 {
        self.0.inner.wall_micros()
    }

    fn random(&self) -> u128 {
        self.0.inner.random()
    }

    fn timer(&self) -> Box<dyn Timer> {
        let waker = Arc::new(AtomicWaker::new());
        let mut waiting = self.0.waiting();
        waiting.retain(|waiting| waiting.strong_count() > 0);
        waiting.push(Arc::downgrade(&waker));
        Box::new(ForwardTimer { inner: self.0.inner.timer(), clock: self.clone(), waker })
    }
}

struct ForwardTimer {
    inner: Box<dyn Timer>,
    clock: Forward,
    waker: Arc<AtomicWaker>,
}

impl Timer for ForwardTimer {
    fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the clock is read, so that no change is missed.
        self.waker.register(cx.waker());
        self.inner.poll_reached(at.ago(self.clock.0.by()), cx)
    }
}

#[cfg(all(test, redlock_shuttle))]
#[path = "forward_schedules_tests.rs"]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Machine;
    use std::future::poll_fn;

    #[tokio::test]
    async fn a_timer_goes_off_when_its_clock_is_put_forward() {
        let clock = Forward::new(Arc::new(Machine));
        let hour = Duration::from_secs(3600);
        let (before, mut timer) = (clock.now(), clock.timer());
        let waiting = tokio::spawn(async move { poll_fn(|cx| timer.poll_reached(before + hour, cx)).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.put_forward(hour);
        waiting.await.unwrap();
        assert!(clock.now() >= before + hour);
    }
}
