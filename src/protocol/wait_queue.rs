//! The wait queue: the waiters of one lock in one process. The queue decides which waiter is the head, and when the
//! lock is handed over within the process without going through the queue on a node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Contender, Demand};
use crate::types::{Moment, Wake};

/// How often in a row a lock is handed over within a process while other processes wait.
const HAND_OVERS_MAX: u32 = 16;
/// How long a lock is handed over within a process while other processes wait.
const HAND_OVERS_FOR: Duration = Duration::from_millis(100);

/// The waiters, first come, first served. `W` is the means to wake a waiter up.
#[derive(Debug)]
pub(crate) struct WaitQueue<W> {
    /// The waiters by number; the number grows with each waiter that joins.
    waiters: BTreeMap<u64, W>,
    /// The contender of the head. The next head inherits it.
    pub(crate) contender: Contender,
    chain: Chain,
    is_handed_over: bool,
}

/// The hand-overs that are left since the lock was last won against all clients.
#[derive(Clone, Copy, Debug)]
struct Chain {
    left: u32,
    until: Moment,
}

/// The effect of a waiter's leaving on the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterLeaving<W> {
    /// The waiter was not the head, so nothing changes.
    SameHead,
    /// This waiter is the head now.
    NewHead(W),
    /// No waiter is left.
    Empty,
}

impl<W: Clone> WaitQueue<W> {
    pub(crate) fn new(demand: Demand, now: Moment) -> Self {
        Self {
            waiters: BTreeMap::new(),
            contender: Contender::new(demand),
            chain: Chain::new(now),
            is_handed_over: false,
        }
    }

    pub(crate) fn join(&mut self, number: u64, waiter: W) {
        self.waiters.insert(number, waiter);
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.waiters.contains_key(&number)
    }

    pub(crate) fn is_head(&self, number: u64) -> bool {
        self.waiters.keys().next() == Some(&number)
    }

    /// The means to wake the head; `None` if nobody waits.
    pub(crate) fn head(&self) -> Option<W> {
        self.waiters.values().next().cloned()
    }

    pub(crate) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.waiters.values()
    }

    /// A waiter leaves. If it was the head, the next waiter becomes head and inherits its progress.
    pub(crate) fn handle_left(&mut self, number: u64) -> AfterLeaving<W> {
        let was_head = self.is_head(number);
        self.waiters.remove(&number);
        match self.head() {
            None => AfterLeaving::Empty,
            Some(head) if was_head => AfterLeaving::NewHead(head),
            Some(_) => AfterLeaving::SameHead,
        }
    }

    /// The head has acquired the lock. The next head begins anew, behind waiters of other processes that came in the
    /// meantime.
    pub(crate) fn handle_acquired(&mut self, number: u64, now: Moment) -> AfterLeaving<W> {
        self.handle_won(now);
        let gone = self.handle_left(number);
        match gone {
            AfterLeaving::Empty => {}
            AfterLeaving::NewHead(_) | AfterLeaving::SameHead => {
                self.contender = Contender::new(Demand::Wanted);
            }
        }
        gone
    }

    /// The lock was acquired in this process. If it was not handed over here, it was won against all clients, and may be
    /// handed over again.
    pub(crate) fn handle_won(&mut self, now: Moment) {
        if !std::mem::take(&mut self.is_handed_over) {
            self.chain = Chain::new(now);
        }
    }

    /// The lock is about to be released in this process. Returns whether the release notifies the next client; it
    /// notifies nobody if the lock can be handed over here.
    pub(crate) fn wake(&self, now: Moment) -> Wake {
        // One at a time: the head answers for one release. A semaphore has several.
        let may =
            self.chain.left > 0 && now < self.chain.until && !self.waiters.is_empty() && !self.is_handed_over;
        if may { Wake::Nobody } else { Wake::Next }
    }

    /// The release was queued and notified nobody, so the head may queue its attempt behind it. Returns the means to
    /// wake the head. `None` means that no waiter is left and other clients must be notified.
    pub(crate) fn handle_handed_over(&mut self) -> Option<W> {
        let head = self.head()?;
        self.chain.left = self.chain.left.saturating_sub(1);
        self.is_handed_over = true;
        self.contender.handle_notified();
        Some(head)
    }
}

impl Chain {
    fn new(now: Moment) -> Self {
        Self { left: HAND_OVERS_MAX, until: now + HAND_OVERS_FOR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Step;
    use crate::types::Manner;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    /// Waiters 1 to `n`, in the order of their numbers.
    fn line(n: u64) -> WaitQueue<u64> {
        let mut line = WaitQueue::new(Demand::Unknown, at(0));
        (1..=n).for_each(|number| line.join(number, number));
        line
    }

    #[test]
    fn first_come_first_served() {
        let mut line = line(4);
        assert!(line.is_head(1) && !line.is_head(2));
        assert_eq!(line.handle_acquired(1, at(0)), AfterLeaving::NewHead(2));
        line.join(5, 5);
        let served: Vec<_> = (2..=4).map(|number| line.handle_acquired(number, at(0))).collect();
        assert_eq!(served, [AfterLeaving::NewHead(3), AfterLeaving::NewHead(4), AfterLeaving::NewHead(5)]);
        assert_eq!(line.handle_acquired(5, at(0)), AfterLeaving::Empty);
    }

    #[test]
    fn whoever_gives_up_leaves_at_once_and_the_next_goes_on() {
        let mut line = line(4);
        assert_eq!(line.handle_left(3), AfterLeaving::SameHead);
        line.contender.handle_lost();
        assert_eq!(line.handle_left(1), AfterLeaving::NewHead(2));
        assert_eq!(line.contender.step(at(0)), Step::Register(Manner::Eager), "where the first has stopped");
        assert_eq!(line.handle_left(2), AfterLeaving::NewHead(4));
        assert_eq!(line.handle_left(4), AfterLeaving::Empty);
    }

    #[test]
    fn a_lock_is_handed_over_so_often_and_for_so_long() {
        let mut line = line(100);
        assert_eq!(line.handle_acquired(1, at(0)), AfterLeaving::NewHead(2));
        for number in 2..u64::from(HAND_OVERS_MAX) + 2 {
            assert_eq!(line.wake(at(1)), Wake::Nobody);
            assert_eq!(line.handle_handed_over(), Some(number));
            assert_eq!(line.contender.step(at(1)), Step::Attempt, "without asking the queue node");
            line.handle_acquired(number, at(1));
        }
        assert_eq!(line.wake(at(1)), Wake::Next, "others have their turn");
        // The lock comes back to this process by way of the queue on a node.
        line.handle_acquired(u64::from(HAND_OVERS_MAX) + 2, at(2));
        let over = at(2) + HAND_OVERS_FOR;
        assert_eq!(line.wake(at(2)), Wake::Nobody);
        assert_eq!(line.wake(over), Wake::Next);
    }

    /// Several slots of a semaphore may be released before the head has answered for the first.
    #[test]
    fn one_release_at_a_time_is_handed_over() {
        let mut line = line(2);
        assert_eq!(line.handle_acquired(1, at(0)), AfterLeaving::NewHead(2));
        assert_eq!(line.wake(at(1)), Wake::Nobody);
        assert_eq!(line.handle_handed_over(), Some(2));
        assert_eq!(line.wake(at(1)), Wake::Next);
    }

    #[test]
    fn a_lock_that_nobody_here_waits_for_is_not_handed_over() {
        let mut line = line(1);
        assert_eq!(line.wake(at(0)), Wake::Nobody);
        line.handle_left(1);
        assert_eq!(line.wake(at(0)), Wake::Next);
        assert_eq!(line.handle_handed_over(), None, "the last has left meanwhile");
    }
}
