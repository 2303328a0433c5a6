//! What a worker process tells the demo: one JSON line for each event, on its stdout. Its stdin carries nothing;
//! the end of it is the word to stop.

use redlock_testing::history::{Section, Sharing};
use serde::{Deserialize, Serialize};

use crate::lost::Lost;

/// What all workers lock.
pub(super) const RESOURCE: &str = "demo:counter";

/// One line. Clients are numbered over all processes, nodes in the order of the URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The client has tried every node and begins.
    Ready { client: usize },
    /// The client has the lock.
    Holding { client: usize },
    /// The client has left its section.
    Section(Visit),
    /// The client's wait was over before it got the lock; it waits again.
    Waited { client: usize, failures: Vec<Lost> },
    /// A release was not confirmed by a quorum; it goes on in the background.
    Unconfirmed { client: usize, failures: Vec<Lost> },
    /// Which nodes the client has no connection to, whenever that changes.
    Nodes { client: usize, lost: Vec<Lost> },
    /// The client cannot go on.
    Failed { client: usize, error: String },
}

/// One time that a client held the lock. Times are nanoseconds of the machine's clock, see [`crate::clock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Visit {
    pub(super) client: usize,
    /// Before the call that acquired the lock.
    pub(super) requested_at: u64,
    /// After it returned.
    pub(super) acquired_at: u64,
    /// Until when the guard promised the lock.
    pub(super) deadline: u64,
    /// Before the call that released it.
    pub(super) ended_at: u64,
    /// The counter as it was found in the file.
    pub(super) read: u64,
    pub(super) outcome: Outcome,
    /// The key's value on the nodes while it was held; empty without the lock.
    pub(super) token: String,
}

/// What became of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The lease was valid right before it.
    Wrote { value: u64 },
    /// The lease was over before it, so nothing was written.
    LostLease,
}

impl Visit {
    /// As the history checker takes it, with times since `origin`.
    pub(super) fn as_section(&self, origin: u64) -> Section {
        Section {
            client: format!("worker {}", self.client),
            resource: RESOURCE.to_owned(),
            sharing: Sharing::Exclusive,
            requested_at: self.requested_at - origin,
            acquired_at: self.acquired_at - origin,
            deadline: self.deadline - origin,
            ended_at: Some(self.ended_at - origin),
            fencing_token: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line_and_comes_back() {
        let lost = || vec![Lost { node: 1, reason: "no answer".into() }];
        let visit = |outcome| Visit {
            client: 3,
            requested_at: 1,
            acquired_at: 2,
            deadline: 9,
            ended_at: 4,
            read: 41,
            outcome,
            token: "a\nb".into(),
        };
        let events = [
            Event::Ready { client: 0 },
            Event::Holding { client: 1 },
            Event::Section(visit(Outcome::Wrote { value: 42 })),
            Event::Section(visit(Outcome::LostLease)),
            Event::Waited { client: 2, failures: lost() },
            Event::Unconfirmed { client: 2, failures: vec![] },
            Event::Nodes { client: 2, lost: lost() },
            Event::Failed { client: 2, error: "two\nlines".into() },
        ];
        for event in events {
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
