//! Explores schedules: the orders in which threads take their steps. Shuttle runs all threads of a test on one, and
//! chooses before each step on a primitive of `types/sync.rs` which of them takes it. A test fails when a thread panics,
//! or when all threads wait, which is how a lost wake-up shows. `make schedules` runs these tests.
//!
//! Every step is taken as if it were sequentially consistent, so that a weak ordering of an atomic goes unnoticed here.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::config::{RedlockBuilder, Settings};
use crate::coordinator::{Coordinator, Internet};
use crate::planted::{self, Fault};
use crate::types::sync::{AtomicU64, Mutex};
use crate::types::{Ambient, Moment, Timer};

/// How many schedules [`explore_all`] tries at most. Its tests have a few hundred or thousand.
const ALL_MAX: usize = 100_000;
/// How many schedules at most are to show a mistake. The hardest of today, a notification that is lost, takes 10 216.
const FOUND_MAX: usize = 20_000;
/// How many preemptions the PCT scheduler places: most bugs need one or two.
const PREEMPTIONS: usize = 3;

/// The beginning of shuttle's message when all threads wait.
pub(crate) const ALL_WAIT: &str = "deadlock!";

/// Runs `test` under all of its schedules, which must be few.
pub(crate) fn explore_all(test: fn()) {
    let schedules = run(DfsScheduler::new(Some(ALL_MAX), false), FailurePersistence::Print, test);
    assert!(schedules < ALL_MAX, "the test has too many schedules to try all of them");
    report(&format!("all of its {schedules} schedules"));
}

/// Runs `test` under `SCHEDULES` (4000) schedules: half of them draw each step, half let a thread run until one of a few
/// preemptions. The same schedules each time, unless `SCHEDULES_SEED` says otherwise.
pub(crate) fn explore(test: fn()) {
    let schedules = run_some(number("SCHEDULES", 4000), FailurePersistence::Print, test);
    report(&format!("{schedules} schedules"));
}

/// Expects that exploring the schedules of `test`, which has a mistake, ends with a message that contains `symptom`.
pub(crate) fn finds(symptom: &str, test: fn()) {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = {
        let tried = Arc::clone(&tried);
        move || {
            tried.fetch_add(1, Ordering::Relaxed);
            test();
        }
    };
    let search = AssertUnwindSafe(|| run_some(FOUND_MAX, FailurePersistence::None, counted));
    let Err(panic) = catch_unwind(search) else { panic!("no schedule shows the mistake") };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let message = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap();
    assert!(message.contains(symptom), "the mistake shows otherwise: {message}");
    report(&format!("found by schedule {}", tried.load(Ordering::Relaxed)));
}

/// As [`finds`], of a planted mistake.
pub(crate) fn finds_planted(fault: Fault, symptom: &str, test: fn()) {
    planted::plant(Some(fault));
    finds(symptom, test);
    planted::plant(None);
}

fn run_some(
    schedules: usize,
    persistence: FailurePersistence,
    test: impl Fn() + Clone + Send + Sync + 'static,
) -> usize {
    let (half, seed) = (schedules / 2, number("SCHEDULES_SEED", 1) as u64);
    let drawn = RandomScheduler::new_from_seed(seed, half);
    let preempted = PctScheduler::new_from_seed(seed, PREEMPTIONS, half);
    run(drawn, persistence.clone(), test.clone()) + run(preempted, persistence, test)
}

fn run(
    scheduler: impl Scheduler + 'static,
    persistence: FailurePersistence,
    test: impl Fn() + Send + Sync + 'static,
) -> usize {
    let mut config = Config::new();
    config.failure_persistence = persistence;
    config.silence_warnings = true;
    config.stack_size = 0x4_0000;
    Runner::new(scheduler, config).run(test)
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// Prints a line that the test harness does not capture, because it is the result of a test that passes.
fn report(what: &str) {
    let line = format!("{}: {what}\n", std::thread::current().name().unwrap_or("?"));
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A clock that stands still until a test moves it on.
#[derive(Default)]
pub(crate) struct Clock {
    now: AtomicU64,
    drawn: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Clock {
    pub(crate) fn advance(&self, by: Duration) {
        self.now.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A clock of the ambient that several threads share.
pub(crate) struct Shared(pub(crate) Arc<Clock>);

impl Ambient for Shared {
    fn now(&self) -> Moment {
        // The clock does not begin at zero, which stands for "never" in places.
        Moment::from_nanos(1_000_000_000 + self.0.now.load(Ordering::SeqCst))
    }

    fn wall_micros(&self) -> u64 {
        self.now().as_nanos() / 1000
    }

    fn random(&self) -> u128 {
        self.0.drawn.fetch_add(1, Ordering::SeqCst).into()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(ClockTimer(Shared(Arc::clone(&self.0))))
    }
}

struct ClockTimer(Shared);

impl Timer for ClockTimer {
    fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()> {
        // First, so that no advance is missed.
        self.0.0.waiting.lock().unwrap().push(cx.waker().clone());
        if self.0.now() < at { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Calls `test` with a client of one node, which is never connected, and its clock. The tasks of nodes never run.
pub(crate) fn with_client(test: impl FnOnce(Arc<Coordinator>, Arc<Clock>)) {
    static SETTINGS: LazyLock<Settings> =
        LazyLock::new(|| RedlockBuilder::new().nodes(["redis://127.0.0.1:1"]).validate().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let clock = Arc::new(Clock::default());
    test(Coordinator::start(SETTINGS.clone(), Arc::new(Shared(Arc::clone(&clock))), &Internet), clock);
}
