//! One task that looks after all leases of a client: renews them, ends them at their deadline, and sets their keys again where a
//! node has lost them. What it does at a look is in `renew.rs`; here is when.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::HeldLease;
use super::renew::Work;
use crate::error::{LockError, Loss, NodeFailure};
use crate::protocol::TimerQueue;
use crate::types::{Ambient, Moment, NodeId, Resource};

/// How many leases are looked at before answers are taken in and other tasks get their turn. A look costs about a
/// microsecond.
const LOOKS_MAX: usize = 1024;

/// A task without leases is left to its next alarm, for the next lock may come at once; not if that is further away
/// than this.
const LINGER: Duration = Duration::from_secs(1);

/// The keeper as its client and its leases see it. The task is started with the first lease and ends after the last.
pub(super) struct Keeper(Arc<Shared>);

struct Shared {
    ambient: Arc<dyn Ambient>,
    /// Where the nodes' tasks run: a lock may be taken on another runtime, which ends before the last lease does.
    runtime: Handle,
    numbers: AtomicU64,
    board: Mutex<Board>,
    wake: Notify,
    /// Held while leases are looked at that are not on the board meanwhile: about a millisecond.
    looking: Mutex<()>,
    /// Why a node renewed nothing when it was last asked.
    refusals: Mutex<Vec<Option<NodeFailure>>>,
}

/// What is written down for the task.
struct Board {
    timers: TimerQueue<Arc<HeldLease>>,
    /// When the task wakes up by itself.
    alarm: Moment,
    task: Task,
    access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Absent,
    Running,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Closed(Closed),
}

/// Why no lease is taken into care any more.
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

    /// To the holder of a lock this is a loss.
    pub(super) fn loss(self, resource: &Resource) -> Loss {
        let resource = resource.name().to_owned();
        match self {
            Self::ShutDown => Loss::ShutDown { resource },
            Self::RuntimeEnded => Loss::RuntimeEnded { resource },
        }
    }
}

impl Keeper {
    /// Must be called within a tokio runtime, in which the task will run.
    pub(super) fn new(nodes: usize, ambient: Arc<dyn Ambient>) -> Self {
        let board = Board {
            timers: TimerQueue::default(),
            alarm: Moment::NEVER,
            task: Task::Absent,
            access: Access::Open,
        };
        Self(Arc::new(Shared {
            ambient,
            runtime: Handle::current(),
            numbers: AtomicU64::new(0),
            board: Mutex::new(board),
            wake: Notify::new(),
            looking: Mutex::new(()),
            refusals: Mutex::new(vec![None; nodes]),
        }))
    }

    /// A number for a new lease.
    pub(super) fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks after `leased` from now on.
    pub(super) fn keep(&self, leased: Arc<HeldLease>, look: Moment) -> Result<(), Closed> {
        let mut board = self.0.board();
        board.open()?;
        board.timers.insert(look, leased.number, leased);
        match board.task {
            Task::Absent => {
                board.task = Task::Running;
                drop(board);
                // Made here: a runtime that has ended drops the task before its first step, and the lease ends now.
                let presence = Presence { shared: Arc::clone(&self.0), orderly: false };
                self.0.runtime.spawn(run(presence));
                self.0.board().open()
            }
            Task::Running => {
                if look < board.alarm {
                    self.0.wake.notify_one();
                }
                Ok(())
            }
        }
    }

    /// It has ended, and was written down for then.
    pub(super) fn forget(&self, look: Moment, number: u64, now: Moment) {
        let mut board = self.0.board();
        let _ = board.timers.remove(look, number);
        if board.timers.is_empty() && now + LINGER < board.alarm {
            self.0.wake.notify_one();
        }
    }

    /// Moves a look. Answers where it is now: unchanged if the task has just taken it up.
    pub(super) fn move_look(&self, from: Moment, to: Moment, number: u64) -> Moment {
        let mut board = self.0.board();
        let Some(leased) = board.timers.remove(from, number) else { return from };
        board.timers.insert(to, number, leased);
        if to < board.alarm {
            self.0.wake.notify_one();
        }
        to
    }

    /// Writes down a lease that the task has taken up, for its next look.
    pub(super) fn write_down(&self, look: Moment, leased: Arc<HeldLease>) -> Result<(), Closed> {
        let mut board = self.0.board();
        board.open()?;
        board.timers.insert(look, leased.number, leased);
        Ok(())
    }

    /// Takes no lease any more, and answers those that are held. Those that are just being looked at have been ended
    /// when it returns.
    pub(super) fn close(&self) -> Vec<Arc<HeldLease>> {
        let leases = {
            let mut board = self.0.board();
            board.access = Access::Closed(Closed::ShutDown);
            board.timers.take_all()
        };
        self.0.wake.notify_one();
        drop(lock(&self.0.looking));
        leases
    }

    /// Notes what came of asking `node` for renewals.
    pub(super) fn note_answer(&self, node: NodeId, refusal: Option<NodeFailure>) {
        lock(&self.0.refusals)[node.0] = refusal;
    }

    /// Why `node` renewed nothing when it was last asked.
    pub(super) fn refusal(&self, node: NodeId) -> Option<NodeFailure> {
        lock(&self.0.refusals)[node.0].clone()
    }
}

impl Drop for Keeper {
    /// Nobody holds a lease any more: the task has nothing to wait for.
    fn drop(&mut self) {
        self.0.wake.notify_one();
    }
}

impl Board {
    fn open(&self) -> Result<(), Closed> {
        match self.access {
            Access::Open => Ok(()),
            Access::Closed(why) => Err(why),
        }
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// Looks at what is due. Answers how many leases that were.
    fn look(&self, work: &mut Work) -> usize {
        let _looking = lock(&self.looking);
        let now = self.ambient.now();
        let due = self.board().timers.take_due(now, LOOKS_MAX);
        let looks = due.len();
        work.look_at(due, now);
        looks
    }

    /// Sets the alarm for what comes next, and answers it; `None` when there is nothing to be kept any more.
    fn set_alarm(&self, work: &Work) -> Option<Moment> {
        let mut board = self.board();
        if board.timers.is_empty() && work.is_done() {
            board.task = Task::Absent;
            return None;
        }
        board.alarm = board.timers.next().unwrap_or(Moment::NEVER);
        Some(board.alarm)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime that ends takes the task along, and nobody renews or ends its leases any more: they end with it.
struct Presence {
    shared: Arc<Shared>,
    /// Whether the task has ended by itself, without leases.
    orderly: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.orderly {
            return;
        }
        let mut board = self.shared.board();
        board.task = Task::Absent;
        if board.access == Access::Open && !std::thread::panicking() {
            board.access = Access::Closed(Closed::RuntimeEnded);
        }
        let leases = board.timers.take_all();
        drop(board);
        if !leases.is_empty() {
            let locks = leases.len();
            tracing::warn!(locks, "the client's runtime has ended under locks that are held; they are lost");
        }
        leases.iter().for_each(|leased| leased.lose(Closed::RuntimeEnded));
    }
}

async fn run(mut presence: Presence) {
    let shared = Arc::clone(&presence.shared);
    let mut timer = shared.ambient.timer();
    let mut work = Work::default();
    loop {
        if shared.look(&mut work) == LOOKS_MAX {
            tokio::task::yield_now().await;
        }
        let Some(alarm) = shared.set_alarm(&work) else { break };
        tokio::select! {
            biased;
            () = work.next_answer() => {}
            () = shared.wake.notified() => {}
            () = poll_fn(|cx| timer.poll_reached(alarm, cx)) => {}
        }
    }
    // It is written down already, and another task may have been started since.
    presence.orderly = true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedlockBuilder;
    use crate::coordinator::{Coordinator, Internet, Machine};
    use crate::types::Wake;

    /// The task was dropped before its first step, and the keeper believed that it was running.
    #[test]
    fn a_lease_that_is_won_as_the_runtime_ends_is_refused() {
        let home = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let settings = RedlockBuilder::new().nodes(["redis://127.0.0.1:1"]).validate().unwrap();
        let coordinator = home.block_on(async { Coordinator::start(settings, Arc::new(Machine), &Internet) });
        drop(home);
        let settings = coordinator.settings();
        let (resource, terms) =
            (settings.resource("job").unwrap(), settings.lease_terms(settings.ttl.as_duration(), None));
        for _ in 0..2 {
            let held = coordinator.new_attempt(&resource, terms.clone().unwrap(), Wake::Next);
            let held = HeldLease::hold(held, settings.keep);
            assert_eq!(held.err(), Some(LockError::RuntimeEnded));
        }
        assert_eq!(coordinator.stats().leases_held, 0);
    }
}
