//! What nodes and clients say to each other about those who wait.

use std::sync::Arc;
use std::time::Duration;

/// Place of a client in the queue of a lock, given by the node: the time at which it came.
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

/// What is to happen if the lock that a client registers for turns out to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is somebody's turn at once, perhaps the client's.
    Eager,
    /// Nothing: it was free before on this node, and could not be had all the same.
    Patient,
}

/// What a node says to a client that registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The lock is free on this node, and nobody comes before the client.
    Ours,
    /// It is free here, but the client said that it has patience.
    Free,
    /// Somebody else has it, or is about to take it, for so long unless it is renewed or released.
    Others(Duration),
    /// Somebody else has it, without an end.
    Endless,
}

/// Whether a release calls one of those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The first who hears it, whenever the key is absent afterwards.
    Next,
    /// The client has a waiter of its own, who sees to it.
    Nobody,
}
