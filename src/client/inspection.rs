//! The state of one resource on all nodes, for people.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::NodeFailure;
use crate::node::{KeyKind, KeySnapshot};
use crate::types::FoundValue;

/// Who held a resource, on each node, when [`Redlock::inspect`](crate::Redlock::inspect) asked.
#[derive(Clone, Debug)]
pub struct Inspection {
    resource: String,
    quorum: usize,
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
    /// A key of another type, which is no lock. The node denies every attempt until somebody removes the key.
    Other,
}

/// Whether somebody holds a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// One owner's key is on a quorum of nodes. The remaining time is how long the key stays on a quorum.
    Held(Holder),
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
        quorum: usize,
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

    /// How many nodes make a quorum.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// Every node, in the order of the configuration.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInspection> {
        self.nodes.iter()
    }

    /// Whether somebody holds the resource, derived from all answers.
    #[must_use]
    pub fn state(&self) -> LockState {
        let mut remaining: HashMap<&FoundValue, Vec<Duration>> = HashMap::new();
        for seen in self.nodes.iter().filter_map(|node| node.seen.as_ref().ok()) {
            if let Some(value) = &seen.value {
                remaining.entry(value).or_default().push(ttl(seen).unwrap_or(Duration::MAX));
            }
        }
        let silent = self.nodes.iter().filter(|node| node.seen.is_err()).count();
        let Some((value, mut remaining)) = remaining.into_iter().max_by_key(|(_, nodes)| nodes.len()) else {
            return if silent < self.quorum { LockState::NotHeld } else { LockState::Unknown };
        };
        if remaining.len() < self.quorum {
            let may_be = remaining.len() + silent >= self.quorum;
            return if may_be { LockState::Unknown } else { LockState::NotHeld };
        }
        remaining.sort_unstable_by(|a, b| b.cmp(a));
        let remaining = remaining.get(self.quorum - 1).copied().filter(|left| *left < Duration::MAX);
        LockState::Held(Holder { owner: value.owner(), remaining })
    }
}

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

    fn seen(token: &str, ttl_ms: u64) -> Result<KeySnapshot, NodeFailure> {
        let value = Some(FoundValue::new(token.as_bytes()));
        Ok(KeySnapshot { key: KeyKind::Plain, value, ttl_ms: Some(ttl_ms), score: 0.0 })
    }

    fn state(nodes: Vec<Result<KeySnapshot, NodeFailure>>) -> LockState {
        Inspection::new("r", 2, nodes.into_iter().map(|seen| ("n".into(), seen)).collect()).state()
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
    fn a_node_that_did_not_answer_may_make_the_difference() {
        let silent = || Err(NodeFailure::Connecting);
        let absent = || Ok(KeySnapshot { key: KeyKind::Absent, value: None, ttl_ms: None, score: 0.0 });
        let other = || Ok(KeySnapshot { key: KeyKind::Other, value: None, ttl_ms: None, score: 0.0 });
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
