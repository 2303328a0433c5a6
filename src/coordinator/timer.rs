//! Timers on the clock that all deadlines use.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::{self, Handle};
use tokio::time::Sleep;

use crate::types::{Ambient, Moment, Timer};

/// Tokio's timer. The timer stands still while the machine is suspended, and rounds up to whole milliseconds.
pub(crate) struct Sleeper {
    ambient: Arc<dyn Ambient>,
    sleep: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl Sleeper {
    pub(crate) fn new(ambient: Arc<dyn Ambient>) -> Self {
        Self { ambient, sleep: None }
    }
}

impl Timer for Sleeper {
    fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.ambient.now();
            if now >= at {
                return Poll::Ready(());
            }
            let sleep = match &mut self.sleep {
                Some((armed, sleep)) if *armed == at => sleep,
                stale => &mut stale.insert((at, Box::pin(tokio::time::sleep(now.until(at))))).1,
            };
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
    }
}

/// The timer of one task that watches a lease. Many tasks may watch the same lease, each with a timer of its own.
///
/// The timer runs in the runtime in which it is polled, because the client's runtime may be blocked or have ended. It
/// is tokio's timer, because there may be more watchers than file descriptors. Tokio's timer does not count suspend:
/// after a resume, the keeper ends an expired lease and so wakes the watchers.
pub(crate) struct Alarm {
    ambient: Arc<dyn Ambient>,
    sleeper: Option<(runtime::Id, Sleeper)>,
}

impl Alarm {
    pub(super) fn new(ambient: Arc<dyn Ambient>) -> Self {
        Self { ambient, sleeper: None }
    }

    /// As [`Timer::poll_reached`]. Outside of a tokio runtime the timer never fires.
    pub(crate) fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
        let Ok(runtime) = Handle::try_current() else { return Poll::Pending };
        let armed = match self.sleeper.take() {
            Some((armed_in, sleeper)) if armed_in == runtime.id() => sleeper,
            // A timer of another runtime is replaced, because polling it panics once that runtime has ended.
            Some(_) | None => Sleeper::new(Arc::clone(&self.ambient)),
        };
        self.sleeper.insert((runtime.id(), armed)).1.poll_reached(at, cx)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use boottime::BootTimer;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod boottime {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::types::{Ambient, Moment, Timer};

    const NANOS: u64 = 1_000_000_000;

    /// A timerfd of CLOCK_BOOTTIME. The timer counts suspend: one that expires during a suspend fires right after the
    /// resume.
    pub(crate) struct BootTimer<A> {
        ambient: A,
        fd: AsyncFd<OwnedFd>,
        armed: Option<Moment>,
    }

    impl<A: Ambient> BootTimer<A> {
        /// `ambient` must read CLOCK_BOOTTIME.
        ///
        /// # Errors
        ///
        /// When the process has no file descriptor left.
        pub(crate) fn new(ambient: A) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
            // Newer versions of tokio require `unsafe` here, because the descriptor of some types may change. The
            // descriptor of an OwnedFd does not.
            #[allow(
                deprecated,
                reason = "the replacement is unsafe, and not in the oldest tokio that will do"
            )]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Self { ambient, fd, armed: None })
        }

        fn arm(&mut self, at: Moment) -> io::Result<()> {
            let nanos = at.as_nanos();
            // The seconds of a u64 of nanoseconds fit into an i64. Zero would disarm the timer, but `at` is in the
            // future.
            #[expect(clippy::cast_possible_wrap)]
            let it_value = Timespec { tv_sec: (nanos / NANOS) as i64, tv_nsec: (nanos % NANOS) as _ };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval, it_value };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
            self.armed = Some(at);
            Ok(())
        }
    }

    impl<A: Ambient> Timer for BootTimer<A> {
        fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
            loop {
                if self.ambient.now() >= at {
                    return Poll::Ready(());
                }
                if self.armed != Some(at) {
                    // Cannot fail: the descriptor and the time are valid.
                    let _ = self.arm(at);
                }
                let Ok(mut ready) = ready!(self.fd.poll_read_ready(cx)) else {
                    // The runtime is shutting down, and this task ends with it.
                    return Poll::Pending;
                };
                // The read clears the readiness; the number of expirations does not matter. The loop checks the clock
                // again, because the timer may have been armed for another moment.
                let _ = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?));
                self.armed = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Machine;
    use std::future::poll_fn;
    use std::time::Duration;

    /// Arms `timer` for a later and an earlier moment first: only the moment asked for last counts. A past moment is
    /// reached at once.
    async fn goes_off_at_the_moment_asked_for_last(timer: &mut dyn Timer) {
        let soon = Machine.now() + Duration::from_millis(30);
        for other in [soon + Duration::from_secs(60), Machine.now() + Duration::from_millis(5)] {
            let polled = poll_fn(|cx| Poll::Ready(timer.poll_reached(other, cx))).await;
            assert!(polled.is_pending() || Machine.now() >= other);
        }
        poll_fn(|cx| timer.poll_reached(soon, cx)).await;
        assert!(Machine.now() >= soon, "never early");
        poll_fn(|cx| timer.poll_reached(Moment::from_nanos(0), cx)).await;
    }

    #[tokio::test]
    async fn the_machines_timer_is_never_early() {
        goes_off_at_the_moment_asked_for_last(&mut *Machine.timer()).await;
    }

    #[tokio::test]
    async fn a_sleeper_is_never_early() {
        goes_off_at_the_moment_asked_for_last(&mut Sleeper::new(Arc::new(Machine))).await;
    }
}
