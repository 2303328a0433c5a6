//! Deliberate bugs in this client, to see that `redlock chaos` finds them. Only a build with `--cfg redlock_planted`
//! has them, and no feature sets that flag; see `make planted`.

use std::time::Duration;

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An attempt that failed leaves its keys behind.
    NoRollback,
    /// A renewal counts although its answer came after the deadline.
    Revival,
}

/// How often the keeper checks a lease that should have ended but was revived.
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

/// Whether the environment variable `PLANTED_FAULT` names `fault`.
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
