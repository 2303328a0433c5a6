//! True time, and the clocks of clients and nodes that differ from it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::coordinator::Sleeper;
use crate::types::{Ambient, Moment, Timer};

/// Any day will do.
const EPOCH_MICROS: u64 = 1_800_000_000_000_000;
/// The origin of a client's own clock: no moment is before it.
const ORIGIN_NANOS: u64 = 1_000_000_000_000;

/// The paused time of tokio since the beginning of the run.
#[derive(Clone, Copy)]
pub(super) struct TrueTime(Instant);

impl TrueTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "tokio's time is paused: this is the simulation's own clock"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }

    pub(super) fn at(self, time: Duration) -> Instant {
        self.0 + time
    }
}

/// The clock of a machine: its rate against true time, and how far its wall clock is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) rate: f64,
    pub(super) wall_offset_micros: i64,
}

impl Rate {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "minutes in nanoseconds"
    )]
    pub(super) fn nanos(self, time: Duration) -> u64 {
        (time.as_nanos() as f64 * self.rate) as u64
    }

    pub(super) fn wall_micros(self, time: Duration) -> u64 {
        (EPOCH_MICROS + self.nanos(time) / 1000).saturating_add_signed(self.wall_offset_micros)
    }
}

/// Time and randomness of one client.
pub(super) struct ClientAmbient(Arc<Shared>);

struct Shared {
    time: TrueTime,
    rate: Rate,
    /// Since when the process stands still: its clock then does, too, for whoever reads it.
    frozen: Mutex<Option<Duration>>,
    /// Timers and work that were looked at while the process stood still.
    overslept: Mutex<Vec<Waker>>,
    random: Mutex<StdRng>,
}

impl ClientAmbient {
    pub(super) fn new(time: TrueTime, rate: Rate, seed: u64) -> Arc<Self> {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self(Arc::new(Shared {
            time,
            rate,
            frozen: Mutex::new(None),
            overslept: Mutex::default(),
            random,
        })))
    }

    /// Stops the clock; one that is stopped already stays so.
    pub(super) fn freeze(&self) {
        self.0.frozen.lock().unwrap().get_or_insert(self.0.time.now());
    }

    pub(super) fn thaw(&self) {
        *self.0.frozen.lock().unwrap() = None;
    }

    /// Works, except while the process stands still.
    pub(super) async fn work<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| if self.0.stands_still(cx) { Poll::Pending } else { work.as_mut().poll(cx) }).await
    }

    /// Lets work go on, and timers go off whose moment has passed while the process stood still.
    pub(super) fn wake(&self) {
        std::mem::take(&mut *self.0.overslept.lock().unwrap()).into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.0.frozen.lock().unwrap().is_some()
    }

    /// What the clock says, or would say if the process did not stand still.
    pub(super) fn truly_now(&self) -> Moment {
        self.0.moment(self.0.time.now())
    }
}

impl Shared {
    fn moment(&self, time: Duration) -> Moment {
        Moment::from_nanos(ORIGIN_NANOS + self.rate.nanos(time))
    }

    /// Whether the process stands still. Then the task is woken when it goes on.
    fn stands_still(&self, cx: &Context<'_>) -> bool {
        let stands_still = self.frozen.lock().unwrap().is_some();
        if stands_still {
            self.overslept.lock().unwrap().push(cx.waker().clone());
        }
        stands_still
    }

    fn read(&self) -> Duration {
        self.frozen.lock().unwrap().unwrap_or_else(|| self.time.now())
    }
}

impl Ambient for ClientAmbient {
    fn now(&self) -> Moment {
        self.0.moment(self.0.read())
    }

    fn wall_micros(&self) -> u64 {
        self.0.rate.wall_micros(self.0.read())
    }

    fn random(&self) -> u128 {
        self.0.random.lock().unwrap().random()
    }

    fn timer(&self) -> Box<dyn Timer> {
        let sleeper = Sleeper::new(Arc::new(Self(Arc::clone(&self.0))));
        Box::new(SimTimer { sleeper, shared: Arc::clone(&self.0) })
    }
}

/// A timer that goes off at once when its moment has passed while the process stood still, as a timerfd does.
struct SimTimer {
    sleeper: Sleeper,
    shared: Arc<Shared>,
}

impl Timer for SimTimer {
    fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.stands_still(cx);
        self.sleeper.poll_reached(at, cx)
    }
}
