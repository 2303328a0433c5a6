//! Detects a `redlock run` under another one of the same key, which would wait for itself.

use redlock_quorum::{NodeStatus, Redlock};
use serde::{Deserialize, Serialize};

use super::system::process;
use crate::exit::Exit;
use crate::failure::Failure;

/// The environment variable with the locks of all `redlock run`s above this process.
pub(super) const HELD: &str = "REDLOCK_HELD";

/// A bound on the search, higher than any real depth of processes.
const DEPTH: usize = 1000;

/// The locks of the `redlock run`s above us, and the names of our nodes and keys.
pub(super) struct Held<'a> {
    above: Vec<Lock>,
    redlock: &'a Redlock,
    prefix: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lock {
    pid: i32,
    /// The start time, which together with the process id identifies one process for ever.
    started: u64,
    /// The names of the nodes: those from the settings, and the ids that nodes have once they have been met.
    nodes: Vec<String>,
    key: String,
}

impl<'a> Held<'a> {
    pub(super) fn of(redlock: &'a Redlock, prefix: &'a str) -> Self {
        let above = std::env::var(HELD).ok().and_then(|held| serde_json::from_str(&held).ok());
        Self { above: above.unwrap_or_default(), redlock, prefix }
    }

    /// # Errors
    ///
    /// [`Failure::Nested`] if a process above us holds one of `keys` on one of these nodes. A later process with the
    /// same id does not count, and neither does an ended run that has left a daemon with its environment.
    pub(super) fn check(&self, keys: &[String], exit: Exit) -> Result<(), Failure> {
        let nodes = self.nodes();
        for key in keys {
            let ours = self.name(key);
            let is_same =
                |lock: &&Lock| lock.key == ours && lock.nodes.iter().any(|node| nodes.contains(node));
            if let Some(lock) = self.above.iter().filter(is_same).find(|lock| is_above(lock)) {
                return Err(Failure::Nested { key: key.clone(), pid: lock.pid, exit });
            }
        }
        Ok(())
    }

    /// The variable's value for a command under a lock of `keys`.
    pub(super) fn with(&self, keys: &[String]) -> String {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let started = process(pid).map_or(0, |process| process.started);
        let mut held = self.above.clone();
        held.extend(keys.iter().map(|key| Lock { pid, started, nodes: self.nodes(), key: self.name(key) }));
        // Strings and numbers can always be serialized.
        serde_json::to_string(&held).unwrap_or_default()
    }

    fn nodes(&self) -> Vec<String> {
        let nodes = self.redlock.nodes();
        let names = nodes.iter().map(|node| node.name().to_owned());
        names.chain(nodes.iter().filter_map(NodeStatus::id).map(str::to_owned)).collect()
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
