//! The searches of this model.

use super::super::{BOUNDS, Bounds, exhaust, find};
use super::{Arrival, Clocks, ONE_HOLDER, Plan, Rule, Step};
use std::time::Duration;

/// The first client holds the lock on nodes 0 and 1. The others reach nodes 1 and 2.
fn scenario(rule: Rule, steps: &[(usize, u64)], ttls: &[u32], arrives: Arrival) -> Clocks {
    let plan = |(i, ttl): (usize, &u32)| match i {
        0 => Plan { ttl: *ttl, arrives: Arrival::Long, asks: [true, true, false] },
        _ => Plan { ttl: *ttl, arrives, asks: [false, true, true] },
    };
    Clocks {
        rule,
        steps: 5,
        menu: steps.iter().map(|(node, by)| (*node, Duration::from_secs(*by))).collect(),
        racing: vec![],
        clients: ttls.iter().enumerate().map(plan).collect(),
        script: vec![Step::Start(0), Step::Execute(0, 0), Step::Execute(0, 1)],
    }
}

/// The clocks of two nodes are stepped in turn, and the clients are there to see it.
fn in_turn(rule: Rule) -> Clocks {
    let mut model = scenario(rule, &[(0, 9), (1, 9)], &[4, 4], Arrival::Long);
    model.clients[1].asks = [true; 3];
    model
}

/// A clock steps by less than the longest lease while all of them race.
fn racing(rule: Rule) -> Clocks {
    Clocks { racing: vec![0, 1, 2], ..scenario(rule, &[(1, 2)], &[4, 4], Arrival::Long) }
}

/// The holder's lease is longer than the other's.
fn unequal(rule: Rule) -> Clocks {
    // Until the longer lease is over.
    Clocks { steps: 10, ..scenario(rule, &[(1, 9)], &[8, 1], Arrival::Long) }
}

/// A client comes after the clock of one node was stepped.
fn newcomer(rule: Rule) -> Clocks {
    scenario(rule, &[(1, 9)], &[4, 4], Arrival::Later)
}

/// Two clients come, and the first has met the nodes when the second does.
fn newcomers(rule: Rule) -> Clocks {
    Clocks { steps: 4, ..scenario(rule, &[(1, 9)], &[2, 2, 2], Arrival::Later) }
}

#[test]
fn no_two_leases_overlap_whatever_the_clocks_of_a_minority_do() {
    exhaust("clocks, one steps by less than a lease while all race", &racing(Rule::Shipped), &[ONE_HOLDER]);
    exhaust("clocks, one steps before a client comes", &newcomer(Rule::Shipped), &[ONE_HOLDER]);
    if BOUNDS == Bounds::Full {
        exhaust("clocks, two step in turn", &in_turn(Rule::Shipped), &[ONE_HOLDER]);
        exhaust("clocks, a longer lease of another client", &unequal(Rule::Shipped), &[ONE_HOLDER]);
        exhaust("clocks, two clients come one after the other", &newcomers(Rule::Shipped), &[ONE_HOLDER]);
    }
}

#[test]
fn each_rule_is_needed() {
    for (name, model) in [
        ("clocks, no guard", racing(Rule::NoGuard)),
        ("clocks, grants not read", in_turn(Rule::GrantsNotRead)),
        ("clocks, the past believed", newcomer(Rule::PastBelieved)),
        ("clocks, marks ignored", newcomer(Rule::MarkIgnored)),
        ("clocks, longer TTLs of others ignored", unequal(Rule::OwnTtlAlone)),
        ("clocks, a quarantine that is too short", newcomer(Rule::TooShort)),
        ("clocks, distances written before they are judged", newcomers(Rule::WrittenUnjudged)),
    ] {
        find(name, model, &[ONE_HOLDER]);
    }
}
