//! Takes a server's memory away, and gives it back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::super::error::ClusterError;
use super::super::resp::Reply;
use super::Nodes;
use super::local_nodes::Told as _;

/// The `maxmemory` that each node had before the fault.
#[derive(Debug, Default)]
pub(in super::super) struct Memory(Mutex<BTreeMap<usize, String>>);

impl Memory {
    pub(super) fn fill(&self, nodes: &impl Nodes, node: usize) -> Result<(), ClusterError> {
        let limit = match nodes.ask(node, &["CONFIG", "GET", "maxmemory"])? {
            Reply::Array(pair) => pair.get(1).and_then(Reply::text).unwrap_or("0").to_owned(),
            Reply::Nil | Reply::Int(_) | Reply::Simple(_) | Reply::Bulk(_) | Reply::Error(_) => {
                "0".to_owned()
            }
        };
        // The limit is below what any server uses, so the server refuses every command that may need more memory.
        nodes.tell(node, &["CONFIG", "SET", "maxmemory", "1"])?;
        self.lock().entry(node).or_insert(limit);
        Ok(())
    }

    pub(super) fn free(&self, nodes: &impl Nodes, node: usize) -> Result<(), ClusterError> {
        let limit = self.lock().get(&node).cloned().unwrap_or_else(|| "0".to_owned());
        nodes.tell(node, &["CONFIG", "SET", "maxmemory", &limit])?;
        self.lock().remove(&node);
        Ok(())
    }

    /// Locks the map. Poison is ignored, because a thread that panicked left nothing half done.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
