//! The rules that nodes and attempts follow: the library's own, and the wrong ones that replace them.

use super::{Acquire, Attempt, Fencing, NODES, Node, Phase, Raised, Rule, Second, Starts, State};
use crate::protocol::{Decision, Proposal, Quorum, QuorumSize, Raise, Round, Vote, next_token, proposal};
use crate::types::NodeId;

impl Fencing {
    pub(super) fn may_start(&self, state: &State, attempt: usize) -> bool {
        match self.starts {
            Starts::AnyOrder => true,
            Starts::InOrder => attempt == 0 || state.attempts[attempt - 1].phase != Phase::Idle,
        }
    }

    pub(super) fn proposal(&self, attempt: usize) -> u8 {
        small(proposal(self.walls[attempt].into(), 0).unwrap())
    }

    /// Runs `ZADD GT CH` on a node, or what replaces it. Returns the answer, and the number that a counter answers.
    pub(super) fn zadd(&self, node: &mut Node, token: u8, granted: bool) -> (Raised, u8) {
        let raised = match self.rule {
            Rule::Shipped | Rule::StaleGrantCounts => token > node.score,
            Rule::RaiseAcceptsEqual => token >= node.score,
            Rule::CounterPerNode => {
                node.score += u8::from(granted);
                return (Raised::Yes, node.score);
            }
        };
        node.score = node.score.max(token);
        (if raised { Raised::Yes } else { Raised::No }, 0)
    }

    /// A quorum has granted. Either the proposal becomes the token, or a second round follows on the nodes that
    /// granted.
    pub(super) fn decide(&self, state: &mut State, attempt: usize, seen: u8) {
        let mut proposal = Proposal::new(quorum(), self.proposal(attempt).into());
        let mut largest = 0;
        for (i, node) in state.nodes.iter_mut().enumerate() {
            let acquire = &mut node.messages[attempt].acquire;
            let Acquire::GrantedAnd(raised, count) = *acquire else { continue };
            *acquire = Acquire::Over;
            if seen >> i & 1 == 1 {
                let raise = match (raised, self.rule == Rule::StaleGrantCounts) {
                    (Raised::Yes, _) | (Raised::No, true) => Raise::Raised,
                    (Raised::No, false) => Raise::Stale,
                };
                proposal.handle_granted(NodeId(i), raise);
                largest = largest.max(count);
            }
        }
        let phase = &mut state.attempts[attempt].phase;
        if self.rule == Rule::CounterPerNode {
            *phase = Phase::Returned(largest);
        } else if proposal.is_won() {
            *phase = Phase::Returned(small(proposal.token()));
        } else {
            *phase = Phase::Reading;
            proposal
                .granted()
                .iter()
                .for_each(|node| state.nodes[node.0].messages[attempt].second = Second::Reading);
        }
    }

    /// Chooses a token above all scores that a quorum of these nodes had, with a margin if an earlier round failed.
    pub(super) fn choose_token(&self, state: &mut State, attempt: usize) -> Option<()> {
        let score = |node: &Node| match node.messages[attempt].second {
            Second::Read(score) => Some(f64::from(score)),
            Second::NotAsked | Second::Reading | Second::Raising | Second::Answered(_) => None,
        };
        let scores: Vec<f64> = state.nodes.iter().filter_map(score).collect();
        if scores.len() < quorum().needed() {
            return None;
        }
        let margin = state.attempts[attempt].lost.into();
        let token = small(next_token(&scores, self.walls[attempt].into(), margin).unwrap());
        state.attempts[attempt].phase = Phase::Raising(token);
        ask_again(state, attempt, Second::Raising);
        Some(())
    }

    /// Ends a round: won if a quorum was raised strictly to the token, failed if that has become impossible.
    pub(super) fn end_round(&self, state: &mut State, attempt: usize) -> Option<()> {
        let Phase::Raising(token) = state.attempts[attempt].phase else { return None };
        let mut round = Round::new(quorum());
        for (i, node) in state.nodes.iter().enumerate() {
            match node.messages[attempt].second {
                Second::Answered(Raised::Yes) => _ = round.handle_vote(NodeId(i), Vote::Granted),
                Second::Answered(Raised::No) => _ = round.handle_vote(NodeId(i), Vote::Denied),
                Second::NotAsked => _ = round.handle_vote(NodeId(i), Vote::Unknown),
                Second::Reading | Second::Read(_) | Second::Raising => {}
            }
        }
        for messages in state.nodes.iter_mut().map(|node| &mut node.messages[attempt]) {
            if messages.second == Second::Raising && round.decision() != Decision::Pending {
                // The values stay in ascending order. The first value is free, because at most as many rounds as
                // values have failed.
                messages.late[0] = token;
                messages.late.sort_unstable();
            }
        }
        let Attempt { phase, lost, after: _ } = &mut state.attempts[attempt];
        match round.decision() {
            Decision::Pending => return None,
            Decision::Won => *phase = Phase::Returned(token),
            Decision::Failed => {
                *lost += 1;
                *phase = if usize::from(*lost) < self.rounds { Phase::Reading } else { Phase::GivenUp };
            }
        }
        match *phase {
            Phase::Reading => ask_again(state, attempt, Second::Reading),
            Phase::Idle | Phase::Acquiring | Phase::Raising(_) | Phase::Returned(_) | Phase::GivenUp => {
                state.nodes.iter_mut().for_each(|node| node.messages[attempt].second = Second::NotAsked);
            }
        }
        Some(())
    }
}

/// Asks all nodes that were asked before.
fn ask_again(state: &mut State, attempt: usize, question: Second) {
    for second in state.nodes.iter_mut().map(|node| &mut node.messages[attempt].second) {
        if *second != Second::NotAsked {
            *second = question;
        }
    }
}

pub(super) fn token(attempt: &Attempt) -> Option<u8> {
    match attempt.phase {
        Phase::Returned(token) => Some(token),
        Phase::Idle | Phase::Acquiring | Phase::Reading | Phase::Raising(_) | Phase::GivenUp => None,
    }
}

fn quorum() -> Quorum {
    Quorum::new(NODES, QuorumSize::Majority).unwrap()
}

/// Whether all of these nodes granted, and are a quorum.
pub(super) fn is_quorum_of_grants(state: &State, attempt: usize, nodes: u8) -> bool {
    let is_granted = |i: &usize| matches!(state.nodes[*i].messages[attempt].acquire, Acquire::GrantedAnd(..));
    nodes.count_ones() as usize >= quorum().needed()
        && (0..NODES).filter(|i| nodes >> i & 1 == 1).all(|i| is_granted(&i))
}

fn small(token: u64) -> u8 {
    u8::try_from(token).unwrap()
}
