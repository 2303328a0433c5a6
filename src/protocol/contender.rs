//! The contender: decides what the head of a wait queue does next. The head attempts on all nodes, registers on the
//! queue node, or sleeps.

use std::time::Duration;

use super::{LOOK_AGAIN, Pause, Retry};
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Attempt,
    Register(Manner),
    SleepThenRegister(Moment),
    SleepThenAttempt(Moment),
}

impl Contender {
    pub(crate) fn new(demand: Demand) -> Self {
        let next = match demand {
            Demand::Unknown => Next::Attempt,
            Demand::Wanted => Next::Register(Manner::Eager),
        };
        Self { next, ticket: None, is_notified: false, is_prompted: false, misled: 0, outages: 0 }
    }

    /// Returns the next action. Without an input in between, calls at the same time return the same action.
    pub(crate) fn step(&self, now: Moment) -> Step {
        if self.is_notified {
            return Step::Attempt;
        }
        match self.next {
            Next::Attempt => Step::Attempt,
            Next::Register(manner) => Step::Register(manner),
            Next::SleepThenRegister(until) | Next::SleepThenAttempt(until) if now < until => {
                Step::Sleep(until)
            }
            Next::SleepThenRegister(_) => Step::Register(Manner::Eager),
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

    /// The queue node has added us to the queue. `look_again` limits the sleep until we register again.
    pub(crate) fn handle_registered(
        &mut self,
        turn: Turn,
        ticket: Ticket,
        look_again: Duration,
        now: Moment,
        random: u64,
    ) {
        self.ticket = Some(ticket);
        self.outages = 0;
        let sleep = match turn {
            Turn::Ours => {
                self.is_prompted = true;
                self.next = Next::Attempt;
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
        self.next = Next::SleepThenRegister(now + sleep);
    }

    /// The queue node could not be asked, or the connection is gone on which it would have notified us.
    pub(crate) fn handle_queue_lost(&mut self) {
        match self.next {
            Next::Register(_) | Next::SleepThenRegister(_) => self.next = Next::Register(Manner::Eager),
            Next::Attempt | Next::SleepThenAttempt(_) => {}
        }
    }

    /// The lock was released, by this process or another, and it is our turn.
    pub(crate) fn handle_notified(&mut self) {
        self.is_notified = true;
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: u64 = 0;
    const ALL: u64 = u64::MAX;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn others(ms: u64) -> Turn {
        Turn::Others(Duration::from_millis(ms))
    }

    fn ticket() -> Ticket {
        Ticket::new("1")
    }

    /// All nodes denied the attempt, and then the queue node said `turn`.
    fn waiting(turn: Turn) -> Contender {
        let mut contender = Contender::new(Demand::Unknown);
        contender.handle_attempt();
        contender.handle_lost();
        contender.handle_registered(turn, ticket(), LOOK_AGAIN, at(0), NONE);
        contender
    }

    #[test]
    fn a_lock_that_nobody_is_known_to_want_is_asked_for_at_once() {
        assert_eq!(Contender::new(Demand::Unknown).step(at(0)), Step::Attempt);
        assert_eq!(Contender::new(Demand::Wanted).step(at(0)), Step::Register(Manner::Eager));
    }

    #[test]
    fn after_a_denial_the_queue_node_alone_is_asked() {
        let mut contender = Contender::new(Demand::Unknown);
        contender.handle_attempt();
        contender.handle_lost();
        assert_eq!(contender.step(at(0)), Step::Register(Manner::Eager));
        contender.handle_registered(Turn::Ours, ticket(), LOOK_AGAIN, at(0), NONE);
        assert_eq!(contender.step(at(0)), Step::Attempt, "and all only when it says so");
    }

    #[test]
    fn a_waiter_sleeps_until_the_holders_ttl_is_over() {
        let contender = waiting(others(500));
        assert_eq!(contender.step(at(0)), Step::Sleep(at(502)));
        assert_eq!(contender.step(at(501)), Step::Sleep(at(502)));
        assert_eq!(contender.step(at(502)), Step::Register(Manner::Eager));
    }

    #[test]
    fn it_looks_again_once_a_second_whatever_it_was_told() {
        for turn in [others(60_000), Turn::Endless] {
            for random in [NONE, ALL] {
                let mut contender = waiting(turn);
                contender.handle_registered(turn, ticket(), LOOK_AGAIN, at(0), random);
                let Step::Sleep(until) = contender.step(at(0)) else { panic!("it sleeps") };
                assert!(at(500) <= until && until <= at(1000), "{until:?}");
            }
        }
    }

    #[test]
    fn whoever_is_called_asks_all_nodes_at_once() {
        let mut contender = waiting(others(10_000));
        contender.handle_notified();
        assert_eq!(contender.step(at(1)), Step::Attempt);
        contender.handle_attempt();
        contender.handle_lost();
        assert_eq!(contender.step(at(1)), Step::Register(Manner::Patient), "somebody was faster");
        assert!(contender.ticket().is_some(), "the old ticket is kept");
        contender.handle_registered(others(300), ticket(), LOOK_AGAIN, at(2), NONE);
        assert_eq!(contender.step(at(2)), Step::Sleep(at(304)));
    }

    /// The bug: the next head slept until its next check, beside a free lock.
    #[test]
    fn an_attempt_that_is_given_up_half_way_is_made_by_the_next() {
        for turn in [others(10_000), Turn::Endless, Turn::Ours, Turn::Free] {
            let mut contender = waiting(turn);
            contender.handle_notified();
            contender.handle_attempt();
            assert_eq!(contender.step(at(1)), Step::Attempt, "{turn:?}");
            contender.handle_attempt();
            contender.handle_lost();
            assert_eq!(contender.step(at(1)), Step::Register(Manner::Patient), "it answered the same call");
        }
    }

    #[test]
    fn a_call_that_comes_during_an_attempt_is_not_lost() {
        let mut contender = waiting(Turn::Ours);
        contender.handle_attempt();
        contender.handle_notified();
        contender.handle_lost();
        assert_eq!(contender.step(at(0)), Step::Attempt);
        contender.handle_attempt();
        contender.handle_lost();
        assert_ne!(contender.step(at(0)), Step::Attempt, "it counts once");
    }

    /// A queue node that lacks the key of a lock that others hold says "your turn" each time it is asked.
    #[test]
    fn a_queue_node_that_lacks_the_key_never_makes_us_spin() {
        let mut contender = waiting(Turn::Ours);
        let (mut now, mut attempts) = (0, 0);
        while now < 10_000 {
            match contender.step(at(now)) {
                Step::Attempt => {
                    attempts += 1;
                    contender.handle_attempt();
                    contender.handle_lost();
                }
                Step::Register(Manner::Eager) => {
                    contender.handle_registered(Turn::Ours, ticket(), LOOK_AGAIN, at(now), ALL);
                }
                Step::Register(Manner::Patient) => {
                    contender.handle_registered(Turn::Free, ticket(), LOOK_AGAIN, at(now), ALL);
                }
                Step::Sleep(until) => now = until.as_nanos() / 1_000_000 + 1,
            }
        }
        assert!((8..30).contains(&attempts), "{attempts} attempts in ten seconds");
    }

    #[test]
    fn an_outage_is_waited_out_with_growing_pauses() {
        let mut contender = Contender::new(Demand::Unknown);
        for pause in [5, 10, 20, 40, 80, 160, 200, 200] {
            assert_eq!(contender.step(at(0)), Step::Attempt);
            contender.handle_attempt();
            contender.handle_outage(Retry::fifo(), at(0), ALL);
            let Step::Sleep(until) = contender.step(at(0)) else { panic!("it sleeps") };
            assert!(until <= at(pause) && until > at(pause - 1), "{until:?} of {pause} ms");
            contender.handle_notified();
        }
    }

    #[test]
    fn a_lost_queue_node_is_replaced_and_disturbs_nobody_else() {
        let mut contender = waiting(others(10_000));
        contender.handle_queue_lost();
        assert_eq!(contender.step(at(0)), Step::Register(Manner::Eager));
        let mut contender = Contender::new(Demand::Unknown);
        contender.handle_outage(Retry::fifo(), at(0), ALL);
        let step = contender.step(at(0));
        contender.handle_queue_lost();
        assert_eq!(contender.step(at(0)), step);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Lost,
        Outage,
        Registered(i64),
        Called,
        QueueLost,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Lost),
            Just(Event::Outage),
            (-2..20_000_i64).prop_map(Event::Registered),
            Just(Event::Called),
            Just(Event::QueueLost),
        ]
    }

    proptest! {
        /// In any order of events, a waiter never sleeps for longer than a second.
        #[test]
        fn nobody_oversleeps(events in prop::collection::vec((event(), any::<u64>()), 0..40)) {
            let mut contender = Contender::new(Demand::Unknown);
            for (i, (event, random)) in events.into_iter().enumerate() {
                let now = at(i as u64);
                match event {
                    Event::Lost => { contender.handle_attempt(); contender.handle_lost(); }
                    Event::Outage => contender.handle_outage(Retry::fifo(), now, random),
                    Event::Registered(-2) => contender.handle_registered(Turn::Free, ticket(), LOOK_AGAIN, now, random),
                    Event::Registered(-1) => contender.handle_registered(Turn::Endless, ticket(), LOOK_AGAIN, now, random),
                    Event::Registered(0) => contender.handle_registered(Turn::Ours, ticket(), LOOK_AGAIN, now, random),
                    Event::Registered(ms) => {
                        contender.handle_registered(others(ms.unsigned_abs()), ticket(), LOOK_AGAIN, now, random);
                    }
                    Event::Called => contender.handle_notified(),
                    Event::QueueLost => contender.handle_queue_lost(),
                }
                if let Step::Sleep(until) = contender.step(now) {
                    prop_assert!(until <= now + LOOK_AGAIN, "{contender:?}");
                }
            }
        }
    }
}
