//! Many seeds: their sum, how far the run is, and the first that goes wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::locks::Kind;
use super::outcome::{Count, Outcome};
use super::storms::Most;
use super::{Kept, Plan, run};
use crate::planted::Fault;

/// Threads of a run; each simulates a seed at a time.
const THREADS: usize = 2;
/// After so many seeds a long run says how far it is.
const PROGRESS: u64 = 500;

/// The sum of many runs.
pub(super) struct Sum {
    began: Instant,
    wanted: u64,
    pub(super) seeds: u64,
    lasted: Duration,
    attempts: u64,
    renewals: u64,
    kinds: BTreeMap<Kind, Count>,
    longest_free: Duration,
    most: Most,
    faults: BTreeMap<&'static str, u64>,
    /// The first seed that went wrong, and how.
    pub(super) wrong: Option<(u64, Outcome)>,
}

/// Runs seeds until one goes wrong.
pub(super) fn run_all(seeds: std::ops::Range<u64>, bug: Option<Fault>) -> Sum {
    let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new(Sum::new(seeds.end - seeds.start)));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_over = || sum.lock().unwrap().wrong.as_ref().is_some_and(|(wrong, _)| *wrong < seed);
            if seed >= seeds.end || is_over() {
                return;
            }
            let outcome = run(&Plan { seed, bug, kept: Kept::All });
            sum.lock().unwrap().add(seed, outcome);
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    sum.into_inner().unwrap()
}

impl Sum {
    #[expect(clippy::disallowed_methods, reason = "how long the computer takes, for whoever waits")]
    fn new(wanted: u64) -> Self {
        Self {
            began: Instant::now(),
            wanted,
            seeds: 0,
            lasted: Duration::ZERO,
            attempts: 0,
            renewals: 0,
            kinds: BTreeMap::new(),
            longest_free: Duration::ZERO,
            most: Most::default(),
            faults: BTreeMap::new(),
            wrong: None,
        }
    }

    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.lasted += outcome.lasted;
        self.attempts += outcome.attempts;
        self.renewals += outcome.renewals;
        for (kind, count) in &outcome.kinds {
            *self.kinds.entry(*kind).or_default() += *count;
        }
        self.longest_free = self.longest_free.max(outcome.longest_free);
        self.most = self.most.max(outcome.most);
        for (kind, number) in &outcome.faults {
            *self.faults.entry(kind).or_default() += number;
        }
        if !outcome.violations.is_empty() && self.wrong.as_ref().is_none_or(|(wrong, _)| seed < *wrong) {
            self.wrong = Some((seed, outcome));
        }
        if self.seeds.is_multiple_of(PROGRESS) {
            self.tell_progress();
        }
    }

    /// How many locks were had.
    pub(super) fn leases(&self) -> u64 {
        self.kinds.values().map(|count| count.leases).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "for a line of text")]
    fn tell_progress(&self) {
        let rate = self.seeds as f64 / self.began.elapsed().as_secs_f64();
        let left = (self.wanted - self.seeds) as f64 / rate;
        println!(
            "{} of {} seeds, {} leases, {rate:.1} seeds/s, {left:.0} s left",
            self.seeds,
            self.wanted,
            self.leases()
        );
    }
}

impl fmt::Display for Sum {
    #[expect(clippy::cast_precision_loss, reason = "for a line of text")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.began.elapsed().as_secs_f64();
        writeln!(
            f,
            "{} seeds in {took:.0} s ({:.1} seeds/s), {:.1} virtual hours",
            self.seeds,
            self.seeds as f64 / took,
            self.lasted.as_secs_f64() / 3600.0
        )?;
        writeln!(
            f,
            "{} attempts, {} leases, {} renewals by a node",
            self.attempts,
            self.leases(),
            self.renewals
        )?;
        for (kind, Count { leases, losses, raised, failures }) in &self.kinds {
            let name = kind.name();
            writeln!(
                f,
                "{leases:>9} {name}: renewed or extended {raised} times, lost {losses}, {failures} calls in vain"
            )?;
        }
        writeln!(
            f,
            "a lock that was waited for was free for {:?} at most; at most {} connects in 10 s and {} commands in 1 s",
            self.longest_free, self.most.connects, self.most.commands
        )?;
        for (kind, number) in &self.faults {
            writeln!(f, "{number:>9} {kind}")?;
        }
        Ok(())
    }
}
