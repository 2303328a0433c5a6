//! The wall clock of a simulated server.

use std::time::Duration;

/// What a server's wall clock says, in microseconds since 1970. The caller sets it at each call, so offsets, rates and
/// steps are the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// In whole milliseconds, as Redis counts times to live.
    pub(crate) fn millis(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// The time `duration` earlier, or 1970.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// The time `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// Whole seconds since `start`; negative where the clock was set back.
    pub(crate) fn seconds_since(self, start: Self) -> i64 {
        let seconds = |time: Self| i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
        seconds(self) - seconds(start)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
