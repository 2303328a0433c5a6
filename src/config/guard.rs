//! Which nodes are believed.

use super::RedlockBuilder;
use crate::types::Eviction;

/// Whether nodes that may have forgotten locks have to wait before their grants count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarding {
    On,
    Off,
}

impl RedlockBuilder {
    /// Counts the grants of nodes that may have forgotten locks: that restarted without keeping every write, lost
    /// their data, or were promoted. **Two clients can then hold one lock at a time.** For nodes whose restarts are
    /// delayed by other means, and for benchmarks.
    pub fn dangerous_no_restart_guard(mut self) -> Self {
        self.guarding = Guarding::Off;
        self.given("dangerous_no_restart_guard")
    }

    /// Takes nodes that have a `maxmemory` and a `maxmemory-policy` other than `noeviction`. **A full node throws
    /// locks away then, and two clients can hold one at a time.**
    pub fn dangerous_allow_eviction(mut self) -> Self {
        self.eviction = Eviction::Allowed;
        self.given("dangerous_allow_eviction")
    }
}
