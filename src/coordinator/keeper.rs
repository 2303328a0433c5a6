//! One task that looks after all leases of a client: renews them, ends them at their deadline, plants them where a
//! node has lost them. What it does at a look is in `renew.rs`; here is when.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Leased;
use super::renew::Work;
use crate::protocol::Agenda;
use crate::types::{Ambient, Moment};

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
    numbers: AtomicU64,
    board: Mutex<Board>,
    wake: Notify,
}

/// What is written down for the task.
struct Board {
    agenda: Agenda<Arc<Leased>>,
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
    Closed,
}

/// The client is shut down: no lease is taken into care any more.
pub(super) struct Closed;

impl Keeper {
    pub(super) fn new(ambient: Arc<dyn Ambient>) -> Self {
        let board = Board {
            agenda: Agenda::default(),
            alarm: Moment::NEVER,
            task: Task::Absent,
            access: Access::Open,
        };
        Self(Arc::new(Shared {
            ambient,
            numbers: AtomicU64::new(0),
            board: Mutex::new(board),
            wake: Notify::new(),
        }))
    }

    /// A number for a new lease.
    pub(super) fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks after `leased` from now on. Must be called within a tokio runtime.
    pub(super) fn keep(&self, leased: Arc<Leased>, look: Moment) -> Result<(), Closed> {
        let mut board = self.0.board();
        match board.access {
            Access::Open => {}
            Access::Closed => return Err(Closed),
        }
        board.agenda.insert(look, leased.number, leased);
        match board.task {
            Task::Absent => {
                board.task = Task::Running;
                tokio::spawn(run(Arc::clone(&self.0)));
            }
            Task::Running if look < board.alarm => self.0.wake.notify_one(),
            Task::Running => {}
        }
        Ok(())
    }

    /// It has ended, and was written down for then.
    pub(super) fn forget(&self, look: Moment, number: u64, now: Moment) {
        let mut board = self.0.board();
        let _ = board.agenda.remove(look, number);
        if board.agenda.is_empty() && now + LINGER < board.alarm {
            self.0.wake.notify_one();
        }
    }

    /// Moves a look. Answers where it is now: unchanged if the task has just taken it up.
    pub(super) fn move_look(&self, from: Moment, to: Moment, number: u64) -> Moment {
        let mut board = self.0.board();
        let Some(leased) = board.agenda.remove(from, number) else { return from };
        board.agenda.insert(to, number, leased);
        if to < board.alarm {
            self.0.wake.notify_one();
        }
        to
    }

    /// Writes down a lease that the task has taken up, for its next look.
    pub(super) fn write_down(&self, look: Moment, leased: Arc<Leased>) -> Result<(), Closed> {
        let mut board = self.0.board();
        match board.access {
            Access::Open => board.agenda.insert(look, leased.number, leased),
            Access::Closed => return Err(Closed),
        }
        Ok(())
    }

    /// Takes no lease any more, and answers those that are held.
    pub(super) fn close(&self) -> Vec<Arc<Leased>> {
        let mut board = self.0.board();
        board.access = Access::Closed;
        let leases = board.agenda.take_all();
        self.0.wake.notify_one();
        leases
    }
}

impl Drop for Keeper {
    /// Nobody holds a lease any more: the task has nothing to wait for.
    fn drop(&mut self) {
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is due, and when more will be; `None` when there is nothing to be kept any more.
    fn take_due(&self, work: &Work) -> Option<(Vec<Arc<Leased>>, Moment)> {
        let now = self.ambient.now();
        let mut board = self.board();
        let due = board.agenda.take_due(now, LOOKS_MAX);
        if due.is_empty() && board.agenda.is_empty() && work.is_done() {
            board.task = Task::Absent;
            return None;
        }
        Some((due, now))
    }

    /// Sets the alarm for what comes next, and answers it.
    fn set_alarm(&self) -> Moment {
        let mut board = self.board();
        board.alarm = board.agenda.next().unwrap_or(Moment::NEVER);
        board.alarm
    }
}

/// A runtime that ends takes the task along; the next lease starts another.
struct Presence<'a>(&'a Shared);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.board().task = Task::Absent;
    }
}

async fn run(shared: Arc<Shared>) {
    let presence = Presence(&shared);
    let mut timer = shared.ambient.timer();
    let mut work = Work::default();
    while let Some((due, now)) = shared.take_due(&work) {
        let more = due.len() == LOOKS_MAX;
        work.look_at(due, now);
        if more {
            tokio::task::yield_now().await;
        }
        let alarm = shared.set_alarm();
        tokio::select! {
            biased;
            () = work.next_answer() => {}
            () = shared.wake.notified() => {}
            () = poll_fn(|cx| timer.poll_reached(alarm, cx)) => {}
        }
    }
    // It is written down already, and another task may have been started since.
    std::mem::forget(presence);
}
