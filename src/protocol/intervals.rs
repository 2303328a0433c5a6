//! How often clients observe nodes, how long an observation counts, and how long a quarantine lasts.

use std::time::Duration;

use crate::types::Ttl;

/// How much longer a quarantine lasts than the longest lease and its drift. The margin covers the uncertainty about a
/// node's clock, which is up to a round trip, and the time between an announcement and the first grant.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

/// The longest observation interval of a client.
pub(super) const OBSERVE_EVERY_MAX: Duration = Duration::from_millis(2500);
/// The shortest observation interval: an observation costs a server about 0.1 ms.
const OBSERVE_EVERY_MIN: Duration = Duration::from_millis(250);

/// The observation interval of a client with leases of at most `max_ttl`: several observations in the life of its
/// longest lease.
pub(crate) fn observe_every(max_ttl: Ttl) -> Duration {
    (max_ttl.as_duration() / 8).clamp(OBSERVE_EVERY_MIN, OBSERVE_EVERY_MAX)
}

/// How long after an observation the grants of a node count, for a client with this interval. A client that was
/// stopped for longer must observe the node first, because the nodes may have forgotten by then that the client uses
/// them. Half of [`MARGIN`] is for observations that are late.
pub(crate) fn observation_lasts(observe_every: Duration) -> Duration {
    observe_every * 2 + MARGIN / 2
}

/// How much earlier than written a client may have announced its leases. A client's age, told by its own clock, drifts
/// against the node's clock by a hundredth, and is not written anew for less than this. A quarter of [`MARGIN`], because a
/// lease length counts from its first announcement, and a first time that is written too late would end a quarantine
/// early.
pub(super) const ANNOUNCED_LATE_MAX: Duration = Duration::from_millis(500);

/// How long a node that may have forgotten leases of length `ttl` stays in quarantine.
pub(crate) fn span(ttl: Ttl, clock_drift_factor: f64) -> Duration {
    ttl.as_duration().mul_f64(1.0 + clock_drift_factor) + MARGIN
}

/// How long a list counts as used after a client's last announcement of it, in the record: leases of `longest` may last
/// until then. The client counts grants for two observation intervals, and an observation that is less than half an
/// interval after the last write writes nothing. Clocks may drift by a tenth, the most that settings allow.
pub(crate) fn used_for(longest: Ttl) -> Duration {
    span(longest, 0.1) + announced_late(longest)
}

/// How long a client may use a list after the last time that a record has for it.
pub(super) fn announced_late(longest: Ttl) -> Duration {
    observe_every(longest) * 5 / 2
}
