//! When to try again.

use std::time::Duration;

/// How `lock` waits for a lock that it did not get at once. `max_wait` bounds the whole, whatever the strategy says.
///
/// # Defaults
///
/// [`Retry::fifo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry(Strategy);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    Fifo { first: Duration, longest: Duration },
    Fixed { attempts: u32, delay: Duration },
    Exponential { first: Duration, longest: Duration },
}

/// What to do after a lost attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Try again after this time.
    For(Duration),
    /// The strategy's attempts are used up.
    GiveUp,
}

impl Retry {
    /// In turn: the waiters of a process form a line, the first of each line registers in a queue on one of the nodes,
    /// and a release calls the first of that queue. Nobody polls; a lock changes hands in about two round trips between
    /// processes, and in one within a process. First come, first served is the rule, but not a promise: whoever asks
    /// without waiting may be faster, and after a failure the order may be lost.
    ///
    /// A waiter looks again once a second in any case, and when the holder's TTL is over. Where a node does not let it
    /// subscribe and publish on channels that begin with `redlock-quorum:wake:`, and while there is no quorum, it tries again
    /// as [`Retry::exponential`] does, with pauses from 5 ms to 200 ms.
    #[must_use]
    pub const fn fifo() -> Self {
        Self::fifo_with(Duration::from_millis(5), Duration::from_millis(200))
    }

    /// The same with other pauses, for outages and where nodes cannot notify the client.
    pub(crate) const fn fifo_with(first: Duration, longest: Duration) -> Self {
        Self(Strategy::Fifo { first, longest })
    }

    /// So many attempts in all, at least one, with the same delay between any two: `Retry::fixed(5,
    /// Duration::from_millis(200))` is the classic "5 tries, 200 ms apart".
    ///
    /// Clients with equal delays that start together collide together; prefer [`Retry::exponential`] when many
    /// contend.
    #[must_use]
    pub const fn fixed(attempts: u32, delay: Duration) -> Self {
        Self(Strategy::Fixed { attempts, delay })
    }

    /// Trying again, as often as fits into `max_wait`, after pauses that are drawn between zero and a limit that
    /// starts at `first` and doubles up to `longest`: clients that collided once are unlikely to collide again. The
    /// Redlock specification asks for a random delay that is long compared with the time it takes to lock a majority.
    #[must_use]
    pub const fn exponential(first: Duration, longest: Duration) -> Self {
        Self(Strategy::Exponential { first, longest })
    }

    pub(crate) fn is_fifo(self) -> bool {
        matches!(self.0, Strategy::Fifo { .. })
    }

    pub(crate) const fn strategy(self) -> Strategy {
        self.0
    }

    /// The pause after attempt number `attempt` (the first is 1) was lost; `random` is uniform over all of u64.
    pub(crate) fn pause(self, attempt: u32, random: u64) -> Pause {
        match self.0 {
            Strategy::Fixed { attempts, delay: _ } if attempt >= attempts => Pause::GiveUp,
            Strategy::Fixed { attempts: _, delay } => Pause::For(delay),
            // Where waiters are called, pauses are for outages.
            Strategy::Fifo { first, longest } | Strategy::Exponential { first, longest } => {
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

/// Uniform from zero to `limit`. An empty range is not an error: rslock panics on one. A limit beyond 584 years
/// counts as that.
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
