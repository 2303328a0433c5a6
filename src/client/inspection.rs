//! One resource on all nodes, for people.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::NodeFailure;
use crate::node::{KeyKind, Seen};
use crate::types::FoundValue;

/// Who held a resource, on each node.
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
    seen: Result<Seen, NodeFailure>,
}

/// What there is under the name of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyContent {
    /// Nothing: the lock is free there.
    Nothing,
    /// A lock.
    Lock(Holder),
    /// A key of another type, which is nobody's lock. Nobody can take one there until it is removed.
    Other,
}

/// Whether anybody holds a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// A quorum of nodes holds it for one owner, for as long as that is a quorum.
    Held(Holder),
    /// Nobody does, whatever the nodes hold that did not answer. Keys on fewer nodes than a quorum may be left of an
    /// attempt that failed, or be of one that is under way.
    NotHeld,
    /// It depends on what the nodes hold that did not answer.
    Unknown,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    owner: String,
    remaining: Option<Duration>,
}

impl Holder {
    /// The owner label; of another implementation's lock the key's whole value. One that is not printable text is shown
    /// with escapes: `\xff` for a byte that is no text, `\u{1b}` for a control character, `\\` for a backslash.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// How long it lasts unless it is renewed; `None` for one that does not expire.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

impl Inspection {
    pub(super) fn new(
        resource: &str,
        quorum: usize,
        seen: Vec<(Arc<str>, Result<Seen, NodeFailure>)>,
    ) -> Self {
        let nodes = seen.into_iter().map(|(name, seen)| NodeInspection { name, seen }).collect();
        Self { resource: resource.to_owned(), quorum, nodes }
    }

    /// The resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// How many nodes have to agree.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// Every node, in the order of the configuration.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInspection> {
        self.nodes.iter()
    }

    /// What the nodes say together.
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

    /// Why it is not known what the node holds.
    #[must_use]
    pub fn failure(&self) -> Option<&NodeFailure> {
        self.seen.as_ref().err()
    }

    /// What it holds; `None` where it did not answer.
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

    /// The highest fencing token that it has seen of the resource; `None` where it has seen none, or did not answer.
    #[must_use]
    pub fn fence(&self) -> Option<f64> {
        self.seen.as_ref().ok().map(|seen| seen.score).filter(|score| *score > 0.0)
    }
}

fn ttl(seen: &Seen) -> Option<Duration> {
    seen.ttl_ms.map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(token: &str, ttl_ms: u64) -> Result<Seen, NodeFailure> {
        let value = Some(FoundValue::new(token.as_bytes()));
        Ok(Seen { key: KeyKind::Plain, value, ttl_ms: Some(ttl_ms), score: 0.0 })
    }

    fn state(nodes: Vec<Result<Seen, NodeFailure>>) -> LockState {
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
        let absent = || Ok(Seen { key: KeyKind::Absent, value: None, ttl_ms: None, score: 0.0 });
        let other = || Ok(Seen { key: KeyKind::Other, value: None, ttl_ms: None, score: 0.0 });
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
