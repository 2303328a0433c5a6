//! One clock for all processes of this machine, so that their times are comparable.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The library's own clock where available: the clock advances while the machine is suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Nanoseconds since a fixed instant in the past, the same for all processes.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(CLOCK);
    // Both parts are positive, because they count from boot.
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

pub(crate) fn since(earlier: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(earlier))
}
