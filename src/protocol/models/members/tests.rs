//! The searches of this model.

use super::super::{BOUNDS, Bounds, exhaust, find};
use super::{Changes, ONE_HOLDER, Rule};

const ALL: u8 = 0b11111;
/// One node of each list, and the one on both.
const THREE: u8 = 0b01101;
/// All nodes but the one on both lists.
const FOUR: u8 = 0b11011;

fn change(rule: Rule, both_reaches: &[u8]) -> Changes {
    Changes { rule, steps: 9, comes_back: true, both_reaches: both_reaches.to_vec() }
}

#[test]
fn no_two_leases_overlap_while_the_node_list_changes() {
    let quick = Changes { comes_back: false, steps: 5, ..change(Rule::Shipped, &[ALL, THREE]) };
    exhaust("members, nobody uses the old list any more", &quick, &[ONE_HOLDER]);
    if BOUNDS == Bounds::Full {
        for (name, reaches) in [
            ("members, a client of the old list comes back", &[ALL, FOUR]),
            ("members, clients of both lists reach few nodes", &[THREE, ALL]),
        ] {
            exhaust(name, &change(Rule::Shipped, reaches), &[ONE_HOLDER]);
        }
    }
}

#[test]
fn each_rule_is_needed() {
    for (name, rule) in [
        ("members, one list at a time", Rule::OneListAtATime),
        ("members, the next list not awaited", Rule::NextNotAwaited),
        ("members, the present list not closed", Rule::PresentNotClosed),
        ("members, the present list closed too early", Rule::ClosedTooEarly),
        ("members, a single node closes the present list", Rule::OneNodeCloses),
    ] {
        find(name, change(rule, &[ALL]), &[ONE_HOLDER]);
    }
}
