//! The seeds of `make test`, and those that `make sim` asks for.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use super::outcome::Outcome;
use super::shrink::{Shrunk, shrink};
use super::sum::run_all;
use super::{Kept, Plan, run};
use crate::planted::Fault;

/// A simulation spends a third of its time in the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many seeds `make test` runs, in a build without optimization.
const SEEDS: u64 = 10;

#[test]
fn nothing_goes_wrong_whatever_happens() {
    let bug = std::env::var("SIM_BUG").ok().map(|name| named(&name));
    if let Some(seed) = number("SIM_SEED") {
        return tell(&Plan { seed, bug, kept: kept() });
    }
    let (from, seeds) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let mut sum = run_all(from..from + seeds, bug);
    println!("{sum}");
    if let Some((seed, outcome)) = sum.wrong.take() {
        tell_shrunk(&Plan { seed, bug, kept: Kept::All }, outcome);
    }
    assert!(sum.leases() >= seeds, "{} leases", sum.leases());
}

/// Whatever a seed does, it does again, to the byte.
#[test]
fn a_seed_is_the_same_run_again() {
    for seed in 0..number("SIM_SEEDS").unwrap_or(3) {
        let plan = Plan { seed, bug: None, kept: Kept::All };
        assert_eq!(run(&plan).log, run(&plan).log, "seed {seed}");
    }
}

/// Seeds that have found bugs of the library, as long as what is drawn for a seed is what it was then. Each of these bugs
/// has a test of its own, too; tests/regressions.md tells which.
const FOUND: &[u64] = &[];

#[test]
fn seeds_that_found_bugs_are_clean() {
    for seed in FOUND {
        tell(&Plan { seed: *seed, bug: None, kept: Kept::All });
    }
}

/// `make sim-bugs` looks for all of them, and prints how many seeds each took. `make test` looks for one, which takes few.
#[test]
fn planted_bugs_are_found() {
    let few = [Fault::StaleCounted];
    let (bugs, limit) = match number("SIM_BUGS") {
        Some(limit) => (&Fault::ALL[..], limit),
        None => (&few[..], 200),
    };
    let mut missed = Vec::new();
    for bug in bugs {
        let wrong = run_all(0..limit, Some(*bug)).wrong;
        let name = format!("{bug:?}");
        match &wrong {
            Some((seed, outcome)) => println!("{name:<22} {:>6} seeds: {}", seed + 1, outcome.violations[0]),
            None => {
                println!("{name:<22} not found in {limit} seeds");
                missed.push(*bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found in {limit} seeds: {missed:?}");
}

/// The story of a seed; fails where something went wrong.
fn tell(plan: &Plan) {
    let outcome = run(plan);
    for (i, fault) in outcome.planned.iter().enumerate() {
        println!("fault {i}: {fault}");
    }
    println!("{}", outcome.log.join("\n"));
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}

/// The story of the fewest faults with which a seed still goes wrong.
fn tell_shrunk(plan: &Plan, outcome: Outcome) {
    let (faults, violations) = (outcome.planned.len(), outcome.violations.clone());
    println!("seed {} goes wrong: {violations:#?}", plan.seed);
    let Shrunk { kept, outcome } = shrink(plan, outcome);
    println!("{}", outcome.log.join("\n"));
    let list: Vec<_> = kept.iter().map(ToString::to_string).collect();
    panic!(
        "{:#?}\nwith {} of {faults} faults; the whole seed said {violations:#?}\n\
         play it again with: make sim SEED={} FAULTS={}",
        outcome.violations,
        kept.len(),
        plan.seed,
        if list.is_empty() { "none".to_owned() } else { list.join(",") }
    );
}

/// The faults that `FAULTS=3,5` names.
fn kept() -> Kept {
    match std::env::var("SIM_FAULTS") {
        Ok(list) if !list.is_empty() => {
            Kept::Only(list.split(',').filter_map(|number| number.parse().ok()).collect())
        }
        Ok(_) | Err(_) => Kept::All,
    }
}

fn named(name: &str) -> Fault {
    let bug = Fault::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    bug.expect("SIM_BUG is the name of a planted bug")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}
