//! Keeps a lease alive for as long as it can be.

use std::time::Duration;

use redlock_quorum::{ExtendError, Guard, Votes};
use tokio::time::{sleep, timeout};

/// A lease is renewed when this part of it has passed: two more chances before the deadline.
const RENEWAL_PART: u32 = 3;

/// Pause after a renewal that too few nodes answered, as a part of the TTL and at most.
const RETRY_PART: u32 = 20;
const RETRY_MAX: Duration = Duration::from_millis(500);

/// How often the lease is looked at, however long it is: timers stand still while the machine is suspended, the
/// lease does not.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is nothing left to keep.
pub(super) enum Loss {
    /// The lease is over; with what the nodes said to the last renewal that failed, if any did.
    Over(Option<Votes>),
    /// The library refuses to renew.
    Refused(ExtendError),
}

/// Renews the lease until it is lost. The deadline bounds every pause and every renewal, so a renewal that hangs
/// does not hide it.
pub(super) async fn keep(guard: &mut Guard, ttl: Duration) -> Loss {
    let mut votes = None;
    let mut next = guard.remaining() / RENEWAL_PART;
    loop {
        pause(guard, next).await;
        if !guard.is_valid() {
            return Loss::Over(votes);
        }
        next = match timeout(guard.remaining(), guard.extend(ttl)).await {
            Ok(Ok(())) => {
                votes = None;
                guard.remaining() / RENEWAL_PART
            }
            Ok(Err(ExtendError::NoQuorum { votes: said, .. })) => {
                votes = Some(said);
                RETRY_MAX.min(ttl / RETRY_PART)
            }
            Ok(Err(ExtendError::Lost { votes: said, .. })) => {
                let said_something = said.failures().next().is_some() || said.denials().next().is_some();
                return Loss::Over(if said_something { Some(said) } else { votes });
            }
            Ok(Err(error @ (ExtendError::Invalid(_) | _))) => return Loss::Refused(error),
            Err(_deadline) => Duration::ZERO,
        };
        tracing::debug!(left = ?guard.remaining(), ?next, failed = votes.is_some(), "renewal");
    }
}

/// Sleeps for so long, or until the lease is over.
async fn pause(guard: &Guard, length: Duration) {
    let mut left = length;
    while !left.is_zero() && guard.is_valid() {
        let step = left.min(guard.remaining()).min(LOOK);
        sleep(step).await;
        left -= step;
    }
}
