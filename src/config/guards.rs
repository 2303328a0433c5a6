//! Settings of the guards: fencing tokens, the restart guard, and the clock guard.

use std::time::Duration;

use super::RedlockBuilder;
use super::settings::check;
use crate::error::SettingsError;
use crate::types::{Eviction, Guarding};

/// Time that tokens are kept in addition to what wrong clocks could make necessary.
const RETENTION_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Ten years. Nobody keeps tokens for longer on purpose.
const RETENTION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Whether locks carry fencing tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Each lock has a token that is larger than those of all earlier locks of the resource. The token costs one more
    /// command to each node, in the same round trip.
    #[default]
    On,
    /// Locks are taken by `SET NX PX` alone; [`Guard::fencing_token`](crate::Guard::fencing_token) is 0.
    Off,
}

impl RedlockBuilder {
    /// Whether locks carry fencing tokens. All clients of a resource that checks tokens must use the same setting.
    pub fn fencing(mut self, fencing: Fencing) -> Self {
        self.fencing = fencing;
        self.given("fencing")
    }

    /// The largest distance of the client's wall clock from the median of the nodes' clocks; above zero. A client
    /// beyond it is refused fencing tokens.
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.max_clock_skew = skew;
        self.given("max_clock_skew")
    }

    /// The time for which nodes keep the highest token of a resource that nobody locks any more; at most 3650 days, and
    /// at least three times `max_clock_skew` and an hour. Three clocks may each be off by `max_clock_skew`: a node's,
    /// that of the client that trims old tokens, and that of the next holder.
    pub fn fence_retention(mut self, retention: Duration) -> Self {
        self.fence_retention = retention;
        self.given("fence_retention")
    }

    /// Turns the restart guard off: grants count at once, even of nodes that may have forgotten locks because they
    /// restarted without keeping every write, lost their data, or were promoted. **Two clients can then hold one lock
    /// at the same time.** For nodes whose restarts are delayed by other means, and for benchmarks.
    pub fn dangerous_no_restart_guard(mut self) -> Self {
        self.guarding = Guarding::Off;
        self.given("dangerous_no_restart_guard")
    }

    /// Turns the clock guard off: grants count also when the node's clock was stepped ahead, or ran too fast, while locks
    /// were held. **Two clients can then hold one lock at the same time.** For benchmarks, and for nodes whose clocks are
    /// never stepped.
    pub fn dangerous_no_clock_guard(mut self) -> Self {
        self.clock_guard = Guarding::Off;
        self.given("dangerous_no_clock_guard")
    }

    /// Lets nodes vote that have a `maxmemory` and a `maxmemory-policy` other than `noeviction`. **Such a node evicts
    /// locks when its memory is full, and two clients can then hold one lock at the same time.**
    pub fn dangerous_allow_eviction(mut self) -> Self {
        self.eviction = Eviction::Allowed;
        self.given("dangerous_allow_eviction")
    }
}

pub(super) fn check_retention(retention: Duration, max_clock_skew: Duration) -> Result<(), SettingsError> {
    let min = max_clock_skew.saturating_mul(3).saturating_add(RETENTION_MARGIN);
    check(
        "fence_retention",
        retention,
        min <= retention && retention <= RETENTION_MAX,
        format_args!("between {min:?} (three times max_clock_skew and an hour) and {RETENTION_MAX:?}"),
    )
}
