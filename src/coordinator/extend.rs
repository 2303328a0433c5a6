//! Lets a lease live on.

use super::Held;
use super::fanout::Fanout;
use super::held::{Asked, Stragglers};
use crate::error::{ExtendError, NodeVote};
use crate::node::Command;
use crate::protocol::Decision;
use crate::types::Ttl;

impl Held {
    /// Asks every node that may hold our key to keep it for `ttl` from now on.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, the old deadline stands; nodes may have extended, which harms nobody.
    pub(crate) async fn extend(&mut self, ttl: Ttl) -> Result<(), ExtendError> {
        let coordinator = std::sync::Arc::clone(&self.coordinator);
        self.settle_stragglers();
        let mut fanout = Fanout::new(&coordinator);
        let sent_at = coordinator.now();
        let Some(deadline) = self.lease.deadline(sent_at) else {
            return Err(self.lost(fanout.votes));
        };
        self.ttl = self.ttl.max(ttl);
        let command = Command::extend(&self.resource, &self.token, ttl);
        for node in coordinator.node_ids() {
            match coordinator.node(node).link() {
                Ok(link) => fanout.answers.send(node, link, &command),
                Err(failure) => fanout.cast(node, NodeVote::Unknown(failure)),
            }
        }
        let limit = coordinator.settings.node_timeout.min(sent_at.until(deadline));
        let lease = &mut self.lease;
        let record = |node, vote| lease.handle_extended(node, sent_at, ttl, vote, coordinator.now());
        let decision = fanout.decide(limit, record).await;
        let Fanout { round: _, votes, answers } = fanout;
        self.last_round.set(Stragglers { answers, to: Asked::Extend, sent_at, ttl });

        let now = coordinator.now();
        let Some(deadline) = self.lease.deadline(now) else {
            return Err(self.lost(votes));
        };
        match decision {
            Decision::Won => Ok(()),
            Decision::Lost | Decision::Pending => Err(ExtendError::NoQuorum {
                resource: self.resource.as_str().to_owned(),
                left: now.until(deadline),
                votes: coordinator.votes(votes),
            }),
        }
    }

    fn lost(&self, votes: Vec<NodeVote>) -> ExtendError {
        ExtendError::Lost {
            resource: self.resource.as_str().to_owned(),
            votes: self.coordinator.votes(votes),
        }
    }
}
