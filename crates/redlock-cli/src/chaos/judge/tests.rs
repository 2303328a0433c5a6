//! Judgements of made-up runs. Times are milliseconds since the run began.

use redlock_testing::{ClientFault, ClockStep, Data, Nemesis};

use super::super::event::{Event, SLOTS, Sharing, What, Why};
use super::super::log::Hit;
use super::super::plan::{Act, Origin};
use super::super::scenario::Scenario;
use super::*;
use crate::lost::Lost;

const BEGAN: u64 = 1_000_000_000_000;

fn at(ms: u64) -> u64 {
    BEGAN + ms * 1_000_000
}

/// A run of a minute, in which every client was ready.
fn run(clients: usize) -> Log {
    let mut log = Log::new(clients, Vec::new());
    (log.began_at, log.healed_at, log.ended_at) = (at(0), at(60_000), at(60_000));
    for client in 0..clients {
        say(&mut log, client, 0, What::Ready);
    }
    log
}

fn say(log: &mut Log, client: usize, ms: u64, what: What) {
    let _ = log.handle_event(client, 1, Event { at: at(ms), what }, at(ms));
}

/// A hold from `from` to `to` with a lease until `deadline`, requested at `asked`.
fn hold(log: &mut Log, client: usize, [asked, from, to, deadline]: [u64; 4], fencing_token: u64) {
    acquire(log, client, [asked, from, deadline], fencing_token);
    say(log, client, to, What::Released);
}

fn acquire(log: &mut Log, client: usize, [asked, from, deadline]: [u64; 3], fencing_token: u64) {
    say(log, client, asked, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
    let token = format!("client-{client}.1:{fencing_token}");
    say(log, client, from, What::Acquired { deadline: at(deadline), fencing_token, token, slot: None });
}

/// A hold of a slot of `slots`.
fn hold_slot(log: &mut Log, client: usize, [from, to]: [u64; 2], slots: usize, slot: usize) {
    say(log, client, from, What::Attempt { resources: vec![SLOTS], sharing: Sharing::Slots(slots) });
    let (fencing_token, token) = (from * 10 + client as u64, format!("client-{client}.1:{from}"));
    let acquired = What::Acquired { deadline: at(9_000), fencing_token, token, slot: Some(slot) };
    say(log, client, from, acquired);
    say(log, client, to, What::Released);
}

#[test]
fn a_slot_has_one_holder_and_so_many_slots_so_many() {
    let judged = |holds: &[([u64; 2], usize)], slots| {
        let mut log = run(holds.len());
        for (client, (times, slot)) in holds.iter().enumerate() {
            hold_slot(&mut log, client, *times, slots, *slot);
        }
        judge(&log, &promise(), &Expected::default()).violations
    };
    let all = [([1_000, 4_000], 0), ([2_000, 4_000], 1), ([3_000, 4_000], 2)];
    assert_eq!(judged(&all, 3), []);
    assert!(matches!(judged(&all, 2)[..], [Violation::TooMany { permits: 2, .. }]));
    let twice = judged(&[([1_000, 4_000], 0), ([2_000, 4_000], 0)], 3);
    assert!(matches!(twice[..], [Violation::Overlap { .. }]), "{twice:?}");
}

fn hit(log: &mut Log, act: Act, from: u64, healed: u64) {
    log.hits.push(Hit {
        act,
        name: "pause",
        origin: Origin::Random,
        at: at(from),
        applied_at: at(from),
        healed_at: Some(at(healed)),
    });
}

fn node(node: usize, nemesis: Nemesis) -> Act {
    Act::Node { node, nemesis }
}

fn promise() -> Promise {
    Promise {
        nodes: 3,
        quorum: 2,
        ttl: Duration::from_secs(3),
        max_ttl: Duration::from_secs(3),
        drift: Duration::from_millis(32),
        drift_ppm: 10_000,
        quarantine: Duration::from_secs(5),
        key_prefix: String::new(),
        release_within: Duration::from_millis(1250),
        bound: Duration::from_secs(10),
    }
}

fn wrong(log: &Log) -> Vec<String> {
    judge(log, &promise(), &Expected::default()).wrong
}

#[test]
fn a_run_without_anything_wrong_is_clean() {
    let mut log = run(2);
    hold(&mut log, 0, [0, 10, 20, 3000], 1);
    hold(&mut log, 1, [0, 30, 40, 3000], 2);
    say(&mut log, 0, 50, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
    say(&mut log, 0, 60, What::Missed { why: Why::Contended, failures: vec![] });
    let judgement = judge(&log, &promise(), &Expected::default());
    assert!(judgement.wrong.is_empty(), "{:?}", judgement.wrong);
    assert_eq!((judgement.counts.sections, judgement.counts.misses), (2, 1));
}

#[test]
fn an_overlap_is_excused_by_what_breaks_an_assumption_and_by_nothing_else() {
    let ahead = Nemesis::ClockStep { step: ClockStep::Forward(Duration::from_secs(40)) };
    let back = Nemesis::ClockStep { step: ClockStep::Backward(Duration::from_secs(40)) };
    let table = [
        (Nemesis::FlushAll, 100, true),
        (Nemesis::FlushAll, 5_000, false),
        // The clock guard protects against steps.
        (ahead, 100, false),
        (back, 100, false),
        (Nemesis::ClockRate { ppm: 10_001 }, 100, true),
        (Nemesis::ClockRate { ppm: 10_000 }, 100, false),
        (Nemesis::Pause, 100, false),
        // The restart guard protects against lost data. Without the guard the violation has to be found.
        (Nemesis::Kill { data: Data::Lost }, 100, false),
    ];
    for (nemesis, from, is_excused) in table {
        let mut log = run(2);
        hold(&mut log, 0, [0, 10, 500, 3000], 1);
        hold(&mut log, 1, [0, 400, 500, 3000], 2);
        hit(&mut log, node(0, nemesis.clone()), from, from);
        let judgement = judge(&log, &promise(), &Expected::default());
        assert_eq!(judgement.wrong.is_empty(), is_excused, "{nemesis}: {:?}", judgement.wrong);
        assert_eq!(judgement.excused.len(), usize::from(is_excused), "{nemesis}");
    }
}

#[test]
fn whoever_could_reach_a_quorum_must_get_on() {
    let waits = |hits: &[(Act, u64, u64)]| {
        let mut log = run(2);
        for (act, from, healed) in hits {
            hit(&mut log, act.clone(), *from, *healed);
        }
        // The client asks again and again.
        for asked in (0..20_000).step_by(2_000) {
            say(&mut log, 0, asked, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
            say(&mut log, 0, asked + 2_000, What::Missed { why: Why::NoQuorum, failures: vec![] });
        }
        hold(&mut log, 0, [20_000, 20_010, 20_020, 23_000], 1);
        wrong(&log)
    };
    assert!(waits(&[])[0].contains("nobody won it within 10.000000 s"), "{:?}", waits(&[]));
    let minority = (node(0, Nemesis::Pause), 0, 19_000);
    assert_eq!(waits(std::slice::from_ref(&minority)).len(), 1);
    let majority = [minority, (node(1, Nemesis::Pause), 5_000, 15_000)];
    assert_eq!(waits(&majority), Vec::<String>::new(), "never well for long enough");
    let pause = (Act::Client { client: 0, fault: ClientFault::Pause }, 2_000, 14_000);
    assert_eq!(waits(&[pause]), Vec::<String>::new(), "it stood still itself");
    let pause_of_another = (Act::Client { client: 1, fault: ClientFault::Pause }, 2_000, 14_000);
    assert_eq!(waits(&[pause_of_another]).len(), 1);
}

#[test]
fn losses_are_told_in_time_and_stay_so() {
    let told = |ms: u64, paused: Option<(u64, u64)>| {
        let mut log = run(1);
        acquire(&mut log, 0, [0, 10, 3_000], 1);
        say(&mut log, 0, ms, What::Lost { why: "expired".into() });
        if let Some((from, until)) = paused {
            hit(&mut log, Act::Client { client: 0, fault: ClientFault::Pause }, from, until);
        }
        wrong(&log).len()
    };
    assert_eq!(told(3_900, None), 0);
    assert_eq!(told(4_100, None), 1);
    assert_eq!(told(8_100, Some((1_000, 8_000))), 0);
    assert_eq!(told(9_100, Some((1_000, 8_000))), 1);

    let mut log = run(1);
    acquire(&mut log, 0, [0, 10, 3_000], 1);
    say(&mut log, 0, 3_010, What::Over);
    say(&mut log, 0, 3_500, What::Renewed { deadline: at(5_000) });
    assert!(wrong(&log)[0].contains("and held it again at 3.500000 s"), "{:?}", wrong(&log));
}

#[test]
fn a_renewed_lease_lasts_until_its_last_deadline() {
    let mut log = run(2);
    acquire(&mut log, 0, [0, 10, 3_000], 1);
    say(&mut log, 0, 1_000, What::Renewed { deadline: at(4_000) });
    hold(&mut log, 1, [0, 3_500, 3_600, 6_000], 2);
    assert!(wrong(&log)[0].contains("both held chaos:0 for 0.100000 s"), "{:?}", wrong(&log));
}

#[test]
fn a_lock_that_a_dead_client_keeps_cannot_be_had() {
    let mut log = run(2);
    acquire(&mut log, 0, [0, 10, 3_000], 1);
    log.handle_kill(0, at(1_000));
    say(&mut log, 1, 500, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
    let token = String::new();
    say(&mut log, 1, 3_000, What::Acquired { deadline: at(6_000), fencing_token: 2, token, slot: None });
    say(&mut log, 1, 3_010, What::Released);
    let judgement = judge(&log, &promise(), &Expected::default());
    let gap = |from, until| Gap { resource: 0, from: at(from), until: at(until) };
    assert_eq!(judgement.availability.gaps, [gap(1_000, 3_000)]);
    assert!((judgement.availability.share - (1.0 - 2.0 / 60.0)).abs() < 1e-9);

    // A paused client wants nothing.
    hit(&mut log, Act::Client { client: 1, fault: ClientFault::Pause }, 1_500, 2_500);
    let gaps = judge(&log, &promise(), &Expected::default()).availability.gaps;
    assert_eq!(gaps, [gap(1_000, 1_500), gap(2_500, 3_000)]);
}

#[test]
fn what_a_late_writer_gets_is_counted() {
    let mut log = run(2);
    acquire(&mut log, 0, [0, 10, 3_000], 1);
    say(&mut log, 0, 3_500, What::Write);
    acquire(&mut log, 1, [0, 3_600, 6_600], 2);
    say(&mut log, 1, 3_700, What::Write);
    say(&mut log, 0, 3_800, What::Write);
    let Counts { writes, stale_writes, late_writes, .. } =
        judge(&log, &promise(), &Expected::default()).counts;
    assert_eq!((writes, stale_writes, late_writes), (2, 1, 1));
}

#[test]
fn a_key_without_a_holder_is_gone_soon() {
    let left = |value: &str, first: u64, last: u64, hits: &[(Act, u64, u64)]| {
        let mut log = run(2);
        // The hold's token is `client-0.1:1`.
        hold(&mut log, 0, [0, 10, 5_000, 6_000], 1);
        for (act, from, healed) in hits {
            hit(&mut log, act.clone(), *from, *healed);
        }
        log.seen.insert((2, "chaos:0".into(), value.into()), (at(first), at(last)));
        wrong(&log).len()
    };
    assert_eq!(left("client-0.1:1", 100, 6_000, &[]), 0, "held for most of the time");
    assert_eq!(left("client-0.1:1", 100, 6_500, &[]), 1);
    assert_eq!(left("client-1.1:77", 100, 1_300, &[]), 0, "of an attempt that was lost just now");
    assert_eq!(left("client-1.1:77", 100, 1_500, &[]), 1);
    assert_eq!(left("somebody else", 100, 9_500, &[]), 0);
    let elsewhere = (node(1, Nemesis::Pause), 0, 1_000);
    assert_eq!(left("client-1.1:77", 100, 1_500, &[elsewhere]), 1);
    let there = (node(2, Nemesis::Pause), 0, 50);
    assert_eq!(left("client-1.1:77", 100, 1_500, &[there]), 0, "it had to be found again");
    let paused = (Act::Client { client: 1, fault: ClientFault::Pause }, 200, 1_400);
    assert_eq!(left("client-1.1:77", 100, 1_500, &[paused]), 0);
}

#[test]
fn nanoseconds_are_not_shown() {
    assert_eq!(
        to_microseconds("from 1.123456789 s to 22.000000001 s. 3.14"),
        "from 1.123456 s to 22.000000 s. 3.14"
    );
    assert_eq!(to_microseconds("none"), "none");
}

/// A run of ten seconds with two holds, one of which was waited for. Returns the verdict and what was not tested.
fn untested(scenario: &str, prepare: impl FnOnce(&mut Log)) -> (Finding, Vec<String>) {
    let mut log = run(2);
    (log.healed_at, log.ended_at) = (at(10_000), at(10_000));
    hold(&mut log, 0, [0, 10, 20, 3000], 1);
    hold(&mut log, 1, [15, 30, 40, 3000], 2);
    prepare(&mut log);
    let scenario = Scenario::of_text(&format!("about = \"x\"\nduration = \"10s\"\n{scenario}"));
    let judgement = judge(&log, &promise(), &Expected::of(&scenario));
    assert_eq!(judgement.wrong, Vec::<String>::new());
    (judgement.finding(), judgement.untested)
}

fn played(log: &mut Log, victim: usize, repetition: usize) {
    hit(log, node(victim, Nemesis::Pause), 1_000, 2_000);
    let origin = Origin::Scheduled { fault: 0, repetition };
    log.hits.last_mut().unwrap().origin = origin;
}

const PAUSE: &str = "[[fault]]\nnemesis = \"pause\"\nnodes = 2\nfor = \"1s\"\nevery = \"4s\"\n";
const RANDOM: &str = "[random]\nevery = \"1s\"\n[[random.fault]]\nnemesis = \"restart\"\n";

#[test]
fn a_run_is_clean_only_when_each_named_fault_was_played() {
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Log), Option<&'a str>);
    let cases: [Case<'_>; 7] = [
        ("", &|_| {}, Some("the scenario names no fault")),
        (PAUSE, &|_| {}, Some("pause (t.toml:4:11) was not played: something else")),
        (
            PAUSE,
            &|log| log.healed_at = at(900),
            Some("pause (t.toml:4:11) was not played: the run ended before"),
        ),
        (
            PAUSE,
            &|log| [(0, 0), (1, 1)].map(|(node, at)| played(log, node, at)).into_iter().collect(),
            Some("hit at most 1 of 2"),
        ),
        (
            PAUSE,
            &|log| [(0, 0), (3, 1), (4, 1)].map(|(node, at)| played(log, node, at)).into_iter().collect(),
            None,
        ),
        (RANDOM, &|_| {}, Some("no fault of [random]")),
        (RANDOM, &|log| hit(log, node(0, Nemesis::Pause), 1_000, 2_000), None),
    ];
    for (scenario, prepare, expected) in cases {
        let (finding, untested) = untested(scenario, prepare);
        match expected {
            None => assert_eq!((finding, untested), (Finding::Clean, vec![]), "{scenario}"),
            Some(expected) => {
                assert_eq!(finding, Finding::Inconclusive, "{scenario}");
                assert!(untested.len() == 1 && untested[0].contains(expected), "{scenario}: {untested:?}");
            }
        }
    }
}

#[test]
fn without_a_lock_or_without_contention_nothing_is_tested() {
    let played = |log: &mut Log| hit(log, node(0, Nemesis::Pause), 1_000, 2_000);
    let (finding, reasons) = untested(RANDOM, |log| {
        log.clients.iter_mut().for_each(|client| client.visits.clear());
        played(log);
    });
    assert_eq!((finding, reasons), (Finding::Inconclusive, vec!["nobody ever had a lock".to_owned()]));
    let (finding, reasons) = untested(RANDOM, |log| {
        log.clients[1].visits[0].requested_at = at(20);
        played(log);
    });
    assert_eq!(finding, Finding::Inconclusive);
    assert_eq!(reasons, ["no client ever wanted a lock that another one had"]);
}

#[test]
fn whoever_could_not_have_a_lock_is_told_with_the_reason() {
    let mut log = run(3);
    log.nodes = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
    hold(&mut log, 0, [0, 10, 20, 3000], 1);
    for asked in [1_000, 3_000] {
        say(&mut log, 1, asked, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
        let failures = [(0, "unreachable"), (2, "no answer")];
        let failures = failures.map(|(node, reason)| Lost { node, reason: reason.into() }).to_vec();
        say(&mut log, 1, asked + 2_000, What::Missed { why: Why::NoQuorum, failures });
    }
    hold(&mut log, 1, [5_000, 5_010, 5_020, 8_000], 2);
    let denied = judge(&log, &promise(), &Expected::default()).denied;
    let why = "no quorum: a:1 unreachable, c:1 no answer".to_owned();
    assert_eq!(denied, [Denied { client: 1, resource: 0, from: at(1_000), until: at(5_010), why }]);

    // A client that never acquired a lock is reported, whatever the others did.
    say(&mut log, 2, 7_000, What::Attempt { resources: vec![0], sharing: Sharing::Exclusive });
    say(&mut log, 2, 7_100, What::Missed { why: Why::Contended, failures: vec![] });
    let denied = judge(&log, &promise(), &Expected::default()).denied;
    assert!(denied.iter().any(|denied| denied.client == 2 && denied.why.contains("another client's key")));

    let mut log = run(2);
    acquire(&mut log, 0, [0, 10, 3_000], 1);
    log.handle_kill(0, at(1_000));
    hold(&mut log, 1, [500, 3_000, 3_010, 6_000], 2);
    let denied = judge(&log, &promise(), &Expected::default()).denied;
    assert_eq!(denied[0].why, "client 0 was killed while it held it");
}
