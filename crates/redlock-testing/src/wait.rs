//! Bounded waiting for other processes: the only place of the cluster that reads a clock.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at another process. Short against a server's start (about 20 ms), long against a look.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The instant at which something that waits gives up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// What is left, or nothing once the deadline has passed.
    pub(super) fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }
}

/// Looks until `look` finds something, or until `limit` has passed, which is `None`. Looks at least once.
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
