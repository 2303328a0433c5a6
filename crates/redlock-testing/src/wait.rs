//! Bounded waiting for other processes. Only this file of the cluster reads a clock.

use std::thread;
use std::time::{Duration, Instant};

/// Pause between two checks of another process. Short against a server's start (about 20 ms), long against a check.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The instant at which a wait ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// The time that is left; `None` once the deadline has passed.
    pub(super) fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }
}

/// Calls `look`, at least once, until it finds something; `None` when `limit` has passed.
pub(super) fn poll<T, E>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if deadline.remaining().is_none() {
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounds the wait for real processes, which no simulation can stand in for"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
