//! What a run came to.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use super::locks::Kind;
use super::storms::Most;

#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) log: Vec<String>,
    pub(super) violations: Vec<String>,
    /// The faults of the run, by number.
    pub(super) planned: Vec<String>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// How long the run was in its own time.
    pub(super) lasted: Duration,
    pub(super) attempts: u64,
    pub(super) renewals: u64,
    pub(super) kinds: BTreeMap<Kind, Count>,
    /// The longest time that a lock was free in the calm phase although somebody waited.
    pub(super) longest_free: Duration,
    pub(super) most: Most,
}

/// What came of the locks of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) leases: u64,
    pub(super) losses: u64,
    /// How often a deadline was later than at the last look.
    pub(super) raised: u64,
    /// Calls that ended without a lock.
    pub(super) failures: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, Self { leases, losses, raised, failures }: Self) {
        self.leases += leases;
        self.losses += losses;
        self.raised += raised;
        self.failures += failures;
    }
}
