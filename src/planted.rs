//! Deliberate bugs in this client, to see that `redlock chaos` and the simulation find them. A build with
//! `--cfg redlock_planted` has them, and no feature sets that flag (see `make planted`); so have the library's own tests.

use std::time::Duration;

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An attempt that failed leaves its keys behind.
    NoRollback,
    /// A renewal counts although its answer came after the deadline.
    Revival,
    /// A lease counts from when the answer came, not from before the command was sent.
    SentAtLate,
    /// All attempts of a client use one token.
    ReusedToken,
}

/// How often the keeper checks a lease that should have ended but was revived.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Whether `fault` is planted: never.
#[cfg(not(any(redlock_planted, test)))]
pub(crate) const fn is(fault: Fault) -> bool {
    match fault {
        Fault::NoRollback | Fault::Revival | Fault::SentAtLate | Fault::ReusedToken => false,
    }
}

#[cfg(all(redlock_planted, not(debug_assertions)))]
compile_error!("planted faults are for tests, and never part of a release build");

/// Whether the environment variable `PLANTED_FAULT` names `fault`.
#[cfg(all(redlock_planted, not(test)))]
pub(crate) fn is(fault: Fault) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("PLANTED_FAULT").unwrap_or_default());
    let name = match fault {
        Fault::NoRollback => "no-rollback",
        Fault::Revival => "revival",
        Fault::SentAtLate => "sent-at-late",
        Fault::ReusedToken => "reused-token",
    };
    PLANTED.as_str() == name
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Whether the simulation of this thread has planted `fault`.
#[cfg(test)]
pub(crate) fn is(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Plants a fault in the simulation of this thread, or none.
#[cfg(test)]
pub(crate) fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}
