//! What is searched.

use super::super::{BOUNDS, Bounds, exhaust, find};
use super::rules::TTL;
use super::{Begin, ONE_HOLDER, Renewals, Restarts, Rule};

fn restarts(rule: Rule) -> Restarts {
    // Time begins when the first nodes are just old enough; the first lease may end, and another begin.
    Restarts { rule, end: 2 * TTL, restarts: 1, renewals: Renewals::No, begin: Begin::Held }
}

#[test]
fn a_node_that_forgets_and_is_quarantined_lets_no_two_leases_overlap() {
    exhaust("restarts, a node forgets a held lock", &restarts(Rule::Shipped), &[ONE_HOLDER]);
    if BOUNDS == Bounds::Full {
        let nothing = Restarts { begin: Begin::Nothing, ..restarts(Rule::Shipped) };
        exhaust("restarts, a node forgets", &nothing, &[ONE_HOLDER]);
        let twice = Restarts { restarts: 2, end: 2 * TTL + 1, ..restarts(Rule::Shipped) };
        exhaust("restarts, nodes forget twice, a held lock", &twice, &[ONE_HOLDER]);
        let renewing = Restarts { renewals: Renewals::Yes, ..restarts(Rule::Shipped) };
        exhaust("restarts, a node forgets a held lock, renewals", &renewing, &[ONE_HOLDER]);
    }
}

#[test]
fn wrong_rules_are_found_wrong() {
    find("restarts, without quarantine", restarts(Rule::NoGuard), &[ONE_HOLDER]);
    find("restarts, a quarantine that is too short", restarts(Rule::TooShort), &[ONE_HOLDER]);
    if BOUNDS == Bounds::Full {
        let heals = Restarts { renewals: Renewals::Yes, ..restarts(Rule::HealsAlways) };
        find("restarts, a key is planted again without a quorum", heals, &[ONE_HOLDER]);
    }
}
