//! Faults that are planted in this client to see that `redlock chaos` finds them. Only a build with `--cfg
//! redlock_planted` has them, which no feature turns on; see `make planted`.

use std::time::Duration;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An attempt that failed leaves its keys behind.
    NoRollback,
    /// A renewal that is answered after the deadline counts.
    Revival,
}

/// How often a lease is looked at that should have ended, and has not.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Whether `fault` is planted: never.
#[cfg(not(redlock_planted))]
pub(crate) const fn is(fault: Fault) -> bool {
    match fault {
        Fault::NoRollback | Fault::Revival => false,
    }
}

#[cfg(all(redlock_planted, not(debug_assertions)))]
compile_error!("planted faults are for tests, and never part of a release build");

/// Whether `PLANTED_FAULT` names it.
#[cfg(redlock_planted)]
pub(crate) fn is(fault: Fault) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("PLANTED_FAULT").unwrap_or_default());
    let name = match fault {
        Fault::NoRollback => "no-rollback",
        Fault::Revival => "revival",
    };
    PLANTED.as_str() == name
}
