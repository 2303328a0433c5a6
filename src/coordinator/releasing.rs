//! The releases of one lease, from their sending to the confirmation by a quorum.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FutureExt;

use super::Coordinator;
use super::held_lease::HeldLease;
use crate::config::Settings;
use crate::error::{NodeFailure, NodeVote};
use crate::node::{Answer, Answering, Release, Remove, Removed};
use crate::protocol::{NodeSet, Quorum};
use crate::types::{KeySet, NodeId};

/// Releases that await their answers. When `Releasing` is dropped, the nodes' background tasks take over the unanswered
/// releases.
pub(super) struct Releasing {
    coordinator: Arc<Coordinator>,
    pending: Vec<(NodeId, Release, Answering)>,
    votes: Vec<NodeVote>,
    quorum: Quorum,
    asked: NodeSet,
    confirmed: NodeSet,
    failed: NodeSet,
    pub(super) removed: usize,
}

impl Releasing {
    pub(super) fn start(
        coordinator: Arc<Coordinator>,
        releases: Vec<(NodeId, Release)>,
        lease: &HeldLease,
    ) -> Self {
        let Settings { quorum, node_timeout, .. } = coordinator.settings;
        let now = coordinator.now();
        let mut this = Self {
            pending: Vec::with_capacity(releases.len()),
            votes: vec![NodeVote::NotAwaited; quorum.nodes()],
            quorum,
            asked: releases.iter().map(|(node, _)| *node).collect(),
            confirmed: NodeSet::EMPTY,
            failed: NodeSet::EMPTY,
            removed: 0,
            coordinator,
        };
        // Most nodes notify for the same keys, and share one command.
        let mut commands: Vec<(KeySet, Remove)> = Vec::with_capacity(2);
        let mut command = |notify| {
            let known = commands.iter().find(|(keys, _)| *keys == notify).map(|(_, command)| command.clone());
            known.unwrap_or_else(|| {
                let command = Remove::new(lease.claim(), lease.token.as_bytes(), notify, node_timeout);
                commands.push((notify, command.clone()));
                command
            })
        };
        for (node, mut release) in releases {
            match this.coordinator.node(node).link() {
                Ok(link) => {
                    release.prepare(link.epoch(), now);
                    let command = command(release.notify);
                    this.pending.push((node, release, link.send_now(command)));
                }
                Err(failure) => this.handle_answer(node, release, Err(failure)),
            }
        }
        this
    }

    /// Ready when a quorum has confirmed, or can no longer confirm.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
        let decided = self.is_confirmed() || !self.is_enough(self.asked.without(self.failed));
        if decided { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.is_enough(self.confirmed)
    }

    /// Whether these nodes are a quorum, or all that may hold the key.
    fn is_enough(&self, nodes: NodeSet) -> bool {
        self.quorum.is_met_by(nodes) || nodes == self.asked
    }

    fn handle_answer(&mut self, node: NodeId, release: Release, answer: Result<Removed, NodeFailure>) {
        let settled = answer.is_ok() && release.is_settled_by_an_answer();
        match answer {
            Ok(_) => self.confirmed.insert(node),
            Err(_) => self.failed.insert(node),
        }
        self.votes[node.0] = match answer {
            Ok(Removed { key, notified }) => {
                self.removed += usize::from(key == Answer::Yes);
                self.coordinator.handle_wanted(&release.claim, notified);
                NodeVote::Granted
            }
            Err(failure) => NodeVote::Unknown(failure),
        };
        if !settled {
            self.coordinator.node(node).release(release, self.coordinator.now());
        }
    }

    pub(super) fn votes(&mut self, silent: &NodeVote) -> Vec<NodeVote> {
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
