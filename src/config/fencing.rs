//! Fencing tokens: whether there are any, and what nodes remember of them.

use std::time::Duration;

use super::RedlockBuilder;
use super::settings::check;
use crate::error::SettingsError;

/// By how much tokens are kept longer than clocks could make it necessary.
const RETENTION_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Tokens of longer ago than ten years are not kept on purpose.
const RETENTION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Whether locks carry fencing tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Each lock has a token that is larger than those of all locks before it. Costs one more command to each
    /// node, in the same round trip.
    #[default]
    On,
    /// `SET NX PX` alone; [`Guard::fencing_token`](crate::Guard::fencing_token) is 0.
    Off,
}

impl RedlockBuilder {
    /// Whether locks carry fencing tokens. All clients of a resource that checks tokens must agree.
    pub fn fencing(mut self, fencing: Fencing) -> Self {
        self.fencing = fencing;
        self.given("fencing")
    }

    /// A client whose wall clock is further than this from the median of the nodes' is refused fencing tokens;
    /// above zero.
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.max_clock_skew = skew;
        self.given("max_clock_skew")
    }

    /// For how long nodes remember the highest token of a resource that nobody locks any more. At least an hour more
    /// than three times `max_clock_skew`, by which a node's clock, the clock of the client that trims and that of the
    /// next holder may each be off; at most 3650 days.
    pub fn fence_retention(mut self, retention: Duration) -> Self {
        self.fence_retention = retention;
        self.given("fence_retention")
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
