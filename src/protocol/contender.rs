//! The contender: decides what the head of a wait queue does next. The head attempts on all nodes, registers on the
//! queue node, or sleeps.

use std::time::Duration;

use super::{LOOK_AGAIN, LOOK_AT_LEAST, Pause, Retry};
use crate::types::{Manner, Moment, Ticket, Turn};

/// After the holder's TTL has passed on one node, the keys on other nodes need a moment to expire as well.
const EXPIRY_MARGIN: Duration = Duration::from_millis(2);
/// Waiters for the end of one TTL wake up spread over this time, not all at once.
const EXPIRY_JITTER: Duration = Duration::from_millis(8);
/// Pauses after attempts that failed although the queue node had notified us or said that it was our turn. Either
/// that node lacks the key of a lock that others hold, or another client was faster.
const SUSPENSION: Retry = Retry::exponential(Duration::from_millis(5), LOOK_AGAIN);

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Attempt the lock on all nodes.
    Attempt,
    /// Ask only the queue node: join its queue, and learn whether the lock is free.
    Register(Manner),
    /// Sleep until this time, unless notified.
    Sleep(Moment),
}

/// The knowledge about a lock when the wait for it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Unknown,
    /// Other clients want the lock as well. An attempt outside the queue would fail, or be unfair.
    Wanted,
}

/// The wait of one process for a lock. The contender belongs to the wait queue: when the head leaves, the next waiter
/// becomes head and inherits its progress.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    next: Next,
    ticket: Option<Ticket>,
    /// Whether a notification has arrived since the last attempt began.
    is_notified: bool,
    /// Whether the queue node prompted the last attempt.
    is_prompted: bool,
    /// The number of consecutive attempts that the queue node prompted and that failed.
    misled: u32,
    outages: u32,
    /// How long the first client in the queue sleeps at most.
    look_again: Duration,
    /// Whether we were told that we are the first, while we did not sleep. A reply that was under way may say otherwise.
    is_told_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Attempt,
    Register(Manner),
    SleepThenRegister(Moment, Manner),
    SleepThenAttempt(Moment),
}

impl Contender {
    pub(crate) fn new(demand: Demand) -> Self {
        let next = match demand {
            Demand::Unknown => Next::Attempt,
            Demand::Wanted => Next::Register(Manner::Eager),
        };
        Self {
            next,
            ticket: None,
            is_notified: false,
            is_prompted: false,
            misled: 0,
            outages: 0,
            look_again: LOOK_AGAIN,
            is_told_first: false,
        }
    }

    /// Returns the next action. Without an input in between, calls at the same time return the same action.
    pub(crate) fn step(&self, now: Moment) -> Step {
        if self.is_notified {
            return Step::Attempt;
        }
        match self.next {
            Next::Attempt => Step::Attempt,
            Next::Register(manner) => Step::Register(manner),
            Next::SleepThenRegister(until, _) | Next::SleepThenAttempt(until) if now < until => {
                Step::Sleep(until)
            }
            Next::SleepThenRegister(_, manner) => Step::Register(manner),
            Next::SleepThenAttempt(_) => Step::Attempt,
        }
    }

    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The next attempt begins. Until its outcome is handled, the next action is an attempt: when the head is dropped
    /// midway, the next waiter repeats the attempt, so that the notification is not wasted.
    pub(crate) fn handle_attempt(&mut self) {
        if self.is_notified {
            self.is_prompted = true;
        }
        self.is_notified = false;
        self.next = Next::Attempt;
    }

    /// Forgets a notification with the attempt that it caused, which must never happen; a deliberate bug for the
    /// simulation.
    pub(crate) fn handle_attempt_and_forget(&mut self) {
        let next = self.next;
        self.handle_attempt();
        self.next = next;
    }

    /// The attempt failed because others hold the lock.
    pub(crate) fn handle_lost(&mut self) {
        self.outages = 0;
        let manner = if self.is_prompted {
            self.misled = self.misled.saturating_add(1);
            Manner::Patient
        } else {
            Manner::Eager
        };
        self.is_prompted = false;
        self.next = Next::Register(manner);
    }

    /// The attempt failed for another reason, or there is no node to register on.
    pub(crate) fn handle_outage(&mut self, retry: Retry, now: Moment, random: u64) {
        self.is_prompted = false;
        self.outages = self.outages.saturating_add(1);
        self.next = Next::SleepThenAttempt(now + pause(retry, self.outages, random));
    }

    /// The queue node has added us to the queue, behind `ahead` others. `look_again` limits the sleep of the first client
    /// until it registers again.
    pub(crate) fn handle_registered(
        &mut self,
        turn: Turn,
        ticket: Ticket,
        ahead: u32,
        look_again: Duration,
        now: Moment,
        random: u64,
    ) {
        self.ticket = Some(ticket);
        self.look_again = look_again;
        let ahead = if std::mem::take(&mut self.is_told_first) { 0 } else { ahead };
        self.outages = 0;
        let sleep = match turn {
            Turn::Ours => {
                self.is_prompted = true;
                self.next = Next::Attempt;
                return;
            }
            Turn::Others(_) | Turn::Endless if ahead > 0 => {
                self.misled = 0;
                let longest = behind(ahead, look_again);
                let sleep = longest / 4 * 3 + share(longest / 4, random);
                self.next = Next::SleepThenRegister(now + sleep, Manner::Behind);
                return;
            }
            Turn::Others(wait) => {
                self.misled = 0;
                let end = wait + EXPIRY_MARGIN + share(EXPIRY_JITTER, random);
                if end <= look_again { end } else { look_again / 2 + share(look_again / 2, random) }
            }
            Turn::Endless => {
                self.misled = 0;
                look_again / 2 + share(look_again / 2, random)
            }
            Turn::Free => pause(SUSPENSION, self.misled, random),
        };
        self.next = Next::SleepThenRegister(now + sleep, Manner::Eager);
    }

    /// The queue node says that nobody waits before us any more. From now on it is us who look whether the lock is free.
    pub(crate) fn handle_first(&mut self, now: Moment, random: u64) {
        if let Next::SleepThenRegister(until, Manner::Behind) = self.next
            && now < until
        {
            let soon = now + self.look_again / 2 + share(self.look_again / 2, random);
            self.next = Next::SleepThenRegister(until.min(soon), Manner::Eager);
        } else {
            self.is_told_first = true;
        }
    }

    /// The queue node could not be asked, or the connection is gone on which it would have notified us.
    pub(crate) fn handle_queue_lost(&mut self) {
        match self.next {
            Next::Register(_) | Next::SleepThenRegister(..) => self.next = Next::Register(Manner::Eager),
            Next::Attempt | Next::SleepThenAttempt(_) => {}
        }
    }

    /// The lock was released, by this process or another, and it is our turn.
    pub(crate) fn handle_notified(&mut self) {
        self.is_notified = true;
    }
}

/// How long a client behind others sleeps at most. It is notified by the release that makes it the next, and told when it
/// is the first. It looks in case that the others are gone and could not say so, the first of them soonest.
fn behind(ahead: u32, look_again: Duration) -> Duration {
    look_again.saturating_mul(1 << ahead.min(20)).min(LOOK_AT_LEAST).max(look_again)
}

fn pause(retry: Retry, attempt: u32, random: u64) -> Duration {
    match retry.pause(attempt.max(1), random) {
        Pause::For(pause) => pause,
        // The FIFO strategy never gives up.
        Pause::GiveUp => LOOK_AGAIN,
    }
}

/// A duration between zero and `whole`.
fn share(whole: Duration, random: u64) -> Duration {
    pause(Retry::exponential(whole, whole), 1, random)
}

#[cfg(test)]
#[path = "contender_tests.rs"]
mod tests;
