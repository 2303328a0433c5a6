//! What a run came to.

use std::collections::BTreeMap;
use std::time::Duration;

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
    pub(super) locks: u64,
    pub(super) losses: u64,
    pub(super) renewals: u64,
    /// Calls that ended without a lock.
    pub(super) failures: u64,
    /// The longest time that a lock was free in the calm phase although somebody waited.
    pub(super) longest_free: Duration,
    pub(super) most: Most,
}
