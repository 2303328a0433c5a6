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
    contender.handle_registered(turn, ticket(), 0, LOOK_AGAIN, at(0), NONE);
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
    contender.handle_registered(Turn::Ours, ticket(), 0, LOOK_AGAIN, at(0), NONE);
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
            contender.handle_registered(turn, ticket(), 0, LOOK_AGAIN, at(0), random);
            let Step::Sleep(until) = contender.step(at(0)) else { panic!("it sleeps") };
            assert!(at(500) <= until && until <= at(1000), "{until:?}");
        }
    }
}

/// A contender that sleeps behind others, and when it looks again.
fn waiting_behind(ahead: u32, random: u64) -> (Contender, Moment) {
    let mut contender = waiting(others(500));
    contender.handle_registered(others(500), ticket(), ahead, LOOK_AGAIN, at(0), random);
    let Step::Sleep(until) = contender.step(at(0)) else { panic!("it sleeps") };
    assert_eq!(contender.step(until), Step::Register(Manner::Behind));
    (contender, until)
}

#[test]
fn the_more_wait_before_it_the_less_often_it_looks() {
    for (ahead, from, to) in [(1, 1500, 2000), (2, 3000, 4000), (3, 6000, 8000), (7, 90_000, 120_000)] {
        assert_eq!(waiting_behind(ahead, NONE).1, at(from));
        let latest = waiting_behind(ahead, ALL).1;
        assert!(at(to - 1) < latest && latest <= at(to), "{latest:?}");
    }
    assert_eq!(waiting_behind(u32::MAX, NONE).1, at(90_000));
}

#[test]
fn the_first_looks_within_a_second_from_when_it_is_told() {
    let (mut contender, _) = waiting_behind(5, ALL);
    contender.handle_first(at(700), NONE);
    assert_eq!(contender.step(at(700)), Step::Sleep(at(1200)));
    assert_eq!(contender.step(at(1200)), Step::Register(Manner::Eager));
    let (mut contender, until) = waiting_behind(1, ALL);
    contender.handle_first(at(1900), ALL);
    assert_eq!(contender.step(at(1900)), Step::Sleep(until), "it never looks later than without");
    let mut contender = waiting(Turn::Ours);
    contender.handle_first(at(0), ALL);
    assert_eq!(contender.step(at(0)), Step::Attempt);

    // The reply to a look was under way.
    let (mut contender, until) = waiting_behind(5, ALL);
    assert_eq!(contender.step(until), Step::Register(Manner::Behind));
    contender.handle_first(until, ALL);
    contender.handle_registered(others(60_000), ticket(), 5, LOOK_AGAIN, until, NONE);
    assert_eq!(contender.step(until), Step::Sleep(until + LOOK_AGAIN / 2));
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
    contender.handle_registered(others(300), ticket(), 0, LOOK_AGAIN, at(2), NONE);
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
            Step::Register(Manner::Eager | Manner::Behind) => {
                contender.handle_registered(Turn::Ours, ticket(), 0, LOOK_AGAIN, at(now), ALL);
            }
            Step::Register(Manner::Patient) => {
                contender.handle_registered(Turn::Free, ticket(), 0, LOOK_AGAIN, at(now), ALL);
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
                Event::Registered(-2) => contender.handle_registered(Turn::Free, ticket(), 0, LOOK_AGAIN, now, random),
                Event::Registered(-1) => contender.handle_registered(Turn::Endless, ticket(), 0, LOOK_AGAIN, now, random),
                Event::Registered(0) => contender.handle_registered(Turn::Ours, ticket(), 0, LOOK_AGAIN, now, random),
                Event::Registered(ms) => {
                    contender.handle_registered(others(ms.unsigned_abs()), ticket(), 0, LOOK_AGAIN, now, random);
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
