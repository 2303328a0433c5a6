//! Retry strategies: when to try again.

use std::time::Duration;

/// The first waiter checks again after this time at the latest. The check finds locks whose holder notifies nobody upon
/// release (another implementation, an operator), replaces lost notifications, and covers holders without a TTL.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A waiter behind others checks after this time at the latest.
pub(crate) const LOOK_AT_LEAST: Duration = Duration::from_secs(120);

/// How `lock` waits for a lock that it did not get at once. `max_wait` bounds the wait with every strategy.
///
/// # Defaults
///
/// [`Retry::fifo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry(Strategy);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    Fifo { first: Duration, longest: Duration, look_again: Duration },
    Fixed { attempts: u32, delay: Duration },
    Exponential { first: Duration, longest: Duration },
}

/// The decision after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Try again after this time.
    For(Duration),
    /// Give up, because the strategy has no attempts left.
    GiveUp,
}

impl Retry {
    /// First come, first served, as far as possible. The waiters of a process form a wait queue. The head of each
    /// wait queue registers in a queue that one of the nodes keeps for the lock. A release notifies the first client
    /// in that queue. Nobody polls: a lock changes hands in about two round trips between processes, and in one
    /// within a process.
    ///
    /// The order is not guaranteed: a client that tries for the first time may be faster than the waiters, and a
    /// failure may lose the order.
    ///
    /// In any case the first client in the queue checks again once a second, and when the holder's TTL has passed. The
    /// next ones check after up to 2 s, 4 s and so on to 2 min, in case that those before them are gone. Clients of a
    /// [`RwLock`](crate::RwLock) all check once a second. A waiter retries as
    /// with [`Retry::exponential`], with pauses from 5 ms to 200 ms, in two cases: while there is no quorum, and
    /// where a node does not permit the client to subscribe and publish on channels that begin with
    /// `redlock-quorum:wake:`.
    #[must_use]
    pub const fn fifo() -> Self {
        Self::fifo_with(Duration::from_millis(5), Duration::from_millis(200), LOOK_AGAIN)
    }

    /// As [`fifo`](Self::fifo), with other pauses for outages and for nodes that cannot notify the client, and with
    /// another limit for the sleep of a waiter that is not notified.
    pub(crate) const fn fifo_with(first: Duration, longest: Duration, look_again: Duration) -> Self {
        Self(Strategy::Fifo { first, longest, look_again })
    }

    /// As [`fifo`](Self::fifo), but a waiter that is not notified sleeps for at least half of `look_again`. For tests of
    /// notifications, in which a waiter that was forgotten has to differ from a machine that stood still for a while.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub const fn fifo_looking_again_after(look_again: Duration) -> Self {
        Self::fifo_with(Duration::from_millis(5), Duration::from_millis(200), look_again)
    }

    /// Makes `attempts` attempts in all, at least one, with the same delay between any two:
    /// `Retry::fixed(5, Duration::from_millis(200))` is the classic "5 tries, 200 ms apart".
    ///
    /// Clients with equal delays that start together collide together; prefer [`Retry::exponential`] when many
    /// contend.
    #[must_use]
    pub const fn fixed(attempts: u32, delay: Duration) -> Self {
        Self(Strategy::Fixed { attempts, delay })
    }

    /// Retries as often as fits into `max_wait`. Each pause is random, between zero and a limit that starts at
    /// `first` and doubles up to `longest`, so that clients that collided once are unlikely to collide again. The
    /// Redlock specification asks for a random delay that is long compared with the time it takes to lock a majority.
    #[must_use]
    pub const fn exponential(first: Duration, longest: Duration) -> Self {
        Self(Strategy::Exponential { first, longest })
    }

    pub(crate) fn is_fifo(self) -> bool {
        matches!(self.0, Strategy::Fifo { .. })
    }

    /// The longest time after which a waiter that is not notified checks again.
    pub(crate) fn look_again(self) -> Duration {
        match self.0 {
            Strategy::Fifo { look_again, .. } => look_again,
            Strategy::Fixed { .. } | Strategy::Exponential { .. } => LOOK_AGAIN,
        }
    }

    pub(crate) const fn strategy(self) -> Strategy {
        self.0
    }

    /// Returns the pause after attempt number `attempt` (the first is 1) has failed. `random` must be uniform over
    /// all of `u64`.
    pub(crate) fn pause(self, attempt: u32, random: u64) -> Pause {
        match self.0 {
            Strategy::Fixed { attempts, delay: _ } if attempt >= attempts => Pause::GiveUp,
            Strategy::Fixed { attempts: _, delay } => Pause::For(delay),
            // With FIFO, waiters are notified, so pauses are only for outages.
            Strategy::Fifo { first, longest, look_again: _ } | Strategy::Exponential { first, longest } => {
                let doublings = attempt.saturating_sub(1).min(31);
                let limit = first.saturating_mul(1 << doublings).min(longest);
                Pause::For(scale(limit, random))
            }
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::fifo()
    }
}

/// A duration uniform between zero and `limit`. A limit of zero is valid; rslock panics on an empty range. A limit
/// beyond 584 years counts as 584 years.
fn scale(limit: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let share = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn five_tries_200_ms_apart() {
        let retry = Retry::fixed(5, MS(200));
        let pauses: Vec<_> = (1..=5).map(|attempt| retry.pause(attempt, 0)).collect();
        let pause = Pause::For(MS(200));
        assert_eq!(pauses, [pause, pause, pause, pause, Pause::GiveUp]);
    }

    #[test]
    fn no_attempts_means_one() {
        assert_eq!(Retry::fixed(0, MS(1)).pause(1, 0), Pause::GiveUp);
    }

    #[test]
    fn the_limit_doubles_up_to_the_longest() {
        let retry = Retry::exponential(MS(5), MS(200));
        let limits: Vec<_> =
            [1, 2, 3, 6, 7, 40, u32::MAX].map(|attempt| retry.pause(attempt, u64::MAX)).into();
        for (pause, limit) in limits.into_iter().zip([5, 10, 20, 160, 200, 200, 200]) {
            let Pause::For(pause) = pause else { panic!("exponential never gives up") };
            assert!(
                pause < MS(limit) && pause > MS(limit) - Duration::from_micros(1),
                "{pause:?} of {limit} ms"
            );
        }
    }

    #[test]
    fn an_empty_range_is_a_pause_of_zero() {
        assert_eq!(
            Retry::exponential(Duration::ZERO, Duration::ZERO).pause(3, u64::MAX),
            Pause::For(Duration::ZERO)
        );
    }

    #[test]
    fn the_longest_duration_is_no_overflow() {
        let Pause::For(pause) = Retry::exponential(Duration::MAX, Duration::MAX).pause(u32::MAX, u64::MAX)
        else {
            panic!("exponential never gives up")
        };
        assert!(pause > Duration::from_secs(500 * 365 * 24 * 60 * 60), "{pause:?}");
    }

    proptest! {
        #[test]
        fn never_longer_than_the_longest(attempt in 1u32.., random: u64, first in 0u64..10_000, longest in 0u64..10_000) {
            let pause = Retry::exponential(MS(first), MS(longest)).pause(attempt, random);
            let Pause::For(pause) = pause else { panic!("exponential never gives up") };
            prop_assert!(pause <= MS(longest));
        }
    }
}
