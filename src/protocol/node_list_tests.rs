use super::*;
use crate::protocol::ClockNews;
use crate::protocol::record::Durability;

const OLD: &str = "2 of a b c";
const NEW: &str = "2 of c d e";
const BOTH: &str = "2 of a b c > 2 of c d e";
const BACK: &str = "2 of c d e > 2 of a b c";
static NO_NEWS: ClockNews = ClockNews { peers: Vec::new(), stepped: None };
const S: u64 = 1_000_000;
/// The leases of 20 s with a tenth of drift and 2 s, and two and a half observation intervals of 2.5 s.
const LATELY: u64 = 22 + 2 + 7;

#[test]
fn quorums_of_two_lists_meet_or_not() {
    for (one, other, expected) in [
        (OLD, OLD, true),
        (OLD, NEW, false),
        (OLD, "2 of a b d", false),
        (OLD, "3 of a b c d", true),
        (OLD, "3 of a b c d e", false),
        ("3 of a b c", "3 of a b c d e", true),
        (OLD, "3 of c d e", false),
        (BOTH, OLD, true),
        (BOTH, NEW, true),
        (BOTH, "2 of c d f", false),
        (BOTH, "2 of c d e > 2 of e f g", true),
        // Only the nodes that are met have votes.
        ("2 of b c ~", "2 of b c d", true),
        ("2 of a b ~", "2 of b c d", false),
        ("", OLD, false),
    ] {
        assert_eq!((meets(one, other), meets(other, one)), (expected, expected), "{one}, {other}");
    }
}

#[test]
fn a_list_is_the_beginning_of_one_with_more_nodes_met() {
    for (list, longer, expected) in [
        ("2 of a b ~", OLD, true),
        (OLD, OLD, false),
        ("2 of a b ~", "3 of a b c d e", false),
        ("2 of a b ~", BOTH, false),
        ("2 of a b ~ > 2 of d e ~", BOTH, true),
    ] {
        assert_eq!(is_beginning_of(list, longer), expected, "{list}, {longer}");
    }
}

/// A record in the hands of clients that announce lists to its node; times are in seconds.
struct Node(Record);

impl Node {
    fn new() -> Self {
        Self(Record::after(None, &look(0, "", false)))
    }

    fn told(mut self, seconds: u64, list: &str) -> Self {
        self.0 = Record::after(Some(&self.0), &look(seconds, list, false));
        self
    }

    /// As by a client that knows that a quorum of the present list is closed.
    fn told_closed(mut self, seconds: u64, list: &str) -> Self {
        self.0 = Record::after(Some(&self.0), &look(seconds, list, true));
        self
    }

    /// A client announces the list every two seconds.
    fn used(self, from: u64, to: u64, list: &str) -> Self {
        (from..=to).step_by(2).fold(self, |node, seconds| node.told(seconds, list))
    }

    fn progress(&self, list: &str) -> Option<ChangeProgress> {
        self.0.lists.get(list).map(|used| used.progress)
    }

    /// Whether clients of the old list, of both, and of the new list have votes.
    fn votes(&self, seconds: u64) -> [bool; 3] {
        let lately = used_for(self.0.longest());
        [OLD, BOTH, NEW].map(|list| bar(list, &self.0, seconds * S, lately).is_none())
    }
}

fn look(seconds: u64, list: &str, is_present_closed: bool) -> Observation<'_> {
    Observation {
        now: seconds * S,
        run_id: "r",
        replication_id: "p",
        was_replica: false,
        durability: Durability { syncs: true, is_rewriting: false, was_rewritten: false },
        evicted_keys: 0,
        is_declared: false,
        new_id: "c",
        is_copy: false,
        lacks: &[],
        max_ttl: Ttl::from_duration(Duration::from_secs(20)),
        age: Duration::ZERO,
        every: Duration::from_millis(2500),
        list,
        left: "",
        is_present_closed,
        met: &[],
        clock: &NO_NEWS,
    }
}

#[test]
fn a_change_goes_on_when_the_clients_of_the_list_before_are_gone() {
    let node = Node::new().used(2, 10, OLD);
    assert_eq!(node.votes(10), [true, true, true], "no change that the node knows of");
    let node = node.told(12, BOTH).told(14, OLD);
    assert_eq!(node.votes(14), [true, true, false]);
    let node = node.used(16, 14 + LATELY, BOTH);
    assert_eq!(
        node.progress(BOTH),
        Some(ChangeProgress::Begun),
        "leases of the old list may last until then"
    );
    let node = node.told(16 + LATELY, BOTH);
    assert_eq!(node.progress(BOTH), Some(ChangeProgress::Closed));
    assert_eq!(node.votes(50), [false, true, false]);
    let node = node.told_closed(52, BOTH);
    assert_eq!(node.progress(BOTH), Some(ChangeProgress::Done));
    assert_eq!(node.votes(52), [false, true, true]);
    let late = node.told(500, OLD).told(502, BOTH);
    assert_eq!(late.votes(502), [false, true, true], "a client of the old list that comes back late");
}

/// The node may have been wiped, and its record does not show the clients of the list before.
#[test]
fn a_change_that_the_node_has_known_for_a_short_time_only_does_not_go_on() {
    let node = Node::new().used(2, LATELY + 2, BOTH);
    assert_eq!(node.progress(BOTH), Some(ChangeProgress::Begun));
    assert_eq!(node.told(LATELY + 4, BOTH).progress(BOTH), Some(ChangeProgress::Closed));
}

#[test]
fn clients_that_change_to_another_list_hinder_the_change() {
    for other in ["2 of c d f", "2 of a b c > 2 of c d f", BACK, "2 of a b ~"] {
        let node = Node::new().told(100, other);
        let node = node.used(102, 99 + LATELY, BOTH).told(99 + LATELY, other);
        let node = node.told(102 + LATELY, BOTH);
        assert_eq!(node.progress(BOTH), Some(ChangeProgress::Begun), "{other}");
    }
}

#[test]
fn a_change_that_was_given_up_leaves_the_old_list_alone() {
    let node = Node::new().used(2, 10, BOTH);
    assert_eq!(node.votes(1000), [true, true, false]);
    let lately = used_for(node.0.longest());
    let replaced = |seconds| bar("2 of a b x", &node.0, seconds * S, lately);
    assert_eq!(
        (replaced(12), replaced(1000)),
        (Some(Bar::NotYet), None),
        "another server is one of its nodes"
    );
}

#[test]
fn a_change_back_is_a_change_in_the_other_direction() {
    let done = Node::new().used(2, 40, BOTH).told_closed(42, BOTH);
    assert_eq!(done.votes(42), [false, true, true]);
    let back = done.used(200, 202, BACK);
    assert_eq!(back.votes(202), [false, true, true]);
    let back = back.used(204, 240, BACK);
    assert_eq!((back.progress(BACK), back.votes(240)), (Some(ChangeProgress::Closed), [false, true, false]));
    let back = back.told_closed(242, BACK);
    assert_eq!((back.progress(BOTH), back.votes(242)), (None, [true, true, false]));
}

#[test]
fn one_change_after_the_other() {
    let next = "2 of c d e > 2 of e f g";
    let done = Node::new().used(2, 40, BOTH).told_closed(42, BOTH);
    let second = done.used(50, 52, next);
    assert_eq!(second.votes(52), [false, true, true], "clients of the first change meet the others");
    let second = second.used(54, 90, next).told_closed(92, next);
    assert_eq!(
        (second.progress(next), second.votes(92)),
        (Some(ChangeProgress::Done), [false, false, false])
    );
    assert_eq!(bar("2 of e f g", &second.0, 92 * S, used_for(second.0.longest())), None);
}

/// The bug: the change under the other id excluded all clients but those of the old list for ever, because nobody could
/// end it.
#[test]
fn a_change_under_another_id_of_a_node_ends_with_the_change_that_follows() {
    let other = "2 of a b x > 2 of c d e";
    for (before, is_left) in [(other, true), (other, false), ("2 of a ~ ~ > 2 of d e ~", false)] {
        let mut node = Node::new().used(2, 10, before);
        if is_left {
            let left = Observation { left: before, ..look(12, BOTH, false) };
            node.0 = Record::after(Some(&node.0), &left);
        }
        let node = node.used(14, 54, BOTH).told_closed(56, BOTH);
        assert_eq!(node.votes(56), [false, true, true], "{before}");
        let late = bar("2 of a b x", &node.0, 500 * S, used_for(node.0.longest()));
        assert_eq!(late, (before == other).then_some(Bar::Over), "{before}");
        let back = node.used(200, 240, BACK).told_closed(242, BACK);
        assert_eq!(back.votes(242), [true, true, false], "{before}");
    }
    let in_use = Node::new().used(2, 40, BOTH).told(42, other).told_closed(44, BOTH);
    assert_eq!(in_use.votes(44), [false, false, false], "clients of the other list may be left");
}

/// `d` takes the place of `c` long after the change.
#[test]
fn a_change_that_is_done_does_not_hinder_that_a_server_is_replaced() {
    let done = Node::new().used(2, 40, BOTH).told_closed(42, BOTH);
    for list in ["2 of c d f", "2 of c d ~", "2 of c d f > 2 of f g h"] {
        assert_eq!(bar(list, &done.0, 500 * S, used_for(done.0.longest())), None, "{list}");
    }
}
