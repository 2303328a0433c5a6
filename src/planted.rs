//! Deliberate bugs in this client, to see that `redlock chaos` and the simulation find them. A build with
//! `--cfg redlock_planted` has them, and no feature sets that flag (see `make planted`); so have the library's own tests.

use std::time::Duration;

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An attempt that failed leaves its keys behind.
    NoRollback,
    /// An attempt that failed removes its keys only from the nodes that have granted.
    PartialRollback,
    /// A renewal counts although its answer came after the deadline.
    Revival,
    /// An extension counts although its answer came after the deadline.
    LateExtension,
    /// A renewal sets the key where it is gone.
    RevivedKey,
    /// A lease counts from when the answer came, not from before the command was sent.
    SentAtLate,
    /// All attempts of a client use one token.
    ReusedToken,
    /// A release removes the key of any owner.
    PlainDel,
    /// A deadline leaves no room for clocks that run apart.
    NoDrift,
    /// A node that has the same fencing token already counts as raised to it.
    EqualRaise,
    /// A node that granted, but has a higher fencing token, counts as raised.
    StaleCounted,
    /// Nodes that may have forgotten locks vote at once.
    NoQuarantine,
    /// A server that no client has met remembers for as long as it runs, and is taken for the node that was there before.
    /// The second half is a bug below, whose rule would hide this one.
    UptimeBelieved,
    /// The `max_ttl`s of other clients are read from a node only once.
    MaxTtlReadOnce,
    /// A process that loads the record of another one has its memory, too.
    RestartBelieved,
    /// A new replication id is taken for a sign of memory, and its server for the node that was there before, as above.
    ReplicationIdBelieved,
    /// Nodes whose clocks ran ahead vote at once.
    NoClockGuard,
    /// Another server at the address is taken for the node that was there before.
    StrangerBelieved,
    /// While the node list changes, a quorum of the present list is enough.
    OneListAtATime,
    /// Clients of the next list alone have votes before the change is done.
    NewListVotesAtOnce,
    /// The next waiter of a process is not woken when the head is dropped.
    LostWakeUp,
    /// A head that is dropped in its attempt takes its notification along.
    LostNotification,
}

/// How often the keeper checks a lease that should have ended but was revived.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Whether `fault` is planted: never.
#[cfg(not(any(redlock_planted, test)))]
pub(crate) const fn is(fault: Fault) -> bool {
    let _ = fault;
    false
}

#[cfg(all(redlock_planted, not(debug_assertions)))]
compile_error!("planted faults are for tests, and never part of a release build");

/// Whether the environment variable `PLANTED_FAULT` names `fault`, such as `no-rollback`.
#[cfg(all(redlock_planted, not(test)))]
pub(crate) fn is(fault: Fault) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("PLANTED_FAULT").unwrap_or_default().replace('-', ""));
    !PLANTED.is_empty() && format!("{fault:?}").to_lowercase() == *PLANTED
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

#[cfg(test)]
impl Fault {
    pub(crate) const ALL: [Self; 22] = [
        Self::ReusedToken,
        Self::PlainDel,
        Self::NoDrift,
        Self::SentAtLate,
        Self::EqualRaise,
        Self::StaleCounted,
        Self::NoRollback,
        Self::PartialRollback,
        Self::Revival,
        Self::LateExtension,
        Self::RevivedKey,
        Self::NoQuarantine,
        Self::UptimeBelieved,
        Self::MaxTtlReadOnce,
        Self::RestartBelieved,
        Self::ReplicationIdBelieved,
        Self::StrangerBelieved,
        Self::NoClockGuard,
        Self::OneListAtATime,
        Self::NewListVotesAtOnce,
        Self::LostWakeUp,
        Self::LostNotification,
    ];
}
