//! What the guards are, and why they keep a node from voting.

use std::fmt;

/// Whether a guard keeps nodes in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarding {
    On,
    Off,
}

/// Whether a node that may evict locks when its memory is full has a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    Refused,
    Allowed,
}

/// Why a node is in quarantine. The node may lack locks that clients hold, so its grants do not count until these locks
/// have expired.
///
/// "Recently" means within the length of one quarantine: the longest `max_ttl` of all clients with its drift, and 2 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineCause {
    /// The node keeps every write, but has no record of clients that used it before: the node is new, or has lost its
    /// data. For a new node, `redlock init` ends the quarantine.
    NewOrWiped,
    /// The node is new or restarted recently, and its configuration does not keep every write; `appendfsync always`
    /// does.
    NotDurable,
    /// The node is new or restarted recently, and the client may not use `CONFIG GET` to see whether every write is
    /// kept.
    DurabilityUnknown,
    /// The node restarted recently. Every write is kept now, but was not known to be kept before the restart, or the
    /// node has replicas.
    Restarted,
    /// The node was a replica until recently. Replication is asynchronous, so the node may lack locks of the old
    /// master.
    Promoted,
    /// Clients used another server in place of this node until recently, and may hold locks there: the node's address
    /// now leads to another server, or the node list has changed.
    Replaced,
    /// The node's data is older than what clients have seen on the node: a backup or an old file was loaded.
    RolledBack,
    /// The node has evicted keys recently, and locks may have been among them.
    Evicted,
    /// The node's clock ran ahead by more than the drift recently: it was stepped, or is too fast. The node may have ended
    /// locks early.
    Stepped,
    /// The client has just come, and cannot know yet whether the node's clock was stepped recently: no client wrote how far
    /// it is from the clocks of enough of the other nodes that can be reached.
    ClockUnknown,
}

impl fmt::Display for QuarantineCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewOrWiped => "it is new or has lost its data; where it is new, `redlock init` says so",
            Self::NotDurable => {
                "it is new, or it restarted and may have forgotten locks; `appendfsync always` keeps them"
            }
            Self::DurabilityUnknown => {
                "it is new, or it restarted and may have forgotten locks; permission for `CONFIG GET` would tell"
            }
            Self::Restarted => {
                "it restarted and may have forgotten locks; it was not known to keep every write, or has replicas"
            }
            Self::Promoted => "it was promoted and may lack locks of the master before it",
            Self::Replaced => "clients used another server in its place not long ago, and may hold locks there",
            Self::RolledBack => "its data is older than what clients have met: a backup or an old file was loaded",
            Self::Evicted => "it has evicted keys, and locks may have been among them",
            Self::Stepped => "its clock ran ahead by more than the drift, and may have ended locks early",
            Self::ClockUnknown => "nothing tells yet whether its clock was stepped while locks were held",
        })
    }
}
