//! Commands and replies between clients and nodes about the wait queue of a lock.

use std::sync::Arc;
use std::time::Duration;

/// Position of a client in the wait queue of a lock: the time at which the client registered, given by the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(Arc<str>);

impl Ticket {
    pub(crate) fn new(ticket: &str) -> Self {
        Self(ticket.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a client registers for a lock: this decides what a node does if the lock turns out to be free there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The node notifies the first waiter at once, which may be the client itself.
    Eager,
    /// The node notifies nobody, because the lock was free there before and the client's attempt failed all the same.
    Patient,
    /// As [`Eager`](Self::Eager), but others were before the client the last time. As long as they are and the lock is
    /// held, the node does nothing else.
    Behind,
}

/// A node's reply to a client that registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The lock is free on this node, and no waiter comes before the client.
    Ours,
    /// The lock is free on this node, but the client registered as [`Manner::Patient`].
    Free,
    /// Another client holds the lock, or was notified and is about to take it. The wait lasts this long, unless the
    /// lock is renewed or released.
    Others(Duration),
    /// Another client holds the lock with a key that does not expire.
    Endless,
}

/// Whether the release of a key notifies a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The first waiter that is subscribed is notified, whenever the key is absent afterwards.
    Next,
    /// No waiter is notified, because the client has a waiter of its own for the lock.
    Nobody,
}
