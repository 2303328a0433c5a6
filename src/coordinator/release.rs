//! Gives a lease back.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{FutureExt, poll_fn};

use super::held_lease::{Releases, Stage};
use super::{Coordinator, HeldLease};
use crate::config::Settings;
use crate::error::{NodeFailure, NodeVote, ReleaseError, Released};
use crate::node::{Answer, Answering, Release, Remove, Removed};
use crate::types::{NodeId, Wake};

impl HeldLease {
    /// Tells every node that may hold our key to remove it, and returns at a quorum of confirmations. A lease that
    /// is over has done so already.
    ///
    /// # Cancel safety
    ///
    /// Dropped after the first poll, the release goes on in the background.
    pub(crate) async fn release(&self) -> Result<Released, ReleaseError> {
        let coordinator = Arc::clone(&self.coordinator);
        let now = coordinator.now();
        let (in_time, end) = {
            let mut state = self.lock();
            (state.deadline(now).is_some(), self.end(&mut state, Stage::Released, now))
        };
        self.announce();
        let Some(releases) = end else { return Ok(Released::AlreadyExpired) };
        self.trace_released(now);
        let Releases { list, after } = releases;
        let mut releasing = Releasing::start(Arc::clone(&coordinator), list, self);
        // Behind them comes the attempt of whoever is next in this process.
        coordinator.handle_released(&self.resource, after);
        let limit = coordinator.settings.node_timeout;
        let silent = match tokio::time::timeout(limit, poll_fn(|cx| releasing.poll(cx))).await {
            // Decided, perhaps long before the limit, which then says nothing of the nodes that are still silent.
            Ok(()) => NodeVote::NotAwaited,
            Err(_) => NodeVote::Unknown(NodeFailure::NoAnswer { after: limit }),
        };
        if releasing.confirmed < releasing.needed {
            let votes = releasing.votes(&silent);
            let (resource, votes) = (self.resource.name().to_owned(), coordinator.votes(votes));
            return Err(ReleaseError::Unconfirmed { resource, votes });
        }
        // Removed by nobody: the keys were gone before us.
        let was_ours = in_time && releasing.removed > 0;
        Ok(if was_ours { Released::InTime } else { Released::AlreadyExpired })
    }
}

/// Releases under way. What is not answered when this is dropped, its nodes see to.
struct Releasing {
    coordinator: Arc<Coordinator>,
    pending: Vec<(NodeId, Release, Answering)>,
    votes: Vec<NodeVote>,
    needed: usize,
    confirmed: usize,
    removed: usize,
}

impl Releasing {
    fn start(coordinator: Arc<Coordinator>, releases: Vec<(NodeId, Release)>, leased: &HeldLease) -> Self {
        let Settings { quorum, node_timeout, .. } = coordinator.settings;
        let now = coordinator.now();
        let mut this = Self {
            pending: Vec::with_capacity(releases.len()),
            votes: vec![NodeVote::NotAwaited; quorum.nodes()],
            needed: quorum.needed().min(releases.len()),
            confirmed: 0,
            removed: 0,
            coordinator,
        };
        let [notifying, quiet] = [Wake::Next, Wake::Nobody]
            .map(|wake| Remove::new(&leased.resource, leased.token.as_bytes(), wake, node_timeout));
        for (node, mut release) in releases {
            match this.coordinator.node(node).link() {
                Ok(link) => {
                    release.prepare(link.epoch(), now);
                    let command = match release.wake {
                        Wake::Next => &notifying,
                        Wake::Nobody => &quiet,
                    };
                    this.pending.push((node, release, link.send_now(command.clone())));
                }
                Err(failure) => this.handle_answer(node, release, Err(failure)),
            }
        }
        this
    }

    /// Ready when a quorum has confirmed, or cannot any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut i = 0;
        while i < self.pending.len() {
            match self.pending[i].2.poll_unpin(cx) {
                Poll::Pending => i += 1,
                Poll::Ready(answer) => {
                    let (node, release, _) = self.pending.swap_remove(i);
                    self.handle_answer(node, release, answer);
                }
            }
        }
        let decided = self.confirmed >= self.needed || self.confirmed + self.pending.len() < self.needed;
        if decided { Poll::Ready(()) } else { Poll::Pending }
    }

    fn handle_answer(&mut self, node: NodeId, release: Release, answer: Result<Removed, NodeFailure>) {
        let settled = answer.is_ok() && release.is_settled_by_an_answer();
        self.confirmed += usize::from(answer.is_ok());
        self.votes[node.0] = match answer {
            Ok(Removed { key, notified }) => {
                self.removed += usize::from(key == Answer::Yes);
                self.coordinator.handle_wanted(&release.resource, notified);
                NodeVote::Granted
            }
            Err(failure) => NodeVote::Unknown(failure),
        };
        if !settled {
            self.coordinator.node(node).release(release, self.coordinator.now());
        }
    }

    fn votes(&mut self, silent: &NodeVote) -> Vec<NodeVote> {
        for (node, ..) in &self.pending {
            self.votes[node.0] = silent.clone();
        }
        std::mem::take(&mut self.votes)
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        for (node, release, answer) in self.pending.drain(..) {
            self.coordinator.node(node).await_release(release, answer);
        }
    }
}
