//! The leader as others see it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::Election;
use crate::protocol::{NodeSet, Quorum};
use crate::types::{FencingToken, FoundValue, LeaderLabel, NodeId};

/// How often a [`LeaderWatch`] asks the nodes.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Who leads, as far as the nodes say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderState {
    /// A quorum of nodes names this leader.
    Leads(Leader),
    /// Nobody leads: no leader has a quorum, whatever the nodes that did not answer say.
    Vacant,
    /// Not known: it depends on the nodes that did not answer.
    Unknown,
}

impl LeaderState {
    /// The state that follows from the values that nodes have under the key; `silent` nodes did not answer.
    pub(super) fn of<'a>(
        quorum: Quorum,
        silent: NodeSet,
        values: impl Iterator<Item = (NodeId, &'a FoundValue)>,
    ) -> Self {
        let mut leaders: HashMap<&FoundValue, NodeSet> = HashMap::new();
        for (node, value) in values.filter(|(_, value)| label(value).is_some()) {
            leaders.entry(value).or_default().insert(node);
        }
        let leads = leaders.iter().find(|(_, nodes)| quorum.is_met_by(**nodes));
        if let Some(leader) = leads.and_then(|(value, _)| label(value)) {
            return Self::Leads(Leader::new(leader));
        }
        let may_lead = |nodes: &NodeSet| quorum.is_met_by(nodes.union(silent));
        let is_unknown = leaders.values().chain([&NodeSet::EMPTY]).any(may_lead);
        if is_unknown { Self::Unknown } else { Self::Vacant }
    }
}

fn label(value: &FoundValue) -> Option<LeaderLabel<'_>> {
    value.label().and_then(LeaderLabel::parse)
}

/// A leader as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    value: String,
    term: FencingToken,
    since: SystemTime,
}

impl Leader {
    fn new(label: LeaderLabel<'_>) -> Self {
        let LeaderLabel { term, since_ms, value } = label;
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since_ms));
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        Self { value: value.to_owned(), term: FencingToken::new(term), since }
    }

    /// What the leader says of itself; see [`Election::value`]. Any text: escape it before you print it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The term: the leader's fencing token.
    #[must_use]
    pub fn term(&self) -> FencingToken {
        self.term
    }

    /// When the leader asked for its lease, by its own wall clock.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}

/// Reports changes of the leader. [`Election::watch`] makes one.
#[derive(Debug)]
pub struct LeaderWatch {
    election: Election,
    last: Watched,
    /// The highest term that was reported.
    term: FencingToken,
}

#[derive(Debug, PartialEq, Eq)]
enum Watched {
    Nothing,
    Leader,
    Nobody,
}

impl LeaderWatch {
    pub(super) fn new(election: Election) -> Self {
        Self { election, last: Watched::Nothing, term: FencingToken::new(0) }
    }

    /// Waits for the next change: the new leader, or `None` if nobody leads any more. The first call returns the present
    /// state. Terms never go back, but a short one may be skipped.
    ///
    /// Asks the nodes every half second, so a change is noticed within that time and the time in which they answer, at
    /// most `node_timeout`. While it is not known who leads, there is no change.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; no change is lost.
    pub async fn changed(&mut self) -> Option<Leader> {
        loop {
            match self.election.leader().await {
                // The same leader counts as a change after nobody led: it had lost keys, and has restored them.
                LeaderState::Leads(leader)
                    if leader.term > self.term
                        || leader.term == self.term && self.last == Watched::Nobody =>
                {
                    (self.last, self.term) = (Watched::Leader, leader.term);
                    return Some(leader);
                }
                LeaderState::Vacant if self.last != Watched::Nobody => {
                    self.last = Watched::Nobody;
                    return None;
                }
                LeaderState::Leads(_) | LeaderState::Vacant | LeaderState::Unknown => {}
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use crate::types::{Token, leader_label};

    #[test]
    fn a_quorum_of_one_token_names_the_leader() {
        let value = |label: &str, random| FoundValue::new(Token::new(label, random).as_bytes());
        let (a, b) = (value(&leader_label(7, 1500, "a"), 1), value(&leader_label(8, 1500, "a"), 2));
        let mutex = value("host:12", 3);
        let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
        let state = |silent: usize, values: &[&FoundValue]| {
            let silent = (5 - silent..5).map(NodeId).collect();
            let values = values.iter().enumerate().map(|(i, value)| (NodeId(i), *value));
            LeaderState::of(quorum, silent, values)
        };
        let leads = |term| {
            let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
            LeaderState::Leads(Leader { value: "a".to_owned(), term: FencingToken::new(term), since })
        };
        let table: [(usize, &[&FoundValue], LeaderState); 9] = [
            (0, &[], LeaderState::Vacant),
            (2, &[], LeaderState::Vacant),
            (3, &[], LeaderState::Unknown),
            (2, &[&a, &a, &a], leads(7)),
            (0, &[&a, &a, &b, &b, &b], leads(8)),
            (0, &[&a, &a, &b, &b], LeaderState::Vacant),
            (1, &[&a, &a, &b, &b], LeaderState::Unknown),
            (0, &[&mutex, &mutex, &mutex, &mutex, &mutex], LeaderState::Vacant),
            (2, &[&mutex, &mutex, &b], LeaderState::Unknown),
        ];
        for (silent, values, expected) in table {
            assert_eq!(state(silent, values), expected, "{silent} silent, {values:?}");
        }
    }
}
