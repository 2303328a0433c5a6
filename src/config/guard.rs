//! Settings that let nodes vote although they may forget locks.

use super::RedlockBuilder;
use crate::types::Eviction;

/// Whether nodes that may have forgotten locks are put in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarding {
    On,
    Off,
}

impl RedlockBuilder {
    /// Turns the restart guard off: grants count at once, even of nodes that may have forgotten locks because they
    /// restarted without keeping every write, lost their data, or were promoted. **Two clients can then hold one lock
    /// at the same time.** For nodes whose restarts are delayed by other means, and for benchmarks.
    pub fn dangerous_no_restart_guard(mut self) -> Self {
        self.guarding = Guarding::Off;
        self.given("dangerous_no_restart_guard")
    }

    /// Lets nodes vote that have a `maxmemory` and a `maxmemory-policy` other than `noeviction`. **Such a node evicts
    /// locks when its memory is full, and two clients can then hold one lock at the same time.**
    pub fn dangerous_allow_eviction(mut self) -> Self {
        self.eviction = Eviction::Allowed;
        self.given("dangerous_allow_eviction")
    }
}
