//! The messages of a client process: one JSON line on stdout for each event, written before the client goes on, so that
//! a kill loses no event. On stdin the client reads the store's answers; the end of stdin asks it to finish.

use redlock_testing::history;
use serde::{Deserialize, Serialize};

use crate::lost::Lost;

/// One line. Times are nanoseconds of the machine's clock, see [`crate::clock`]; resources are numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When the event happened: read before the call that asks for or releases a lock, and after all other calls.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    /// The client has tried every node and begins.
    Ready,
    /// The client asks for a lock. `at` is before the call.
    Attempt { resources: Vec<usize>, sharing: Sharing },
    /// The client has acquired the lock.
    Acquired {
        /// The deadline that the guard promises.
        deadline: u64,
        fencing_token: u64,
        /// The key's value on the nodes.
        token: String,
        /// The slot, of a lock that has slots.
        slot: Option<usize>,
    },
    /// The guard promises a later deadline.
    Renewed { deadline: u64 },
    /// The client's call has ended without the lock.
    Missed { why: Why, failures: Vec<Lost> },
    /// The guard's lease is over, and the guard has not announced a loss.
    Over,
    /// The guard has announced that the lock is lost.
    Lost { why: String },
    /// The client has incremented the shared number, right after a check that its lease was valid.
    Counted { read: u64 },
    /// The client writes to the store, right after a check that its lease was valid.
    Write,
    /// The client releases the lock. `at` is before the call.
    Released,
    /// No quorum has confirmed the release, which continues in the background.
    Unconfirmed { failures: Vec<Lost> },
    /// The nodes to which the client has no connection, reported whenever they change.
    Nodes { lost: Vec<Lost> },
    /// The client has seen another leader; `None` if nobody leads.
    Leader { term: Option<u64> },
    /// The client cannot continue.
    Failed { error: String },
}

/// Whether others may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sharing {
    Exclusive,
    Shared,
    /// So many clients at once, each in a slot of its own.
    Slots(usize),
}

impl From<Sharing> for history::Sharing {
    fn from(sharing: Sharing) -> Self {
        match sharing {
            Sharing::Exclusive => Self::Exclusive,
            // The number of holders is judged by itself.
            Sharing::Shared | Sharing::Slots(_) => Self::Shared,
        }
    }
}

/// Why a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    Contended,
    NoQuorum,
    TooLate,
    /// The nodes granted no fencing token.
    NoToken,
    Other,
}

/// The store's answer to a write, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Accepted,
    /// The store has seen a larger fencing token.
    Stale,
}

/// Resources from this number on are held for long, so that leases are renewed and lost. The others are held briefly.
pub(crate) const LONG: usize = 1000;

/// The single resource of a run that increments a shared number.
pub(crate) const COUNTER: usize = 2 * LONG;

/// The resource with slots.
pub(crate) const SLOTS: usize = 3 * LONG;

/// The election.
pub(crate) const LEADER: usize = SLOTS + 1;

/// The name of a resource's lock.
pub(crate) fn resource_name(resource: usize) -> String {
    match resource {
        COUNTER => "demo:counter".to_owned(),
        SLOTS => "chaos:slots".to_owned(),
        LEADER => "chaos:leader".to_owned(),
        LONG.. => format!("chaos:long-{}", resource - LONG),
        _ => format!("chaos:{resource}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line_and_comes_back() {
        let events = [
            What::Ready,
            What::Attempt { resources: vec![1, 2], sharing: Sharing::Shared },
            What::Acquired { deadline: 9, fencing_token: 1 << 51, token: "a\nb".into(), slot: Some(2) },
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
