//! The searches of this model.

use super::super::{BOUNDS, Bounds, exhaust, find};
use super::{
    Aim, Config, Fault, Founding, Lost, NODES, ONE_HOLDER, Observer, Renewals, Restarts, Rule, Step,
};

const LOCK: Aim = Aim::LockAfterMeetingAll;
const ALL: [usize; NODES] = [0, 1, 2];

fn observer(ttl: u8, aim: Aim) -> Observer {
    Observer { ttl, meets: ALL.to_vec(), aim }
}

/// The first client has met all nodes and holds the lock on nodes 0 and 1; then other clients come.
fn scenario(rule: Rule, menu: &[Fault]) -> Restarts {
    Restarts {
        rule,
        steps: 4,
        menu: menu.iter().copied().chain([Fault::Observe(2, 1)]).collect(),
        config: Config::Durable,
        founding: Founding::LongAgo,
        // The third client observes node 1 at any time before the second comes.
        clients: vec![observer(2, LOCK), observer(2, LOCK), observer(2, Aim::ObserveOnly)],
        renewals: Renewals::No,
        script: vec![Step::Start(0), Step::Execute(0, 0), Step::Execute(0, 1)],
    }
}

/// The node loses all data, is observed, and restarts once more with its data.
fn wiped(rule: Rule) -> Restarts {
    let [lost, kept] = [Lost::All, Lost::Nothing].map(|lost| Fault::Restart(1, lost, Config::Durable));
    scenario(rule, &[lost, kept])
}

/// The server is weak at first, and durable when it is observed again. The record survives, but not the locks.
fn weak(rule: Rule) -> Restarts {
    let [lost, kept] = [Lost::Locks, Lost::Nothing].map(|lost| Fault::Restart(1, lost, Config::Durable));
    Restarts { config: Config::Weak, ..scenario(rule, &[lost, kept]) }
}

/// A replica attaches to a durable master and takes its place before any client has observed it again.
fn promoted(rule: Rule) -> Restarts {
    scenario(rule, &[Fault::Attach(1), Fault::Promote(1)])
}

/// A wiped node gets its first replica, and may restart.
fn attached(rule: Rule) -> Restarts {
    let [lost, kept] = [Lost::All, Lost::Nothing].map(|lost| Fault::Restart(1, lost, Config::Durable));
    Restarts { steps: 3, ..scenario(rule, &[lost, Fault::Attach(1), kept]) }
}

fn declared(rule: Rule) -> Restarts {
    let lost = [Lost::Locks, Lost::All].map(|lost| Fault::Restart(1, lost, Config::Weak));
    Restarts { config: Config::Weak, founding: Founding::Declared, ..scenario(rule, &lost) }
}

/// Another server, which is old, becomes node 1; then the first one comes back.
fn swapped(rule: Rule) -> Restarts {
    Restarts { steps: 6, ..scenario(rule, &[Fault::Swap(1, 3), Fault::Swap(1, 1)]) }
}

/// As `swapped`, with a server that has been the node before.
fn in_turns(rule: Rule) -> Restarts {
    Restarts { founding: Founding::InTurns, ..swapped(rule) }
}

/// The holder has a longer TTL than the next client, which may have observed some nodes before.
fn unequal(rule: Rule) -> Restarts {
    let mut model = scenario(rule, &[Fault::Restart(1, Lost::All, Config::Durable)]);
    model.steps = 4;
    model.menu.truncate(1);
    model.menu.extend(ALL.map(|node| Fault::Observe(1, node)));
    model.clients = vec![observer(3, LOCK), observer(1, LOCK)];
    model
}

/// The second client observed a node before the holder came, and cannot observe it again when it wants the lock.
fn stale(rule: Rule) -> Restarts {
    let mut model = unequal(rule);
    model.clients[0] = Observer { ttl: 3, meets: vec![0, 1], aim: Aim::Lock };
    model.clients[1] = Observer { ttl: 1, meets: vec![1, 2], aim: LOCK };
    model.script.splice(0..0, [Step::Happens(Fault::Observe(1, 0)), Step::TimePasses]);
    model
}

/// The node restarts, is observed, and restarts with an older file.
fn rolled_back(rule: Rule) -> Restarts {
    let kept = Fault::Restart(1, Lost::Nothing, Config::Durable);
    let mut model = scenario(rule, &[Fault::Load(1)]);
    // The holder comes after the node has restarted once.
    model.menu.extend([Fault::Save(1), kept]);
    let before = [Step::Happens(Fault::Save(1)), Step::Happens(kept)];
    model.script.splice(0..0, before);
    model
}

/// A holder that renews sets its key again where it is missing.
fn healed(rule: Rule) -> Restarts {
    let lost = Fault::Restart(1, Lost::All, Config::Weak);
    let mut model = Restarts { config: Config::Weak, renewals: Renewals::Yes, ..scenario(rule, &[lost]) };
    model.menu.truncate(1);
    model
}

/// A holder that has not met all of its nodes announces the nodes that it uses.
fn partly_met(rule: Rule) -> Restarts {
    let mut model = scenario(rule, &[Fault::Swap(1, 3)]);
    model.founding = Founding::InTurns;
    model.clients[0] = Observer { ttl: 2, meets: vec![1, 2], aim: Aim::Lock };
    model.script = vec![Step::Start(0), Step::Execute(0, 1), Step::Execute(0, 2)];
    model
}

type Scenario = (&'static str, fn(Rule) -> Restarts);

/// The scenarios that take seconds, also in a debug build.
const QUICK: [Scenario; 2] =
    [("restarts, a promotion", promoted), ("restarts, an old file is loaded", rolled_back)];

const FULL: [Scenario; 10] = [
    ("restarts, a wiped node restarts twice", wiped),
    ("restarts, a weak node becomes durable", weak),
    ("restarts, a replica attaches to a wiped node", attached),
    ("restarts, a declared node forgets", declared),
    ("restarts, another server at the address, and back", swapped),
    ("restarts, servers that take turns", in_turns),
    ("restarts, a holder that has not met all nodes", partly_met),
    ("restarts, clients with other TTLs", unequal),
    ("restarts, a client that cannot look again", stale),
    ("restarts, a holder renews and heals", healed),
];

#[test]
fn no_two_leases_overlap_whatever_nodes_forget() {
    for (name, model) in QUICK {
        exhaust(name, &model(Rule::Shipped), &[ONE_HOLDER]);
    }
    if BOUNDS == Bounds::Full {
        for (name, model) in FULL {
            exhaust(name, &model(Rule::Shipped), &[ONE_HOLDER]);
        }
        // In this scenario other rules catch what the missing rule would.
        exhaust("restarts, wiped, and no lists", &wiped(Rule::ServerNotNoticed), &[ONE_HOLDER]);
    }
}

#[test]
fn each_rule_is_needed() {
    let quick = [
        ("restarts, durability not noted", weak(Rule::DurabilityNotNoted)),
        ("restarts, a promotion ignored", promoted(Rule::PromotionIgnored)),
        ("restarts, another server not noticed", swapped(Rule::ServerNotNoticed)),
        ("restarts, a declaration kept", declared(Rule::DeclarationKept)),
        ("restarts, an old file not noticed", rolled_back(Rule::RollbackNotNoticed)),
        ("restarts, a quarantine that is too short", promoted(Rule::TooShort)),
    ];
    for (name, model) in quick {
        find(name, model, &[ONE_HOLDER]);
    }
    if BOUNDS == Bounds::Full {
        let full = [
            ("restarts, a record believed because another process made it", wiped(Rule::MadeRecordBelieved)),
            ("restarts, longer TTLs of others not heard", unequal(Rule::OwnTtlAlone)),
            ("restarts, TTLs not read again", stale(Rule::TtlNotReadAgain)),
        ];
        for (name, model) in full {
            find(name, model, &[ONE_HOLDER]);
        }
    }
}
