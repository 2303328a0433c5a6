//! The only code that reads time and randomness.

use super::timer::Sleeper;
use crate::types::{Ambient, Moment, Timer};

/// The machine's clocks, randomness and timers.
#[derive(Clone, Copy)]
pub(crate) struct Machine;

impl Ambient for Machine {
    /// CLOCK_BOOTTIME, which is monotonic and counts suspend.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Seconds and nanoseconds are not negative, because they count from boot.
        #[expect(clippy::cast_sign_loss)]
        Moment::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// The standard library's monotonic clock, which may stand still during suspend.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Moment {
        static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let origin = ORIGIN.get_or_init(std::time::Instant::now);
        Moment::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn wall_micros(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A time before 1970 means that the clock was never set. The check against the nodes' clocks refuses it.
        since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// # Panics
    ///
    /// When the operating system gives no random bytes: without them no token is unique, and no lock is safe.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads randomness")]
    fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        u128::from_ne_bytes(bytes)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn timer(&self) -> Box<dyn Timer> {
        match super::timer::BootTimer::new(*self) {
            Ok(timer) => Box::new(timer),
            Err(error) => {
                tracing::warn!(%error, "no timer that counts suspend; tokio's is used instead");
                Box::new(Sleeper::new(std::sync::Arc::new(*self)))
            }
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn timer(&self) -> Box<dyn Timer> {
        Box::new(Sleeper::new(std::sync::Arc::new(*self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_random_differs() {
        let (first, second) = (Machine.now(), Machine.now());
        assert!(first <= second);
        assert_ne!(Machine.random(), Machine.random());
    }
}
