//! One command to all nodes at once, decided as early as possible.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Coordinator;
use crate::error::{NodeFailure, NodeVote};
use crate::node::{Answer, Command, Link};
use crate::protocol::{Decision, Round, Vote};
use crate::types::NodeId;

/// Answers that are still under way. Dropped, a command that has not left the process is not sent any more.
#[derive(Default)]
pub(super) struct Answers(FuturesUnordered<BoxFuture<'static, NodeAnswer>>);

pub(super) type NodeAnswer = (NodeId, Result<Answer, NodeFailure>);

impl Answers {
    /// The command is queued at the next poll.
    pub(super) fn send(&self, node: NodeId, link: Link, command: &Command) {
        self.0.push(link.send(command.clone()).map(move |answer| (node, answer)).boxed());
    }

    /// An answer that has already arrived. Never waits.
    pub(super) fn arrived(&mut self) -> Option<NodeAnswer> {
        self.0.next().now_or_never().flatten()
    }
}

/// One fan-out: the round, and each node's vote with its reason.
pub(super) struct Fanout {
    pub(super) round: Round,
    pub(super) votes: Vec<NodeVote>,
    pub(super) answers: Answers,
}

impl Fanout {
    pub(super) fn new(coordinator: &Coordinator) -> Self {
        let quorum = coordinator.settings.quorum;
        Self {
            round: Round::new(quorum),
            votes: vec![NodeVote::NotAwaited; quorum.nodes()],
            answers: Answers::default(),
        }
    }

    /// A vote that is known without asking.
    pub(super) fn cast(&mut self, node: NodeId, vote: NodeVote) {
        self.handle_vote(node, vote);
    }

    /// Awaits answers until the round is decided, or `limit` has passed and the silent nodes are `Unknown`; then
    /// takes what else has already arrived. Each answer goes through `record` as it comes.
    pub(super) async fn decide(&mut self, limit: Duration, mut record: impl FnMut(NodeId, Vote)) -> Decision {
        let mut timer = std::pin::pin!(tokio::time::sleep(limit));
        while self.round.decision() == Decision::Pending {
            tokio::select! {
                biased;
                Some((node, answer)) = self.answers.0.next() => self.handle_answer(node, answer, &mut record),
                () = &mut timer => self.handle_timeout(limit),
            }
        }
        while let Some((node, answer)) = self.answers.arrived() {
            self.handle_answer(node, answer, &mut record);
        }
        self.round.decision()
    }

    fn handle_answer(
        &mut self,
        node: NodeId,
        answer: Result<Answer, NodeFailure>,
        record: &mut impl FnMut(NodeId, Vote),
    ) {
        let vote = match answer {
            Ok(Answer::Yes) => NodeVote::Granted,
            Ok(Answer::No) => NodeVote::Denied,
            Err(failure) => NodeVote::Unknown(failure),
        };
        record(node, self.handle_vote(node, vote));
    }

    fn handle_vote(&mut self, node: NodeId, node_vote: NodeVote) -> Vote {
        let vote = match &node_vote {
            NodeVote::Granted => Vote::Granted,
            NodeVote::Denied => Vote::Denied,
            NodeVote::Unknown(_) | NodeVote::NotAwaited => Vote::Unknown,
        };
        self.round.handle_vote(node, vote);
        self.votes[node.0] = node_vote;
        vote
    }

    fn handle_timeout(&mut self, after: Duration) {
        self.round.handle_timeout();
        for vote in self.votes.iter_mut().filter(|vote| **vote == NodeVote::NotAwaited) {
            *vote = NodeVote::Unknown(NodeFailure::NoAnswer { after });
        }
    }
}
