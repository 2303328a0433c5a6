use proptest::prelude::*;

use super::*;
use crate::protocol::QuorumSize;

const DRIFT: Drift = Drift { factor: 0.01, floor: Duration::from_millis(2) };
/// The node's clock is at 500 s when ours is at 0.
const OFFSET_MS: u64 = 500_000;

fn rule() -> ClockRule {
    ClockRule::new(DRIFT, Ttl::from_duration(Duration::from_secs(20)))
}

fn ms(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

/// A reading at a moment of our clock, of a clock that is this far ahead of where it began.
fn reading(at_ms: u64, ahead_ms: u64) -> Reading {
    Reading { sent: ms(at_ms), received: ms(at_ms), clock: (OFFSET_MS + at_ms + ahead_ms) * 1000 }
}

fn followed(readings: &[(u64, u64)]) -> ClockHistory {
    let mut history = ClockHistory::new();
    for (at, ahead) in readings {
        history.handle_reading(reading(*at, *ahead), rule());
        history.handle_past_known();
    }
    history
}

fn standstill(nodes: &mut [ClockHistory]) -> Option<Duration> {
    let quorum = quorum(nodes.len());
    take_standstill(&mut nodes.iter_mut().collect::<Vec<_>>(), quorum)
}

/// When the quarantine ends, in milliseconds of our clock, as judged at the last reading.
fn until(readings: &[(u64, u64)]) -> Option<u64> {
    let now = ms(readings.last().unwrap().0);
    let quarantine = followed(readings).quarantine(now, rule())?;
    assert_eq!(quarantine.cause, QuarantineCause::Stepped);
    // The clocks are read to a microsecond.
    Some((quarantine.until.as_nanos() + 500_000) / 1_000_000)
}

#[test]
fn a_step_keeps_a_node_out_while_leases_are_alive_that_it_endangers() {
    // 32 ms are more than the drift of leases of less than 3 s. They last for 3 s, and 30 and 2 ms of drift.
    assert_eq!(until(&[(1_000, 0), (2_000, 32)]), Some(2_000 + 3_032));
    assert_eq!(until(&[(1_000, 0), (2_000, 30_000)]), Some(2_000 + 20_202), "no lease is longer than 20 s");
    assert_eq!(until(&[(1_000, 0), (2_000, 12)]), None, "two clocks may run apart by that in a second");
    assert_eq!(until(&[(1_000, 5_000), (2_000, 0)]), None, "set back: leases live longer");
    assert_eq!(until(&[(1_000, 0), (1_500, 32), (2_000, 32)]), Some(1_500 + 3_032), "not counted anew");
}

#[test]
fn the_rate_of_a_clock_is_told_within_what_the_round_trips_hide() {
    let lasting = |sent, received, clock_ms: u64| Reading {
        sent: ms(sent),
        received: ms(received),
        clock: (OFFSET_MS + clock_ms) * 1000,
    };
    // The clock advances by 1010 ms, and ours by something from 990 to 1010 ms.
    let (earlier, later) = (lasting(1_000, 1_010, 1_000), lasting(2_000, 2_010, 2_010));
    let (least, most) = later.rate_since(earlier).unwrap();
    assert!((-1.0..=0.0).contains(&least), "{least}");
    assert!((20_202.0..20_204.0).contains(&most), "{most}");
    // A clock that was set back.
    let (least, most) = lasting(3_000, 3_010, 0).rate_since(earlier).unwrap();
    assert!(least < most && most < -1_000_000.0, "{least} {most}");
    assert_eq!(earlier.rate_since(earlier), None);
    assert_eq!(lasting(1_005, 1_015, 1_005).rate_since(earlier), None, "it began before the other ended");
}

#[test]
fn small_steps_add_up() {
    let readings: Vec<_> = (0..10).map(|i| (1_000 + 100 * i, 2 * i)).collect();
    // Each is less than 3 ms, which two clocks may run apart between two readings; 18 ms in 0.9 s are not.
    assert_eq!(until(&readings[..2]), None);
    assert!(until(&readings).is_some());
}

#[test]
fn a_clock_that_is_too_fast_keeps_its_node_out_and_one_that_is_fast_within_the_drift_does_not() {
    let racing = |percent: u64| (0..200).map(move |i| (1_000 + 100 * i, percent * i)).collect::<Vec<_>>();
    assert_eq!(until(&racing(1)), None);
    assert!(until(&racing(2)).is_some());
}

#[test]
fn a_client_that_has_just_come_knows_nothing_of_the_past() {
    let mut history = ClockHistory::new();
    history.handle_reading(reading(1_000, 0), rule());
    let quarantine = history.quarantine(ms(1_000), rule()).unwrap();
    assert_eq!((quarantine.until, quarantine.cause), (ms(21_202), QuarantineCause::ClockUnknown));
    assert_eq!(
        history.quarantine(ms(21_202), rule()),
        None,
        "by then it has followed the clock for long enough"
    );
    history.handle_past_gain(Duration::from_millis(32), rule());
    let quarantine = history.quarantine(ms(1_000), rule()).unwrap();
    assert_eq!((quarantine.until, quarantine.cause), (ms(4_032), QuarantineCause::Stepped));
}

#[test]
fn a_client_that_was_stopped_is_as_one_that_has_just_come() {
    // It observes every 2.5 s, and may miss one observation.
    let history = followed(&[(1_000, 0), (6_900, 0)]);
    assert!(history.is_past_known());
    let mut history = history;
    history.handle_reading(reading(13_000, 0), rule());
    assert!(!history.is_past_known() && history.is_past_unknown_at(ms(13_000)));
    assert!(!history.is_past_unknown_at(ms(12_999)), "a reading from before says nothing of the time since");
}

fn quorum(nodes: usize) -> Quorum {
    Quorum::new(nodes, QuorumSize::Majority).unwrap()
}

#[test]
fn clocks_that_jump_alike_show_that_our_own_stood_still() {
    let jumping = |jumps: &[(u64, u64)]| {
        let of = |(at, ahead): &(u64, u64)| followed(&[(1_000, 0), (*at, *ahead)]);
        jumps.iter().map(of).collect::<Vec<_>>()
    };
    let mut all = jumping(&[(2_000, 5_000), (2_100, 5_001), (2_200, 5_000)]);
    // The readings are exact, so nothing hides a difference of 1 ms.
    assert_eq!(standstill(&mut all), None);
    let mut all = jumping(&[(2_000, 5_000), (2_100, 5_000), (2_200, 5_000)]);
    let stood_still = standstill(&mut all).expect("it stood still");
    assert_eq!(stood_still.as_millis(), 4_999, "not more than certain");
    assert!(all.iter().all(|node| node.quarantine(ms(2_200), rule()).is_none()), "no node has stepped");
    assert_eq!(standstill(&mut all), None, "once");

    let mut all = jumping(&[(2_000, 5_000), (2_100, 5_000), (2_200, 0)]);
    assert_eq!(standstill(&mut all), None, "two nodes have stepped");
    all[2].handle_down();
    assert!(standstill(&mut all).is_some(), "all that are connected");
    assert_eq!(standstill(&mut jumping(&[(2_000, 5_000)])), None, "one node proves nothing");
}

proptest! {
    /// A clock within the drift never costs a vote, however long round trips take and whenever it is read.
    #[test]
    fn a_clock_within_the_drift_keeps_its_vote(
        rate in -0.01f64..=0.01,
        readings in prop::collection::vec((1u64..2_000, 0u64..300, 0.0f64..=1.0), 1..100),
    ) {
        let mut history = ClockHistory::new();
        let mut now = 1_000;
        for (pause, round_trip, share) in readings {
            let (sent, received) = (now + pause, now + pause + round_trip);
            let at = sent as f64 + round_trip as f64 * share;
            let clock = (OFFSET_MS as f64 + at * (1.0 + rate)) * 1000.0;
            let reading = Reading { sent: ms(sent), received: ms(received), clock: clock as u64 };
            prop_assert_eq!(history.handle_reading(reading, rule()), Pace::Steady);
            history.handle_past_known();
            prop_assert_eq!(history.quarantine(ms(received), rule()), None);
            now = received;
        }
    }

    /// Whenever a node is read, and whatever its clock does: if a key was set at a reading, and is gone at a later one
    /// by more than what may be hidden while its lease is alive, the grant does not count.
    #[test]
    fn no_grant_counts_while_a_lease_is_alive_whose_key_is_gone(
        steps in prop::collection::vec((1u64..1_500, 0u64..100, 0u64..60), 2..100),
        ttl in 100u64..20_000,
    ) {
        let (mut history, mut now, mut ahead, mut granted) = (ClockHistory::new(), 1_000, 0, Vec::new());
        for (pause, step, every) in steps {
            now += pause;
            // Most steps are none.
            ahead += if every == 0 { step * 100 } else { 0 };
            history.handle_reading(reading(now, ahead), rule());
            history.handle_past_known();
            let drift = DRIFT.of(Ttl::from_duration(Duration::from_millis(ttl))).as_millis() as u64;
            let deadline = |sent: u64| sent + ttl - drift;
            let two_holders = granted.iter().any(|(sent, then)| {
                now < deadline(*sent) && now + ahead >= sent + then + ttl
            });
            if two_holders {
                prop_assert!(history.quarantine(ms(now), rule()).is_some(), "{ttl} ms at {now}: {granted:?}");
            }
            granted.push((now, ahead));
        }
    }
}
