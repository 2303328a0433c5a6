//! What a client process tells its parent: one JSON line for each event, on its stdout, written before the client
//! goes on, so that a kill loses nothing that was seen. On stdin it is answered what the store says; the end of
//! stdin is the word to stop.

use serde::{Deserialize, Serialize};

use crate::lost::Lost;

/// One line. Times are nanoseconds of the machine's clock, see [`crate::clock`]; resources are numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When it was seen: of calls that give something up before them, of all others after them.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    /// The client has tried every node and begins.
    Ready,
    /// It asks for a lock. `at` is before the call.
    Attempt { resource: usize },
    /// It has the lock that it asked for.
    Acquired {
        /// Until when the guard promises it.
        deadline: u64,
        fencing_token: u64,
        /// The key's value on the nodes.
        token: String,
    },
    /// The guard promises it for longer.
    Renewed { deadline: u64 },
    /// It does not get the lock, for this time.
    Missed { why: Why, failures: Vec<Lost> },
    /// The guard says that the lease is over, and nobody has told the holder of a loss.
    Over,
    /// It was told that the lock is lost.
    Lost { why: String },
    /// The client has raised the shared number by one, right after it had found its lease valid.
    Counted { read: u64 },
    /// It writes to the store, right after it has found its lease valid.
    Write,
    /// It releases the lock. `at` is before the call.
    Released,
    /// The release was not confirmed by a quorum, and goes on in the background.
    Unconfirmed { failures: Vec<Lost> },
    /// The nodes that it has no connection to, whenever that changes.
    Nodes { lost: Vec<Lost> },
    /// It cannot go on.
    Failed { error: String },
}

/// Why a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    Contended,
    NoQuorum,
    TooLate,
    /// No fencing token could be had.
    NoToken,
    Other,
}

/// What the store says to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Accepted,
    /// A larger fencing token has been seen.
    Stale,
}

/// Resources from this number on are held for long, so that leases are renewed and lost. The others are held briefly.
pub(crate) const LONG: usize = 1000;

/// The one resource of a run that raises a shared number; beyond all others.
pub(crate) const COUNTER: usize = 2 * LONG;

/// The name of a resource, as the lock knows it.
pub(crate) fn resource_name(resource: usize) -> String {
    if resource == COUNTER {
        return "demo:counter".to_owned();
    }
    match resource.checked_sub(LONG) {
        Some(long) => format!("chaos:long-{long}"),
        None => format!("chaos:{resource}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line_and_comes_back() {
        let events = [
            What::Ready,
            What::Attempt { resource: 1 },
            What::Acquired { deadline: 9, fencing_token: 1 << 51, token: "a\nb".into() },
            What::Missed { why: Why::NoQuorum, failures: vec![Lost { node: 1, reason: "no answer".into() }] },
            What::Failed { error: "two\nlines".into() },
        ];
        for what in events {
            let event = Event { at: u64::MAX, what };
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
