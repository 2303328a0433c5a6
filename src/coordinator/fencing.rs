//! Gets the fencing token of a lock. The rule is in `protocol/fencing.rs`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fanout::{Ballot, Fanout, Reply};
use super::{Coordinator, Links};
use crate::config::Fencing;
use crate::error::LockError;
use crate::node::{Acquired, Command, FENCES, Fence, RaiseFence, ReadClock, ReadFence, Score};
use crate::protocol::{
    Decision, Lease, NodeSet, Proposal, Raise, RoundFailure, ScoreTooHigh, TOKEN_MAX, next_token, proposal,
    wall_clock,
};
use crate::types::{Claim, FencingToken, Moment, NodeId, Resource, internal_key};

/// For how many resources a client remembers a token above its clock. Only a client whose clock lags needs this, and
/// forgetting a token costs one round trip.
const SEEN_MAX: usize = 1024;

/// The highest token that is remembered: a year below the largest possible token. A higher token came from a bad score
/// that an operator must remove; if the client remembered the token, it would write such a score again after the
/// repair.
const REMEMBERED_MAX: u64 = TOKEN_MAX - 365 * 24 * 60 * 60 * 1_000_000;

/// For each resource, the highest token above our own clock that this client has seen.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<Resource, u64>>);

impl Seen {
    /// The next token to propose for a resource. For a resource with a remembered token, the proposal is remembered
    /// too: the following proposal must be larger, or our own score would refuse it.
    fn next(&self, claim: &Claim, wall_micros: u64) -> Result<u64, ScoreTooHigh> {
        let mut seen = self.lock();
        let highest = claim.resources().iter().filter_map(|key| seen.get(key)).max().copied();
        let token = proposal(wall_micros, highest.unwrap_or(0))?;
        for key in claim.resources() {
            if let Some(known) = seen.get_mut(key) {
                *known = token;
            }
        }
        Ok(token)
    }

    fn insert(&self, claim: &Claim, token: u64) {
        if token > REMEMBERED_MAX {
            return;
        }
        let mut seen = self.lock();
        for key in claim.resources() {
            if seen.len() >= SEEN_MAX && !seen.contains_key(key) {
                seen.clear();
            }
            let known = seen.entry(key.clone()).or_default();
            *known = token.max(*known);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Resource, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coordinator {
    /// The token to propose with an acquire over these links.
    ///
    /// # Errors
    ///
    /// [`LockError::ClockSkew`] when our wall clock is too far from the nodes', [`LockError::FenceTooHigh`] when
    /// there is no token left.
    pub(super) async fn propose(&self, claim: &Claim, links: &Links) -> Result<FencingToken, LockError> {
        self.check_wall_clock(links).await?;
        let token = self.seen.next(claim, self.ambient.wall_micros());
        token.map(FencingToken::new).map_err(|score| too_high(claim.first(), score))
    }

    /// Checks that our wall clock is near the median of the nodes' clocks. A clock far ahead would use up the tokens of
    /// all clients. A clock far behind would produce tokens out of order after nodes lose data.
    async fn check_wall_clock(&self, links: &Links) -> Result<(), LockError> {
        let quorum = self.settings.quorum;
        let max = self.settings.max_clock_skew;
        let now = self.now();
        let known = || {
            let read = self.node_ids().zip(links);
            read.filter_map(|(node, link)| Some((node, link.as_ref().ok()?.wall_micros(now))))
        };
        // Almost always so, and quickly told.
        if wall_clock::is_confirmed(quorum, known(), self.ambient.wall_micros(), max) {
            return Ok(());
        }
        let mut clocks: Vec<_> = known().collect();
        let skew = |clocks: &[(NodeId, u64)]| wall_clock::skew(quorum, clocks, self.ambient.wall_micros());
        if skew(&clocks) <= max {
            return Ok(());
        }
        // Ask the nodes again: their clocks were read when we connected, and may have been corrected since.
        let mut read = Fanout::new(self);
        for (node, link) in self.node_ids().zip(links) {
            match link {
                Ok(link) => read.answers.send(node, link.clone(), &ReadClock),
                Err(failure) => read.handle_unreachable(node, failure.clone()),
            }
        }
        clocks.clear();
        let record = |node, reply: &Reply<u64>| clocks.extend(reply.iter().map(|clock| (node, *clock)));
        read.decide(self.settings.node_timeout, record).await;
        match skew(&clocks) {
            skew if skew > max => Err(LockError::ClockSkew { skew, max }),
            _ => Ok(()),
        }
    }

    /// The proposal of an attempt; `None` if fencing is off.
    pub(super) async fn proposal(&self, claim: &Claim, links: &Links) -> Result<Option<Proposal>, LockError> {
        match self.settings.fencing {
            Fencing::Off => Ok(None),
            Fencing::On => {
                let fence = self.propose(claim, links).await?;
                Ok(Some(Proposal::new(self.settings.quorum, fence.get())))
            }
        }
    }

    /// Learns the highest score of a quorum, so that the next proposal is above every token that was won before.
    ///
    /// # Errors
    ///
    /// As [`proposal`](Self::proposal), and [`LockError::NoQuorum`].
    pub(super) async fn learn_scores(&self, claim: &Claim, limit: Duration) -> Result<(), LockError> {
        let scores = self.read_scores(self.settings.quorum.all(), claim, limit).await?;
        let of_nodes: Vec<f64> = scores.iter().map(|score| score.score).collect();
        let next = next_token(&of_nodes, 0, 0).map_err(|score| too_high(highest(claim, &scores), score))?;
        self.seen.insert(claim, next);
        Ok(())
    }

    /// The fencing token of a lock that a quorum has granted: the proposal, or the result of a second round.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: scores only grow, and a score that is higher than needed does no harm.
    pub(super) async fn fence(
        &self,
        (claim, lease): (&Claim, &Lease),
        proposal: &Proposal,
        min_validity: Duration,
    ) -> Result<FencingToken, LockError> {
        if proposal.is_won() {
            return Ok(FencingToken::new(proposal.token()));
        }
        self.raise((claim, lease), proposal, min_validity).await
    }

    /// The second round, for a lock that a quorum granted while fewer nodes raised their score to the proposal. Reads
    /// the scores of the nodes that granted the lock, and raises them to a token above all of them. Repeats with a
    /// growing margin while another attempt is faster and enough of the lease is left.
    async fn raise(
        &self,
        (claim, lease): (&Claim, &Lease),
        proposal: &Proposal,
        min_validity: Duration,
    ) -> Result<FencingToken, LockError> {
        let nodes = proposal.granted();
        let mut margin = 0;
        loop {
            let started = self.now();
            let limit = self.fencing_limit(lease, started, min_validity);
            let scores = self.read_scores(nodes, claim, limit).await?;
            let of_nodes: Vec<f64> = scores.iter().map(|score| score.score).collect();
            let token = next_token(&of_nodes, self.ambient.wall_micros(), margin)
                .map_err(|score| too_high(highest(claim, &scores), score))?;
            self.seen.insert(claim, token);
            let limit = self.fencing_limit(lease, self.now(), min_validity);
            let mut raise = self.ask(nodes, &RaiseFence::new(claim, FencingToken::new(token)));
            match raise.decide(limit, |_, _| {}).await {
                Decision::Won => return Ok(FencingToken::new(token)),
                Decision::Failed | Decision::Pending => {}
            }
            let now = self.now();
            let out_of_time = self.fencing_limit(lease, now, min_validity).is_zero();
            if raise.round.failure() == RoundFailure::NoQuorum || out_of_time {
                return Err(self.failed(claim, raise.round.failure(), raise.votes, Vec::new()));
            }
            // Another attempt raised the score first, at most by the duration of our two round trips: add as much.
            margin = u64::try_from(started.until(now).as_micros()).unwrap_or(u64::MAX).max(margin * 2);
        }
    }

    async fn read_scores(
        &self,
        nodes: NodeSet,
        claim: &Claim,
        limit: Duration,
    ) -> Result<Vec<Score>, LockError> {
        let mut scores = Vec::with_capacity(nodes.len());
        let mut read = self.ask(nodes, &ReadFence::new(claim));
        let decision = read.decide(limit, |_, reply| scores.extend(reply.iter().copied())).await;
        match decision {
            Decision::Won => Ok(scores),
            Decision::Failed | Decision::Pending => {
                Err(self.failed(claim, read.round.failure(), read.votes, Vec::new()))
            }
        }
    }

    /// Sends a command to these nodes only; the other nodes are left out of the round.
    fn ask<A: Ballot>(&self, nodes: NodeSet, command: &impl Command<Reply = A>) -> Fanout<A> {
        let mut fanout = Fanout::new(self);
        for node in self.node_ids() {
            if !nodes.contains(node) {
                fanout.handle_left_out(node);
                continue;
            }
            match self.node(node).link() {
                Ok(link) => fanout.answers.send(node, link, command),
                Err(failure) => fanout.handle_unreachable(node, failure),
            }
        }
        fanout
    }

    fn fencing_limit(&self, lease: &Lease, now: Moment, min_validity: Duration) -> Duration {
        let left = lease.deadline(now).map_or(Duration::ZERO, |deadline| now.until(deadline));
        left.saturating_sub(min_validity).min(self.settings.node_timeout)
    }
}

/// The resource with the highest of all scores.
fn highest<'a>(claim: &'a Claim, scores: &[Score]) -> &'a Resource {
    let highest = scores.iter().max_by(|one, other| one.score.total_cmp(&other.score));
    highest.and_then(|score| claim.resources().get(score.key)).unwrap_or(claim.first())
}

fn too_high(resource: &Resource, ScoreTooHigh(score): ScoreTooHigh) -> LockError {
    let (key, member) = (internal_key(FENCES), resource.key().to_owned());
    LockError::FenceTooHigh { resource: resource.name().to_owned(), key, member, score }
}

/// Whether a grant raised the score to the proposed fencing token; `None` without a grant or without fencing.
pub(super) fn raise_of(reply: &Reply<Acquired>) -> Option<Raise> {
    match reply {
        Ok(Acquired::Granted(Fence::Raised)) => Some(Raise::Raised),
        Ok(Acquired::Granted(Fence::Stale)) => Some(Raise::Stale),
        Ok(Acquired::Granted(Fence::Off) | Acquired::Denied(_)) | Err(_) => None,
    }
}

#[cfg(all(test, unix))]
#[path = "fencing_tests.rs"]
mod tests;
