use std::collections::BTreeMap;

use super::super::node_list::ListUse;
use super::super::record::{MetNode, Span};
use super::*;
use crate::protocol::{ChangeProgress, observe_every};

const S: u64 = 1_000_000;
/// The nodes' clocks are ahead of ours: 1000 s when ours is at 500 s.
const OFFSET: u64 = 500;
const GUARD: RestartGuard = RestartGuard::On { clock_drift_factor: 0.1, eviction: Eviction::Refused };

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(0) + Duration::from_secs(seconds)
}

fn told(first: u64, last: u64) -> Span {
    Span { first: (first + OFFSET) * S, last: (last + OFFSET) * S }
}

fn used(first: u64, last: u64) -> ListUse {
    let Span { first, last } = told(first, last);
    ListUse { first, last, is_left: false, progress: ChangeProgress::Begun }
}

/// A node that was observed at 100 s of our clock, whose memory is unbroken since `whole`, and to which leases of 20
/// s were announced long ago.
fn node(id: &str, whole: u64) -> NodeView {
    let record = Record {
        id: id.into(),
        sequence: 7,
        run: format!("{id}1"),
        past: vec![Change { run: format!("{id}0"), sequence: 3 }],
        replication_id: "p".into(),
        is_durable: true,
        made: 0,
        whole: (whole + OFFSET) * S,
        broken_by: MemoryBreak::Made,
        is_declared: false,
        evicted_keys: 0,
        evicted: None,
        announced: BTreeMap::from([(20_000, told(0, 100))]),
        lists: BTreeMap::from([("2 of a b c".to_owned(), used(0, 100))]),
        met: BTreeMap::new(),
        clocks: BTreeMap::new(),
        stepped: None,
    };
    NodeView {
        record: record.into(),
        persistence: Persistence::Durable,
        clock: (100 + OFFSET) * S,
        sent: at(100),
        received: at(100),
        is_up: true,
        told: "2 of a b c".into(),
        replaced: None,
    }
}

fn nodes() -> [Option<NodeView>; 3] {
    ["a", "b", "c"].map(|id| Some(node(id, 0)))
}

/// When the quarantine of node 0 ends, in seconds, and its cause, judged at 100 s after `change`.
fn judged(change: impl FnOnce(&mut [NodeView; 3])) -> Option<(u64, QuarantineCause)> {
    let mut known = nodes().map(Option::unwrap);
    change(&mut known);
    let quarantine = GUARD.quarantine(0, &known.map(Some)).filter(|quarantine| quarantine.until > at(100))?;
    Some((at(0).until(quarantine.until).as_secs(), quarantine.cause))
}

#[test]
fn memory_that_is_too_young_counts_when_the_longest_lease_its_drift_and_a_margin_have_passed() {
    // The span is 20 s, a tenth of that, and 2 s.
    assert_eq!(judged(|known| known[0] = node("a", 90)), Some((114, QuarantineCause::NewOrWiped)));
    let declared = |known: &mut [NodeView; 3]| {
        known[0] = node("a", 90);
        known[0].record_mut().is_declared = true;
    };
    assert_eq!(judged(declared), None);
    assert!(RestartGuard::Off.quarantine(0, &nodes()).is_none());
    assert!(GUARD.quarantine(0, &[None, None, None]).is_none());
}

#[test]
fn a_longer_lease_counts_whichever_node_tells_of_it_unless_it_was_announced_after_the_break() {
    for (first, until) in [(92, 90 + 68), (93, 114)] {
        let longer = |known: &mut [NodeView; 3]| {
            known[0] = node("a", 90);
            known[2].record_mut().announced.insert(60_000, told(first, 100));
        };
        assert_eq!(judged(longer).map(|(until, _)| until), Some(until), "announced at {first} s");
    }
}

#[test]
fn a_quarantine_does_not_end_by_what_was_heard_before_the_break() {
    let stale = |is_up| {
        judged(move |known| {
            known[0] = node("a", 90);
            (known[1].sent, known[1].received, known[1].clock) = (at(89), at(89), (89 + OFFSET) * S);
            known[1].is_up = is_up;
        })
    };
    assert_eq!(stale(true).map(|(until, _)| until), Some(124), "from our look at 100 s");
    assert_eq!(stale(false).map(|(until, _)| until), Some(114), "it cannot be asked");
}

#[test]
fn evicted_locks_keep_a_node_out_unless_that_is_allowed() {
    let mut known = nodes().map(Option::unwrap);
    known[0].record_mut().evicted = Some((95 + OFFSET) * S);
    let known = known.map(Some);
    let quarantine = GUARD.quarantine(0, &known).unwrap();
    assert_eq!((quarantine.until, quarantine.cause), (at(119), QuarantineCause::Evicted));
    let allowed = RestartGuard::On { clock_drift_factor: 0.1, eviction: Eviction::Allowed };
    let memory = allowed.quarantine(0, &known).unwrap();
    assert_eq!(memory.until, at(24), "that of its memory, long over");
}

#[test]
fn another_server_at_the_name_waits_since_this_client_saw_it() {
    let replaced = |known: &mut [NodeView; 3]| known[0].replaced = Some(at(99));
    assert_eq!(judged(replaced), Some((123, QuarantineCause::Replaced)));
}

/// The server `d` is node 0 now, and the other nodes' records have these lists. Returns when the quarantine of `d`
/// ends.
fn newcomer(lists: &[(&str, ListUse)], met: Option<u64>) -> Option<u64> {
    judged(|known| {
        known[0] = node("d", 0);
        known[0].record_mut().lists.clear();
        for other in &mut known[1..] {
            other.record_mut().lists = lists.iter().map(|(list, used)| ((*list).to_owned(), *used)).collect();
        }
        for id in ["b", "c"] {
            let met = met.map(|first| MetNode {
                first: (first + OFFSET) * S,
                change: Change { run: format!("{id}1"), sequence: 7 },
            });
            known[0].record_mut().met.extend(met.map(|met| (id.to_owned(), met)));
        }
    })
    .map(|(until, _)| until)
}

#[test]
fn a_newcomer_waits_until_nobody_uses_the_nodes_without_it() {
    let without = ("2 of a b c", used(0, 80));
    // The quarantine ends two and a half intervals of 2.5 s, and 24 s, after the last use without `d`; at the
    // earliest 24 s after the others were first announced to `d`.
    assert_eq!(newcomer(&[without], Some(10)), Some(80 + 6 + 24));
    assert_eq!(newcomer(&[without], Some(95)), Some(95 + 24));
    assert_eq!(newcomer(&[without], None), Some(100 + 24), "not told of them: it joins now");
    assert_eq!(newcomer(&[], Some(95)), None);
}

#[test]
fn whoever_joins_has_no_say_about_those_who_are_there() {
    let ours = ("2 of b c d", used(0, 100));
    assert_eq!(newcomer(&[ours, ("2 of a b c", used(50, 100))], Some(0)), None, "theirs is later");
    assert_eq!(newcomer(&[("2 of a b c", used(0, 100)), ("2 of b c d", used(50, 100))], Some(0)), Some(130));
    // A node whose list was unused and is used again counts as a newcomer, however old the list is.
    let away = ("2 of b c d", used(0, 60));
    assert_eq!(newcomer(&[away, ("2 of a b c", used(62, 98))], Some(0)), Some(128));
    assert_eq!(
        newcomer(&[ours, ("2 of a x y", used(0, 100))], Some(0)),
        None,
        "not of the node that tells of it"
    );
}

#[test]
fn a_list_that_was_left_counts_as_one_in_use() {
    let left = ListUse { is_left: true, ..used(0, 98) };
    assert_eq!(newcomer(&[("2 of a b c", left)], Some(0)), Some(128), "its leases may live");
}

#[test]
fn data_older_than_what_clients_have_met_waits_until_that_is_written_down() {
    let told = |run: &'static str, sequence| {
        judged(move |known| {
            let change = Change { run: run.into(), sequence };
            known[1].record_mut().met.insert("a".into(), MetNode { first: 0, change });
        })
    };
    let rolled_back = Some((124, QuarantineCause::RolledBack));
    // Another client has observed the node after us.
    assert_eq!((told("a1", 7), told("a1", 8)), (None, None));
    assert_eq!((told("a0", 3), told("a0", 4)), (None, rolled_back));
    assert_eq!(told("a2", 1), rolled_back);
}

#[test]
fn a_node_counts_when_all_others_have_been_told_of_it() {
    let introduced = |change: fn(&mut NodeView)| {
        let mut known = nodes().map(Option::unwrap);
        change(&mut known[2]);
        is_introduced(0, &known.map(Some))
    };
    assert!(introduced(|_| {}));
    assert!(!introduced(|other| other.told = "2 of b c ~".into()));
    assert!(introduced(|other| (other.told, other.is_up) = (String::new(), false)), "it cannot be told");
    assert!(!is_introduced(0, &[None, None, None]));
}

/// The unmet node of a client that has not met all of its nodes may be our node, or another one.
#[test]
fn lists_of_clients_that_have_not_met_all_nodes_count_where_they_name_strangers() {
    let list = |list| newcomer(&[(list, used(0, 100))], Some(0));
    assert_eq!(list("2 of b c ~"), None, "it may have us in mind");
    assert_eq!(list("2 of b x ~"), Some(130), "it means x");
}

#[test]
fn looks_are_several_in_the_life_of_a_lease() {
    let every = |ms| observe_every(Ttl::from_duration(Duration::from_millis(ms)));
    assert_eq!([10, 8_000, 60_000].map(every), [250, 1_000, 2_500].map(Duration::from_millis));
}

/// Clients that change the node list meet those that have not begun.
#[test]
fn a_list_that_ours_meets_is_no_reason_to_wait() {
    let both = "2 of a b c > 2 of b c d";
    let until = |told: &str| {
        judged(|known| {
            known[0] = node("d", 0);
            for other in &mut known[1..] {
                other.told = told.into();
                other.record_mut().lists.insert(both.into(), used(90, 100));
            }
        })
        .map(|(until, _)| until)
    };
    assert_eq!((until(both), until("2 of b c d")), (None, Some(130)));
}
