//! A `redlock run` under another one of the same key would wait for itself.

use redlock_quorum::{NodeStatus, Redlock};
use serde::{Deserialize, Serialize};

use super::system::process;
use crate::exit::Exit;
use crate::failure::Failure;

/// Tells what is locked by the `redlock run`s that this process runs under.
pub(super) const HELD: &str = "REDLOCK_HELD";

/// More processes above each other than anybody has.
const DEPTH: usize = 1000;

/// The locks of the `redlock run`s above us, and what ours will be called.
#[derive(Debug)]
pub(super) struct Held {
    above: Vec<Lock>,
    nodes: Vec<String>,
    prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lock {
    pid: i32,
    /// With the id it names one process for ever.
    started: u64,
    nodes: Vec<String>,
    key: String,
}

impl Held {
    pub(super) fn of(redlock: &Redlock, prefix: &str) -> Self {
        let above = std::env::var(HELD).ok().and_then(|held| serde_json::from_str(&held).ok());
        let mut nodes: Vec<String> =
            redlock.nodes().iter().map(NodeStatus::name).map(str::to_owned).collect();
        nodes.sort();
        Self { above: above.unwrap_or_default(), nodes, prefix: prefix.to_owned() }
    }

    /// # Errors
    ///
    /// [`Failure::Nested`] where a process that we run under holds `key` on these nodes. Another process of its id, and one that
    /// has ended and left a daemon with its environment, do not count.
    pub(super) fn check(&self, key: &str, exit: Exit) -> Result<(), Failure> {
        let ours = self.name(key);
        let mut above = self.above.iter().filter(|lock| lock.key == ours && lock.nodes == self.nodes);
        match above.find(|lock| is_above(lock)) {
            Some(lock) => Err(Failure::Nested { key: key.to_owned(), pid: lock.pid, exit }),
            None => Ok(()),
        }
    }

    /// The variable's value for a command under a lock of `key`.
    pub(super) fn with(&self, key: &str) -> String {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let started = process(pid).map_or(0, |process| process.started);
        let mut held = self.above.clone();
        held.push(Lock { pid, started, nodes: self.nodes.clone(), key: self.name(key) });
        // Strings and numbers always can be written.
        serde_json::to_string(&held).unwrap_or_default()
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

fn is_above(lock: &Lock) -> bool {
    let mut pid = i32::try_from(std::process::id()).unwrap_or_default();
    for _ in 0..DEPTH {
        let Some(process) = process(pid) else { return false };
        if process.parent == lock.pid {
            return super::system::process(lock.pid).is_some_and(|parent| parent.started == lock.started);
        }
        pid = process.parent;
    }
    false
}
