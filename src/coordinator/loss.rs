//! Ends leases that are lost, and finds the reason of a loss.

use super::HeldLease;
use super::held_lease::{Renewing, Stage, State};
use super::keeper::Closed;
use crate::config::MaxHold;
use crate::error::{Loss, NodeFailure, NodeVote, Votes};
use crate::protocol::{Renewal, Vote};
use crate::types::{Moment, NodeId};

impl HeldLease {
    /// Ends the lease because the client can no longer renew it. The holder sees a loss.
    pub(super) fn lose(&self, why: Closed) {
        let now = self.coordinator.now();
        let end = self.end(&mut self.lock(), self.lost_by(why), now);
        self.finish(end, now);
    }

    pub(super) fn lost_by(&self, why: Closed) -> Stage {
        Stage::Lost(Box::new(why.loss(self.claim())))
    }

    pub(super) fn reason(&self, state: &State, now: Moment) -> Loss {
        let resource = self.claim().name().to_owned();
        match state.max_hold {
            MaxHold::For(max_hold) if state.hold_until <= now => return Loss::MaxHold { resource, max_hold },
            MaxHold::For(_) | MaxHold::Unbounded => {}
        }
        let votes = self.votes(state, now);
        if state.keys.lease.is_denied() {
            let forgot = |node: &NodeId| {
                let denied = state.keys.lease.known_of(*node, now) == Vote::Denied;
                denied && self.coordinator.is_quarantined(*node, now)
            };
            let forgetful = self.coordinator.node_ids().filter(forgot);
            let quarantined = forgetful.map(|node| self.coordinator.node(node).name().to_string()).collect();
            Loss::Denied { resource, votes, quarantined }
        } else {
            Loss::Expired { resource, votes }
        }
    }

    /// The last known state of the key on each node, as votes.
    fn votes(&self, state: &State, now: Moment) -> Votes {
        let vote = |node| match (state.keys.lease.known_of(node, now), &state.renewing) {
            (Vote::Granted, _) => NodeVote::Granted,
            (Vote::Denied, _) => NodeVote::Denied,
            (Vote::Unknown, Renewing::Off) => NodeVote::NotAwaited,
            (Vote::Unknown, Renewing::On(renewal)) => self.why_not_renewed(node, renewal, now),
        };
        self.coordinator.votes(self.coordinator.node_ids().map(vote).collect())
    }

    fn why_not_renewed(&self, node: NodeId, renewal: &Renewal, now: Moment) -> NodeVote {
        if let Err(failure) = self.coordinator.node(node).link() {
            return NodeVote::Unknown(failure);
        }
        if let Some(asked) = renewal.unanswered_since(node) {
            return NodeVote::Unknown(NodeFailure::NoAnswer { after: asked.until(now) });
        }
        // Without a failure the node was not asked: this process may have been stopped.
        self.coordinator.keeper.refusal(node).map_or(NodeVote::NotAwaited, NodeVote::Unknown)
    }
}
