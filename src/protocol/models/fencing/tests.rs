//! The searches of this model.

use super::super::{BOUNDS, Bounds, exhaust, find, search};
use super::{Commands, Fencing, IN_ORDER, ROUNDS_MAX, Rule, Starts, UNIQUE};

fn fencing(rule: Rule, walls: &[u8]) -> Fencing {
    Fencing {
        rule,
        walls: walls.to_vec(),
        starts: Starts::AnyOrder,
        scores: match BOUNDS {
            Bounds::Quick => vec![[0, 0, 0], [0, 1, 2]],
            Bounds::Full => vec![[0, 0, 0], [0, 0, 2], [0, 1, 2]],
        },
        losses: 0,
        rounds: match BOUNDS {
            Bounds::Quick => 1,
            Bounds::Full => ROUNDS_MAX,
        },
        commands: Commands::Apart,
    }
}

#[test]
fn two_attempts_whatever_they_propose() {
    for (name, walls) in [("equal", [1, 1]), ("rising", [1, 3]), ("falling", [3, 1])] {
        let name = format!("fencing, two attempts, {name} proposals");
        exhaust(&name, &fencing(Rule::Shipped, &walls), &[UNIQUE, IN_ORDER]);
    }
}

#[test]
fn three_attempts() {
    let model = Fencing { scores: vec![[0, 0, 1]], rounds: 1, ..fencing(Rule::Shipped, &[1, 2, 1]) };
    let together = Fencing { rounds: 0, commands: Commands::Together, ..model.clone() };
    match BOUNDS {
        Bounds::Quick => search("fencing, three attempts", &model, 50_000),
        Bounds::Full => {
            search("fencing, three attempts", &model, 20_000_000);
            let name = "fencing, three attempts, SET and ZADD as one, no second round";
            exhaust(name, &together, &[UNIQUE, IN_ORDER]);
        }
    }
}

/// If a node loses its scores, attempts that overlap may get the same token. Attempts that do not overlap still get
/// growing tokens while their clocks grow.
#[test]
fn nodes_that_forget_while_clocks_agree() {
    let model = Fencing { losses: 2, starts: Starts::InOrder, rounds: 1, ..fencing(Rule::Shipped, &[4, 6]) };
    if BOUNDS == Bounds::Full {
        exhaust("fencing, nodes forget twice, clocks grow", &model, &[IN_ORDER]);
    }
    let once = Fencing { losses: 1, ..model };
    exhaust("fencing, a node forgets, clocks grow", &once, &[IN_ORDER]);
    find("fencing, a node forgets, clocks grow, attempts overlap", once, &[UNIQUE]);
}

#[test]
fn wrong_rules_are_found_wrong() {
    let equal = |rule| fencing(rule, &[1, 1]);
    find("fencing, a raise that accepts equality", equal(Rule::RaiseAcceptsEqual), &[UNIQUE, IN_ORDER]);
    find("fencing, a stale grant counts", equal(Rule::StaleGrantCounts), &[UNIQUE, IN_ORDER]);
    find("fencing, a counter on each node", equal(Rule::CounterPerNode), &[UNIQUE, IN_ORDER]);
    let forgets = Fencing { losses: 1, ..equal(Rule::Shipped) };
    find("fencing, a node forgets and clocks are equal", forgets, &[UNIQUE, IN_ORDER]);
}
