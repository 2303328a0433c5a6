//! Node lists in the records of nodes: which nodes and quorum clients use together, and since when.
//!
//! `2 of a b c` is the list of a client that needs two of the nodes `a`, `b` and `c`. `2 of a b ~` is the list of a
//! client that has met only two of its three nodes.

use std::time::Duration;

/// The use of one node list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListUse {
    /// Since when clients have announced the list without a pause that ends its use.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether a client that used the list has changed to another one, and no client has announced this one since.
    pub(crate) is_left: bool,
}

impl ListUse {
    /// Whether clients have announced the list without a longer pause than `gap` until `now`. `gap` is shorter than
    /// half of any quarantine, so no node that took another's place can have had a vote within a pause.
    pub(crate) fn is_in_use(&self, now: u64, gap: Duration) -> bool {
        Duration::from_micros(now - self.last.min(now)) <= gap
    }
}

/// Whether the node with this id is on the list.
pub(crate) fn has_member(list: &str, id: &str) -> bool {
    members(list).any(|member| member == id)
}

/// The node ids of a list, without the nodes that its client had not met.
pub(crate) fn members(list: &str) -> impl Iterator<Item = &str> {
    // The first two words are the quorum and "of".
    list.split(' ').skip(2).filter(|id| *id != UNMET)
}

/// Whether the client that announced the list had met all nodes on it.
pub(crate) fn is_complete(list: &str) -> bool {
    !list.ends_with(UNMET)
}

/// The mark for a node that the client has not met. The mark sorts behind all ids.
pub(crate) const UNMET: &str = "~";
