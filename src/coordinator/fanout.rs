//! Sends one command to all nodes at once, and decides as early as possible.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::Coordinator;
use crate::error::{NodeFailure, NodeVote};
use crate::node::{Acquired, Answer, Command, Link, Score};
use crate::protocol::{Decision, NodeSet, Round, Vote};
use crate::types::NodeId;

/// An answer that is a vote in a round.
pub(super) trait Ballot: Send + 'static {
    fn vote(&self) -> Vote;
}

impl Ballot for Answer {
    fn vote(&self) -> Vote {
        match self {
            Self::Yes => Vote::Granted,
            Self::No => Vote::Denied,
        }
    }
}

impl Ballot for Acquired {
    fn vote(&self) -> Vote {
        match self {
            Self::Granted(_) => Vote::Granted,
            Self::Denied(_) => Vote::Denied,
        }
    }
}

/// A score that was read. Any answer counts as granted.
impl Ballot for Score {
    fn vote(&self) -> Vote {
        Vote::Granted
    }
}

/// A clock that was read. Any answer counts as granted.
impl Ballot for u64 {
    fn vote(&self) -> Vote {
        Vote::Granted
    }
}

/// A node's answer, or why there is none.
pub(super) type Reply<A> = Result<A, NodeFailure>;

pub(super) fn vote_of<A: Ballot>(reply: &Reply<A>) -> Vote {
    reply.as_ref().map_or(Vote::Unknown, Ballot::vote)
}

/// Answers that have not arrived. Dropping `Answers` withdraws commands that have not left the process.
///
/// A list that is polled as a whole, because it is short: `FuturesUnordered` would take one more allocation for each
/// answer.
pub(super) struct Answers<A>(Vec<(NodeId, BoxFuture<'static, Reply<A>>)>);

impl<A: Ballot> Answers<A> {
    /// Adds a command for `node`. The command is queued at the next poll of the answers.
    pub(super) fn send(&mut self, node: NodeId, link: Link, command: &impl Command<Reply = A>) {
        self.0.push((node, link.send(command.clone()).boxed()));
    }

    /// As [`send`](Self::send), and `read` makes the answer that counts of the one that arrives.
    pub(super) fn send_and<C: Command>(
        &mut self,
        node: NodeId,
        link: Link,
        command: &C,
        read: impl FnOnce(Reply<C::Reply>) -> Reply<A> + Send + 'static,
    ) {
        self.0.push((node, link.send(command.clone()).map(read).boxed()));
    }

    /// Ready with the next answer. Pending also if none is awaited.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(NodeId, Reply<A>)> {
        for i in 0..self.0.len() {
            if let Poll::Ready(reply) = self.0[i].1.poll_unpin(cx) {
                return Poll::Ready((self.0.swap_remove(i).0, reply));
            }
        }
        Poll::Pending
    }

    /// Takes an answer that has already arrived. Never waits.
    pub(super) fn arrived(&mut self) -> Option<(NodeId, Reply<A>)> {
        // Unconstrained: an exhausted budget of the current task must not hide an answer.
        tokio::task::unconstrained(poll_fn(|cx| self.poll_next(cx))).now_or_never()
    }

    pub(super) fn are_open(&self) -> bool {
        !self.0.is_empty()
    }
}

/// One fan-out: the round, each node's vote with its reason, and the answers that have not arrived.
pub(super) struct Fanout<A> {
    pub(super) round: Round,
    pub(super) votes: Vec<NodeVote>,
    pub(super) answers: Answers<A>,
    /// Nodes in quarantine: they are asked, but their vote is lost whatever they answer.
    quarantined: NodeSet,
}

impl<A: Ballot> Fanout<A> {
    pub(super) fn new(coordinator: &Coordinator) -> Self {
        let quorum = coordinator.settings.quorum;
        Self {
            round: Round::new(quorum),
            votes: vec![NodeVote::NotAwaited; quorum.nodes()],
            answers: Answers(Vec::with_capacity(quorum.nodes())),
            quarantined: NodeSet::EMPTY,
        }
    }

    /// Counts the vote of a node that cannot be asked as lost, without waiting.
    pub(super) fn handle_unreachable(&mut self, node: NodeId, failure: NodeFailure) {
        self.round.handle_vote(node, Vote::Unknown);
        self.votes[node.0] = NodeVote::Unknown(failure);
    }

    /// Counts the vote of a node in quarantine as lost, without waiting. The node is asked all the same, so that it
    /// learns again who holds the lock.
    pub(super) fn handle_quarantined(&mut self, node: NodeId, failure: NodeFailure) {
        self.handle_unreachable(node, failure);
        self.quarantined.insert(node);
    }

    /// Leaves a node out of this round.
    pub(super) fn handle_left_out(&mut self, node: NodeId) {
        self.round.handle_vote(node, Vote::Unknown);
    }

    /// Awaits answers until the round is decided. After `limit`, the votes of nodes that have not answered are
    /// `Unknown`. Then takes the answers that have already arrived, without waiting. Calls `record` with each answer.
    pub(super) async fn decide(
        &mut self,
        limit: Duration,
        mut record: impl FnMut(NodeId, &Reply<A>),
    ) -> Decision {
        let mut timer = std::pin::pin!(tokio::time::sleep(limit));
        while self.round.decision() == Decision::Pending {
            tokio::select! {
                biased;
                (node, reply) = poll_fn(|cx| self.answers.poll_next(cx)) => self.handle_reply(node, reply, &mut record),
                () = &mut timer => self.handle_timeout(limit),
            }
        }
        while let Some((node, reply)) = self.answers.arrived() {
            self.handle_reply(node, reply, &mut record);
        }
        self.round.decision()
    }

    fn handle_reply(&mut self, node: NodeId, reply: Reply<A>, record: &mut impl FnMut(NodeId, &Reply<A>)) {
        record(node, &reply);
        if self.quarantined.contains(node) {
            return;
        }
        let vote = vote_of(&reply);
        self.round.handle_vote(node, vote);
        self.votes[node.0] = match (reply, vote) {
            (Err(failure), _) => NodeVote::Unknown(failure),
            (Ok(_), Vote::Granted) => NodeVote::Granted,
            (Ok(_), Vote::Denied | Vote::Unknown) => NodeVote::Denied,
        };
    }

    fn handle_timeout(&mut self, after: Duration) {
        for (i, vote) in self.votes.iter_mut().enumerate() {
            if !self.round.has_voted(NodeId(i)) {
                *vote = NodeVote::Unknown(NodeFailure::NoAnswer { after });
            }
        }
        self.round.handle_timeout();
    }
}
