//! Schedules of a clock that is put forward and a task that waits for a timer of it.

use shuttle::{future, thread};

use super::*;
use crate::schedules::{ALL_WAIT, Clock, Shared as Ticking, explore_all, finds};

const HOUR: Duration = Duration::from_secs(3600);

/// Puts a clock forward beside a task that waits for the hour with `poll`.
fn put_forward_beside(poll: fn(&mut ForwardTimer, Moment, &mut Context<'_>) -> Poll<()>) {
    let clock = Forward::new(Arc::new(Ticking(Arc::new(Clock::default()))));
    let at = clock.now() + HOUR;
    let waiting = clock.clone();
    let waiter = thread::spawn(move || {
        let waker = Arc::new(AtomicWaker::new());
        waiting.0.waiting().push(Arc::downgrade(&waker));
        let mut timer = ForwardTimer { inner: waiting.0.inner.timer(), clock: waiting.clone(), waker };
        future::block_on(std::future::poll_fn(|cx| poll(&mut timer, at, cx)));
        assert!(waiting.now() >= at);
    });
    clock.put_forward(HOUR);
    waiter.join().unwrap();
}

#[test]
fn no_standstill_is_missed() {
    explore_all(|| put_forward_beside(ForwardTimer::poll_reached));
}

/// The search can fail: it finds a timer that reads the clock first and listens then.
#[test]
fn a_timer_that_listens_too_late_is_found() {
    finds(ALL_WAIT, || {
        put_forward_beside(|timer, at, cx| {
            let reached = timer.inner.poll_reached(at.ago(timer.clock.0.by()), cx);
            timer.waker.register(cx.waker());
            reached
        });
    });
}
