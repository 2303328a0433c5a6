//! The keeper: one task that checks all leases of a client. The task renews the leases, ends them at their deadline,
//! and sets a key again on a node that has lost the key. This file decides when a lease is checked;
//! `renew.rs` does the check.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::HeldLease;
use super::renew::Work;
use crate::error::{LockError, Loss, NodeFailure};
use crate::protocol::TimerQueue;
use crate::types::sync::{AtomicU64, Mutex, MutexGuard, Notify, spawn_on};
use crate::types::{Ambient, Claim, Moment, NodeId};

/// How many leases are checked before the task handles answers and yields to other tasks. A check takes about a
/// microsecond.
const CHECKS_MAX: usize = 1024;

/// When the last lease has ended, the task usually lives on until its next alarm, because another lock may be acquired
/// soon. If the alarm is further away than this, the task is notified.
const LINGER: Duration = Duration::from_secs(1);

/// A task that finds no lease looks once more after this time, and ends unless a lease was taken meanwhile. Otherwise a
/// lock that is released at once would cost a task and a timer: five allocations and four system calls.
const IDLE: Duration = Duration::from_millis(20);

/// The handle on the keeper's task for the client and its leases. The first lease starts the task; the task ends after
/// the last lease.
pub(super) struct Keeper(Arc<Shared>);

struct Shared {
    ambient: Arc<dyn Ambient>,
    /// The runtime of the nodes' tasks. The task is spawned here because a lock may be acquired on another runtime,
    /// which may end before the lease does.
    runtime: Handle,
    numbers: AtomicU64,
    state: Mutex<State>,
    wake: Notify,
    /// Locked while leases are checked, for about a millisecond at most. Leases under check are not on the state.
    checking: Mutex<()>,
    /// For each node, why the last command that was to renew leases failed.
    refusals: Mutex<Vec<Option<NodeFailure>>>,
}

/// The task's state that others may change.
struct State {
    /// The leases, by the moment of their next check.
    timers: TimerQueue<Arc<HeldLease>>,
    /// When the task runs without being notified.
    alarm: Moment,
    is_running: bool,
    closed: Option<Closed>,
}

/// Why the keeper accepts no lease any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The client is shut down.
    ShutDown,
    /// The runtime in which the task was to run has ended.
    RuntimeEnded,
}

impl Closed {
    pub(super) fn error(self) -> LockError {
        match self {
            Self::ShutDown => LockError::ShutDown,
            Self::RuntimeEnded => LockError::RuntimeEnded,
        }
    }

    /// The loss that the holder of a lock sees.
    pub(super) fn loss(self, claim: &Claim) -> Loss {
        let resource = claim.name().to_owned();
        match self {
            Self::ShutDown => Loss::ShutDown { resource },
            Self::RuntimeEnded => Loss::RuntimeEnded { resource },
        }
    }
}

impl Keeper {
    /// Must be called within a tokio runtime; the task will run there.
    pub(super) fn new(nodes: usize, ambient: Arc<dyn Ambient>) -> Self {
        let state =
            State { timers: TimerQueue::default(), alarm: Moment::NEVER, is_running: false, closed: None };
        Self(Arc::new(Shared {
            ambient,
            runtime: Handle::current(),
            numbers: AtomicU64::new(0),
            state: Mutex::new(state),
            wake: Notify::new(),
            checking: Mutex::new(()),
            refusals: Mutex::new(vec![None; nodes]),
        }))
    }

    /// A number for a new lease.
    pub(super) fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Checks `lease` from now on, first at `check_at`.
    ///
    /// # Errors
    ///
    /// Why the keeper accepts no lease any more. [`Closed::RuntimeEnded`] may also mean that the task's runtime ended
    /// while the task was being spawned.
    pub(super) fn keep(&self, lease: Arc<HeldLease>, check_at: Moment) -> Result<(), Closed> {
        let mut state = self.0.state();
        state.open()?;
        state.timers.insert(check_at, lease.number, lease);
        if state.is_running {
            if check_at < state.alarm {
                self.0.wake.notify_one();
            }
            return Ok(());
        }
        state.is_running = true;
        drop(state);
        // Made before the spawn: a runtime that has ended drops the task before its first poll, and the dropped
        // `TaskGuard` then ends the lease.
        let guard = TaskGuard { shared: Arc::clone(&self.0), has_finished: false };
        spawn_on(&self.0.runtime, run(guard));
        self.0.state().open()
    }

    /// Removes lease `number`, which has ended and was scheduled for `check_at`.
    pub(super) fn forget(&self, check_at: Moment, number: u64, now: Moment) {
        let mut state = self.0.state();
        let _ = state.timers.remove(check_at, number);
        if state.timers.is_empty() && now + LINGER < state.alarm {
            self.0.wake.notify_one();
        }
    }

    /// Moves the next check of lease `number`. Returns when the lease is scheduled now: still `from` if the task is
    /// checking the lease at this moment.
    pub(super) fn reschedule(&self, from: Moment, to: Moment, number: u64) -> Moment {
        let mut state = self.0.state();
        let Some(lease) = state.timers.remove(from, number) else { return from };
        state.timers.insert(to, number, lease);
        if to < state.alarm {
            self.0.wake.notify_one();
        }
        to
    }

    /// Schedules the next check of a lease that the task is checking.
    pub(super) fn schedule(&self, check_at: Moment, lease: Arc<HeldLease>) -> Result<(), Closed> {
        let mut state = self.0.state();
        state.open()?;
        state.timers.insert(check_at, lease.number, lease);
        Ok(())
    }

    /// Accepts no lease any more, and returns the leases on the state. Leases that are being checked have ended when
    /// `close` returns.
    pub(super) fn close(&self) -> Vec<Arc<HeldLease>> {
        let leases = {
            let mut state = self.0.state();
            state.closed = Some(Closed::ShutDown);
            state.timers.take_all()
        };
        self.0.wake.notify_one();
        drop(lock(&self.0.checking));
        leases
    }

    /// Remembers how the last command that was to renew leases on `node` ended; `refusal` is the reason if it failed.
    pub(super) fn note_answer(&self, node: NodeId, refusal: Option<NodeFailure>) {
        lock(&self.0.refusals)[node.0] = refusal;
    }

    /// Why the last command that was to renew leases on `node` failed; `None` if the node answered it.
    pub(super) fn refusal(&self, node: NodeId) -> Option<NodeFailure> {
        lock(&self.0.refusals)[node.0].clone()
    }
}

impl Drop for Keeper {
    /// Notifies the task. No leases are left, because each of them holds the client, so the task ends.
    fn drop(&mut self) {
        self.0.state().closed.get_or_insert(Closed::ShutDown);
        self.0.wake.notify_one();
    }
}

impl State {
    fn open(&self) -> Result<(), Closed> {
        self.closed.map_or(Ok(()), Err)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Checks all leases that are due, up to [`CHECKS_MAX`]. Returns their number.
    fn check(&self, work: &mut Work) -> usize {
        let _checking = lock(&self.checking);
        let now = self.ambient.now();
        let due = self.state().timers.take_due(now, CHECKS_MAX);
        let checked = due.len();
        work.check(due, now);
        checked
    }

    /// Sets and returns the alarm for the next check; `None` when no lease and no answer is left, and no lease was taken
    /// since `idle`, when the task found none before.
    fn set_alarm(&self, work: &Work, idle: &mut Idle) -> Option<Moment> {
        let mut state = self.state();
        if !state.timers.is_empty() || !work.is_done() {
            *idle = Idle::No;
            state.alarm = state.timers.next().unwrap_or(Moment::NEVER);
            return Some(state.alarm);
        }
        let now_idle = Idle::Since { taken: self.numbers.load(Ordering::Relaxed) };
        if state.closed.is_some() || *idle == now_idle {
            state.is_running = false;
            return None;
        }
        *idle = now_idle;
        state.alarm = self.ambient.now() + IDLE;
        Some(state.alarm)
    }
}

/// Whether the task found no lease the last time that it looked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    No,
    /// `taken`: how many leases had been taken until then.
    Since {
        taken: u64,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all leases when the task is dropped with its runtime, because nobody would renew or end them any more.
struct TaskGuard {
    shared: Arc<Shared>,
    /// Whether the task has ended by itself, without leases.
    has_finished: bool,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.has_finished {
            return;
        }
        let mut state = self.shared.state();
        state.is_running = false;
        if state.closed.is_none() && !std::thread::panicking() {
            state.closed = Some(Closed::RuntimeEnded);
        }
        let leases = state.timers.take_all();
        drop(state);
        if !leases.is_empty() {
            let locks = leases.len();
            tracing::warn!(locks, "the client's runtime has ended under locks that are held; they are lost");
        }
        leases.iter().for_each(|lease| lease.lose(Closed::RuntimeEnded));
    }
}

async fn run(mut guard: TaskGuard) {
    let shared = Arc::clone(&guard.shared);
    let mut timer = shared.ambient.timer();
    let (mut work, mut idle) = (Work::default(), Idle::No);
    loop {
        if shared.check(&mut work) == CHECKS_MAX {
            tokio::task::yield_now().await;
        }
        let Some(alarm) = shared.set_alarm(&work, &mut idle) else { break };
        tokio::select! {
            biased;
            () = work.next_answer() => {}
            () = shared.wake.notified() => {}
            () = poll_fn(|cx| timer.poll_reached(alarm, cx)) => {}
        }
    }
    // `set_alarm` has recorded the end of the task, and a new task may have started since.
    guard.has_finished = true;
}

#[cfg(all(test, redlock_shuttle))]
#[path = "keeper_schedules_tests.rs"]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedlockBuilder;
    use crate::coordinator::{Coordinator, Internet, Machine};

    /// The bug: the runtime dropped the task before its first poll, but the keeper took the task for running.
    #[test]
    fn a_lease_that_is_won_as_the_runtime_ends_is_refused() {
        let home = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let settings = RedlockBuilder::new().nodes(["redis://127.0.0.1:1"]).validate().unwrap();
        let coordinator = home.block_on(async { Coordinator::start(settings, Arc::new(Machine), &Internet) });
        drop(home);
        let settings = coordinator.settings();
        let claim = Claim::Exclusive { key: settings.resource("job").unwrap() };
        let terms = settings.lease_terms(settings.ttl.as_duration(), None);
        for _ in 0..2 {
            let held = coordinator.new_attempt(&claim, terms.clone().unwrap(), claim.all());
            let held = HeldLease::hold(held, settings.keep);
            assert_eq!(held.err(), Some(LockError::RuntimeEnded));
        }
        assert_eq!(coordinator.stats().leases_held, 0);
    }
}
