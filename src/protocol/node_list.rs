//! Lists of nodes as the records of nodes keep them: which nodes and quorum clients use together, and since when.

use std::time::Duration;

/// The use of one node list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListUse {
    /// Since when it has been used without a longer pause.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// A client that used it uses another one now, and no client has said since that it uses this one.
    pub(crate) is_left: bool,
}

impl ListUse {
    /// Whether clients have told of it all the time until `now`. Pauses that count are shorter than half of any
    /// quarantine, so that no node that took the place of another has had a vote meanwhile.
    pub(crate) fn is_in_use(&self, now: u64, gap: Duration) -> bool {
        Duration::from_micros(now - self.last.min(now)) <= gap
    }
}

/// Whether the node of that id is on the list.
pub(crate) fn has_member(list: &str, id: &str) -> bool {
    members(list).any(|member| member == id)
}

/// The node ids of a list, as far as the client that told of it had met them.
pub(crate) fn members(list: &str) -> impl Iterator<Item = &str> {
    // Quorum, the word "of", and the ids.
    list.split(' ').skip(2).filter(|id| *id != UNMET)
}

/// Whether the client that told of the list had met all nodes on it.
pub(crate) fn is_complete(list: &str) -> bool {
    !list.ends_with(UNMET)
}

/// How a client calls a node on its list that it has not met. Sorts behind all ids.
pub(crate) const UNMET: &str = "~";
