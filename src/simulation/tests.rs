//! The seeds of `make test`, and those that `make sim` asks for.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bug, Outcome, run};
use crate::planted::Fault;

/// A simulation spends a third of its time in the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many seeds `make test` runs, in a build without optimization.
const SEEDS: u64 = 10;
/// Threads of a run; each simulates a seed at a time.
const THREADS: usize = 2;
/// After so many seeds a long run says how far it is.
const PROGRESS: u64 = 500;

/// The sum of many runs.
#[derive(Default)]
struct Sum {
    seeds: u64,
    locks: u64,
    losses: u64,
    failures: u64,
    faults: BTreeMap<&'static str, u64>,
    /// The seed that went wrong first, and how.
    wrong: Option<(u64, Outcome)>,
}

#[test]
fn nothing_goes_wrong_whatever_happens() {
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    match number("SIM_SEED") {
        Some(seed) => tell(seed, &run(seed, None)),
        None => {
            let sum = run_all(seeds, None);
            println!(
                "{} seeds, {} locks, {} lost, {} attempts in vain; {:?}",
                sum.seeds, sum.locks, sum.losses, sum.failures, sum.faults
            );
            if let Some((seed, outcome)) = &sum.wrong {
                tell(*seed, outcome);
            }
            assert!(sum.locks >= seeds, "{} locks", sum.locks);
        }
    }
}

/// Whatever a seed does, it does again, to the byte.
#[test]
fn a_seed_is_the_same_run_again() {
    for seed in 0..number("SIM_SEEDS").unwrap_or(3) {
        assert_eq!(run(seed, None).log, run(seed, None).log, "seed {seed}");
    }
}

/// `make sim-bugs` looks for all of them, and says in which seed each was found first. `make test` looks for one, which
/// takes some twenty seeds.
#[test]
fn planted_bugs_are_found() {
    let bugs = [Bug::NoQuarantine, Bug::Planted(Fault::SentAtLate), Bug::Planted(Fault::ReusedToken)];
    let (bugs, limit) = match number("SIM_BUGS") {
        Some(limit) => (&bugs[..], limit),
        None => (&bugs[..1], 200),
    };
    let mut missed = Vec::new();
    for bug in bugs {
        let sum = run_all(limit, Some(*bug));
        match &sum.wrong {
            Some((seed, outcome)) => println!("{bug:?}: seed {seed}: {}", outcome.violations[0]),
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not found in {limit} seeds: {missed:?}");
}

/// Runs seeds from 0 on until one goes wrong.
fn run_all(seeds: u64, bug: Option<Bug>) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || sum.lock().unwrap().wrong.as_ref().is_some_and(|(wrong, _)| *wrong < seed) {
                return;
            }
            let outcome = run(seed, bug);
            sum.lock().unwrap().add(seed, outcome);
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    sum.into_inner().unwrap()
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.locks += outcome.locks;
        self.losses += outcome.losses;
        self.failures += outcome.failures;
        for (kind, number) in &outcome.faults {
            *self.faults.entry(kind).or_default() += number;
        }
        if !outcome.violations.is_empty() && self.wrong.as_ref().is_none_or(|(wrong, _)| seed < *wrong) {
            self.wrong = Some((seed, outcome));
        }
        if self.seeds.is_multiple_of(PROGRESS) {
            println!("{} seeds, {} locks", self.seeds, self.locks);
        }
    }
}

/// The story of a seed; fails where something went wrong.
fn tell(seed: u64, outcome: &Outcome) {
    println!("{}", outcome.log.join("\n"));
    assert!(
        outcome.violations.is_empty(),
        "{:#?}\nplay this seed again, perhaps a few times, with: make sim SEED={seed}",
        outcome.violations
    );
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}
