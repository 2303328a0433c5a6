//! The state of one resource on all nodes, for people.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::NodeFailure;
use crate::node::{KeyKind, KeySnapshot};
use crate::protocol::{NodeSet, Quorum};
use crate::types::{FoundValue, NodeId};

/// Who held a resource, on each node, when [`Redlock::inspect`](crate::Redlock::inspect) asked.
#[derive(Clone, Debug)]
pub struct Inspection {
    resource: String,
    quorum: Quorum,
    nodes: Vec<NodeInspection>,
}

/// What one node held of a resource.
#[derive(Clone, Debug)]
pub struct NodeInspection {
    name: Arc<str>,
    seen: Result<KeySnapshot, NodeFailure>,
}

/// What a node holds under the key of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyContent {
    /// Nothing: the lock is free on this node.
    Nothing,
    /// A lock.
    Lock(Holder),
    /// Readers, at most 64 of them, those that stay longest.
    Readers(Vec<Holder>),
    /// A key of another type, which is no lock. The node denies every attempt until somebody removes the key.
    Other,
}

/// Whether somebody holds a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// One owner's key is on a quorum of nodes. The remaining time is how long the key stays on a quorum.
    Held(Holder),
    /// Readers hold the lock, each on a quorum of nodes.
    HeldByReaders(Vec<Holder>),
    /// No owner holds the lock, whatever the nodes that did not answer may hold. Keys on fewer nodes than a quorum
    /// belong to an attempt that failed or is still running.
    NotHeld,
    /// Not known: it depends on the nodes that did not answer.
    Unknown,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    owner: String,
    remaining: Option<Duration>,
}

impl Holder {
    /// The owner label, or the key's whole value if another implementation holds the lock. A label that is not
    /// printable text is shown with escapes: `\xff` for a byte that is not UTF-8, `\u{1b}` for a control character,
    /// `\\` for a backslash.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// How long the lock lasts unless it is renewed; `None` for a lock that does not expire.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

impl Inspection {
    pub(super) fn new(
        resource: &str,
        quorum: Quorum,
        seen: Vec<(Arc<str>, Result<KeySnapshot, NodeFailure>)>,
    ) -> Self {
        let nodes = seen.into_iter().map(|(name, seen)| NodeInspection { name, seen }).collect();
        Self { resource: resource.to_owned(), quorum, nodes }
    }

    /// The name of the resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// How many nodes make a quorum, at least.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum.needed()
    }

    /// Every node, in the order of the configuration.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInspection> {
        self.nodes.iter()
    }

    /// Whether somebody holds the resource, derived from all answers.
    #[must_use]
    pub fn state(&self) -> LockState {
        let mut keys: HashMap<&FoundValue, OnNodes> = HashMap::new();
        let mut reading: HashMap<&FoundValue, OnNodes> = HashMap::new();
        let mut silent = NodeSet::EMPTY;
        for (i, node) in self.nodes.iter().enumerate() {
            let node_id = NodeId(i);
            let Ok(seen) = &node.seen else {
                silent.insert(node_id);
                continue;
            };
            if let Some(value) = &seen.value {
                keys.entry(value).or_default().push((node_id, ttl(seen).unwrap_or(Duration::MAX)));
            }
            for (token, left) in &seen.readers {
                reading.entry(token).or_default().push((node_id, *left));
            }
        }
        let mut readers: Vec<Holder> =
            reading.iter().filter_map(|(token, nodes)| self.holder(token, nodes)).collect();
        if !readers.is_empty() {
            readers.sort_by(|one, other| (&one.owner, one.remaining).cmp(&(&other.owner, other.remaining)));
            return LockState::HeldByReaders(readers);
        }
        if let Some(holder) = keys.iter().find_map(|(value, nodes)| self.holder(value, nodes)) {
            return LockState::Held(holder);
        }
        let may_be_held = |nodes: &OnNodes| {
            let nodes: NodeSet = nodes.iter().map(|(node, _)| *node).collect();
            self.quorum.is_met_by(nodes.union(silent))
        };
        let nowhere = OnNodes::new();
        let is_unknown = keys.values().chain(reading.values()).chain([&nowhere]).any(may_be_held);
        if is_unknown { LockState::Unknown } else { LockState::NotHeld }
    }

    /// The owner of a value that is on a quorum of nodes. The remaining time is how long it stays on a quorum.
    fn holder(&self, value: &FoundValue, nodes: &OnNodes) -> Option<Holder> {
        let left = |node| nodes.iter().find(|(on, _)| *on == node).map(|(_, left)| *left);
        let remaining = Some(self.quorum.highest_of_enough(left)?).filter(|left| *left < Duration::MAX);
        Some(Holder { owner: value.owner(), remaining })
    }
}

/// The nodes that hold a value, and for how long.
type OnNodes = Vec<(NodeId, Duration)>;

impl NodeInspection {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the node's content is not known; `None` if the node answered.
    #[must_use]
    pub fn failure(&self) -> Option<&NodeFailure> {
        self.seen.as_ref().err()
    }

    /// What the node holds; `None` if the node did not answer.
    #[must_use]
    pub fn content(&self) -> Option<KeyContent> {
        let seen = self.seen.as_ref().ok()?;
        Some(match (seen.key, &seen.value) {
            (KeyKind::Readers, _) => {
                let holder = |(token, left): &(FoundValue, Duration)| Holder {
                    owner: token.owner(),
                    remaining: Some(*left),
                };
                KeyContent::Readers(seen.readers.iter().map(holder).collect())
            }
            (KeyKind::Other, _) => KeyContent::Other,
            (KeyKind::Plain, Some(value)) => {
                KeyContent::Lock(Holder { owner: value.owner(), remaining: ttl(seen) })
            }
            (KeyKind::Absent, _) | (KeyKind::Plain, None) => KeyContent::Nothing,
        })
    }

    /// The highest fencing token of the resource that the node remembers; `None` if the node remembers none or did not
    /// answer.
    #[must_use]
    pub fn fence(&self) -> Option<f64> {
        self.seen.as_ref().ok().map(|seen| seen.score).filter(|score| *score > 0.0)
    }
}

fn ttl(seen: &KeySnapshot) -> Option<Duration> {
    seen.ttl_ms.map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;

    fn seen(token: &str, ttl_ms: u64) -> Result<KeySnapshot, NodeFailure> {
        let value = Some(FoundValue::new(token.as_bytes()));
        Ok(KeySnapshot { key: KeyKind::Plain, value, readers: Vec::new(), ttl_ms: Some(ttl_ms), score: 0.0 })
    }

    fn state(nodes: Vec<Result<KeySnapshot, NodeFailure>>) -> LockState {
        let quorum = Quorum::new(3, QuorumSize::Majority).unwrap();
        Inspection::new("r", quorum, nodes.into_iter().map(|seen| ("n".into(), seen)).collect()).state()
    }

    fn held(owner: &str, remaining: u64) -> LockState {
        let remaining = Some(Duration::from_millis(remaining));
        LockState::Held(Holder { owner: owner.to_owned(), remaining })
    }

    #[test]
    fn only_a_quorum_makes_a_holder_and_for_as_long_as_it_is_one() {
        assert_eq!(state(vec![seen("a", 9), seen("b", 5), seen("a", 7)]), held("a", 7));
        let three = state(vec![seen("a", 9), seen("a", 5), seen("a", 7)]);
        assert_eq!(three, held("a", 7), "the second largest of three");
    }

    #[test]
    fn each_reader_needs_a_quorum() {
        let read = |readers: &[(&str, u64)]| {
            let reader = |(token, left): &(&str, u64)| {
                (FoundValue::new(token.as_bytes()), Duration::from_millis(*left))
            };
            let readers = readers.iter().map(reader).collect();
            Ok(KeySnapshot { key: KeyKind::Readers, value: None, readers, ttl_ms: Some(9), score: 0.0 })
        };
        let silent = || Err(NodeFailure::Connecting);
        let holder =
            |owner: &str, left| Holder { owner: owner.into(), remaining: Some(Duration::from_millis(left)) };
        let both = state(vec![
            read(&[("a", 9), ("b", 7)]),
            read(&[("a", 8), ("b", 6), ("c", 5)]),
            read(&[("a", 4)]),
        ]);
        assert_eq!(both, LockState::HeldByReaders(vec![holder("a", 8), holder("b", 6)]));
        assert_eq!(state(vec![read(&[("a", 9)]), silent(), seen("b", 5)]), LockState::Unknown);
        assert_eq!(state(vec![read(&[("a", 9)]), read(&[("b", 9)]), seen("c", 5)]), LockState::NotHeld);
    }

    #[test]
    fn a_node_that_did_not_answer_may_make_the_difference() {
        let silent = || Err(NodeFailure::Connecting);
        let absent = || {
            Ok(KeySnapshot {
                key: KeyKind::Absent,
                value: None,
                readers: Vec::new(),
                ttl_ms: None,
                score: 0.0,
            })
        };
        let other = || {
            Ok(KeySnapshot {
                key: KeyKind::Other,
                value: None,
                readers: Vec::new(),
                ttl_ms: None,
                score: 0.0,
            })
        };
        let table = [
            (vec![absent(), absent(), silent()], LockState::NotHeld),
            (vec![absent(), silent(), silent()], LockState::Unknown),
            (vec![seen("a", 9), absent(), silent()], LockState::Unknown),
            (vec![seen("a", 9), absent(), other()], LockState::NotHeld),
            (vec![seen("a", 9), seen("b", 5), seen("c", 5)], LockState::NotHeld),
            (vec![seen("a", 9), seen("b", 5), silent()], LockState::Unknown),
            (vec![seen("a", 9), seen("a", 5), silent()], held("a", 5)),
        ];
        for (nodes, expected) in table {
            assert_eq!(state(nodes.clone()), expected, "{nodes:?}");
        }
    }
}
