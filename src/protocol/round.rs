//! A round: one command to all nodes, and the decision from their votes, as a state machine.

use super::{Decision, NodeSet, Quorum, RoundFailure, Vote};
use crate::types::NodeId;

/// Collects one vote from each node and decides as early as possible.
///
/// Only the first vote of a node counts, so that a node can never count twice.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    quorum: Quorum,
    granted: NodeSet,
    denied: NodeSet,
    unknown: NodeSet,
}

impl Round {
    pub(crate) fn new(quorum: Quorum) -> Self {
        Self { quorum, granted: NodeSet::EMPTY, denied: NodeSet::EMPTY, unknown: NodeSet::EMPTY }
    }

    /// Counts the vote of `node` and returns the decision so far.
    pub(crate) fn handle_vote(&mut self, node: NodeId, vote: Vote) -> Decision {
        if !self.has_voted(node) {
            match vote {
                Vote::Granted => self.granted.insert(node),
                Vote::Denied => self.denied.insert(node),
                Vote::Unknown => self.unknown.insert(node),
            }
        }
        self.decision()
    }

    /// Ends the time for answers: every node that has not voted counts as `Unknown`.
    pub(crate) fn handle_timeout(&mut self) -> Decision {
        self.unknown = self.quorum.all().without(self.granted).without(self.denied);
        self.decision()
    }

    pub(crate) fn has_voted(&self, node: NodeId) -> bool {
        self.granted.union(self.denied).union(self.unknown).contains(node)
    }

    /// The earliest possible decision: won when enough nodes have granted, failed as soon as they cannot any more.
    pub(crate) fn decision(&self) -> Decision {
        if self.quorum.is_met_by(self.granted) {
            Decision::Won
        } else if self.quorum.is_met_without(self.denied.union(self.unknown)) {
            Decision::Pending
        } else {
            Decision::Failed
        }
    }

    /// Why the round failed. Call this after all votes that have arrived are counted.
    pub(crate) fn failure(&self) -> RoundFailure {
        if self.quorum.is_met_without(self.unknown) {
            RoundFailure::Contended
        } else {
            RoundFailure::NoQuorum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;

    const VOTES: [Vote; 3] = [Vote::Granted, Vote::Denied, Vote::Unknown];

    fn quorums(nodes: usize) -> impl Iterator<Item = Quorum> {
        (nodes / 2 + 1..=nodes).map(move |q| Quorum::new(nodes, QuorumSize::Exactly(q)).unwrap())
    }

    fn vectors(nodes: usize) -> impl Iterator<Item = Vec<Vote>> {
        (0..3usize.pow(u32::try_from(nodes).unwrap())).map(move |code| {
            (0..nodes).map(|i| VOTES[code / 3usize.pow(u32::try_from(i).unwrap()) % 3]).collect()
        })
    }

    fn count(votes: &[Vote], wanted: Vote) -> usize {
        votes.iter().filter(|vote| **vote == wanted).count()
    }

    /// Whether the votes that are still open can complete a quorum, by brute force.
    fn can_still_win(votes: &[Vote], quorum: Quorum) -> bool {
        count(votes, Vote::Granted) + (quorum.nodes() - votes.len()) >= quorum.needed()
    }

    #[test]
    fn every_vote_vector_of_1_to_7_nodes_is_decided_as_early_as_possible() {
        let mut seen = 0;
        for nodes in 1..=7 {
            for quorum in quorums(nodes) {
                for votes in vectors(nodes) {
                    let mut round = Round::new(quorum);
                    for (i, vote) in votes.iter().enumerate() {
                        let decision = round.handle_vote(NodeId(i), *vote);
                        let so_far = &votes[..=i];
                        let expected = if count(so_far, Vote::Granted) >= quorum.needed() {
                            Decision::Won
                        } else if !can_still_win(so_far, quorum) {
                            Decision::Failed
                        } else {
                            Decision::Pending
                        };
                        assert_eq!(decision, expected, "{quorum:?} {so_far:?}");
                    }
                    assert_ne!(round.decision(), Decision::Pending, "all votes decide");
                    let no_quorum = nodes - count(&votes, Vote::Unknown) < quorum.needed();
                    assert_eq!(round.failure() == RoundFailure::NoQuorum, no_quorum, "{quorum:?} {votes:?}");
                    seen += 1;
                }
            }
        }
        // All quorum sizes from the majority to n, times 3^n vectors of votes.
        let expected: usize = (1..=7usize).map(|n| (n - n / 2) * 3usize.pow(u32::try_from(n).unwrap())).sum();
        assert_eq!(seen, expected);
    }

    #[test]
    fn every_arrival_order_of_five_nodes_ends_in_the_same_decision() {
        let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
        let orders = permutations(5);
        assert_eq!(orders.len(), 120);
        for votes in vectors(5) {
            let won = count(&votes, Vote::Granted) >= 3;
            for order in &orders {
                let mut round = Round::new(quorum);
                let mut first = None;
                for node in order {
                    let decision = round.handle_vote(NodeId(*node), votes[*node]);
                    match (first, decision) {
                        (None, Decision::Pending) => {}
                        (None, Decision::Won | Decision::Failed) => first = Some(decision),
                        (Some(earlier), later) => assert_eq!(earlier, later, "a decision is final"),
                    }
                }
                assert_eq!(first == Some(Decision::Won), won, "{votes:?} in order {order:?}");
            }
        }
    }

    #[test]
    fn a_node_counts_once() {
        let mut round = Round::new(Quorum::new(3, QuorumSize::Majority).unwrap());
        assert_eq!(round.handle_vote(NodeId(0), Vote::Granted), Decision::Pending);
        assert_eq!(round.handle_vote(NodeId(0), Vote::Granted), Decision::Pending);
    }

    #[test]
    fn a_timeout_makes_silent_nodes_unknown() {
        for (granted, expected) in [(0, Decision::Failed), (2, Decision::Failed), (3, Decision::Won)] {
            let mut round = Round::new(Quorum::new(5, QuorumSize::Majority).unwrap());
            for node in 0..granted {
                round.handle_vote(NodeId(node), Vote::Granted);
            }
            assert_eq!(round.handle_timeout(), expected);
        }
    }

    #[test]
    fn two_of_four_votes_each_way_is_a_loss_for_both() {
        // node-redlock waits for ever in this case, because it gives up only on a quorum of denials.
        let mut round = Round::new(Quorum::new(4, QuorumSize::Majority).unwrap());
        round.handle_vote(NodeId(0), Vote::Granted);
        round.handle_vote(NodeId(1), Vote::Granted);
        assert_eq!(round.handle_vote(NodeId(2), Vote::Denied), Decision::Pending);
        assert_eq!(round.handle_vote(NodeId(3), Vote::Denied), Decision::Failed);
        assert_eq!(round.failure(), RoundFailure::Contended);
    }

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        fn extend(prefix: &mut Vec<usize>, n: usize, all: &mut Vec<Vec<usize>>) {
            if prefix.len() == n {
                all.push(prefix.clone());
                return;
            }
            for next in (0..n).filter(|i| !prefix.contains(i)).collect::<Vec<_>>() {
                prefix.push(next);
                extend(prefix, n, all);
                prefix.pop();
            }
        }
        let mut all = Vec::new();
        extend(&mut Vec::new(), n, &mut all);
        all
    }
}
