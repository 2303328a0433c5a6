//! A lock that is held, shared by its guard and the keeper, from the attempt that won it to its release.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{FutureExt, poll_fn};
use tokio_util::sync::CancellationToken;

use super::Coordinator;
use super::counts::End;
use super::keys::LockKeys;
use super::lock::Attempt;
use super::renew::spread;
use super::timer::Alarm;
use crate::config::{Keep, KeepAlive, MaxHold, Settings};
use crate::error::{LockError, Loss, NodeFailure, NodeVote, ReleaseError, Released};
use crate::node::{Answer, Answering, Release, Remove, Removed};
use crate::planted;
use crate::protocol::{NodeSet, Renewal};
use crate::types::{FencingToken, Moment, NodeId, Resource, Token, Ttl, Wake};

/// A lease is looked at so long after it was won, for the answers that had not arrived then: they are large, and a
/// healthy node's is there by now. Most locks that are held for a moment never come to it.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// A lease until it ends, be it by release, loss or shutdown. Its end and every key that is planted for it are
/// ordered by one mutex: nothing is planted after the end, and what was planted before is released by whoever
/// ended it.
pub(crate) struct HeldLease {
    /// Its number among the leases of this client.
    pub(super) number: u64,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) resource: Resource,
    pub(super) token: Token,
    /// What renewals ask for.
    pub(super) ttl: Ttl,
    fence: FencingToken,
    /// When it was won.
    since: Moment,
    state: Mutex<State>,
    /// Made when it is first asked for; most leases are never watched.
    ended: OnceLock<CancellationToken>,
}

pub(super) struct State {
    pub(super) keys: LockKeys,
    pub(super) renewing: Renewing,
    /// Where the keeper has written it down.
    pub(super) look: Moment,
    pub(super) max_hold: MaxHold,
    /// When it is over.
    pub(super) hold_until: Moment,
    pub(super) stage: Stage,
}

pub(super) enum Renewing {
    Off,
    On(Renewal),
}

pub(super) enum Stage {
    Held,
    Released,
    Lost(Box<Loss>),
}

/// Releases to be made by whoever ended the lease.
pub(super) struct Releases {
    pub(super) list: Vec<(NodeId, Release)>,
    pub(super) after: AfterRelease,
}

/// What is to be done once they are queued.
#[derive(Clone, Copy)]
pub(super) enum AfterRelease {
    /// Somebody in this process may go on.
    HandOver,
    /// These nodes call as well, although they did not hold the key: others may wait there.
    NotifyNext(NodeSet),
}

impl HeldLease {
    /// Puts a lease that was just won into the keeper's care.
    ///
    /// # Errors
    ///
    /// [`LockError::ShutDown`]; then nothing is left behind. [`LockError::RuntimeEnded`].
    pub(crate) fn hold(mut held: Attempt, keep: Keep) -> Result<Arc<Self>, LockError> {
        let coordinator = Arc::clone(&held.coordinator);
        let (now, quorum) = (coordinator.now(), coordinator.settings.quorum);
        let number = coordinator.keeper.next_number();
        let ttl = held.keys.ttl;
        let renewing = match keep.alive {
            KeepAlive::No => Renewing::Off,
            KeepAlive::Yes => {
                // It counts from before its keys were asked for, and so do its renewals.
                let deadline = held.keys.lease.deadline(now).unwrap_or(now);
                let acquired = deadline.ago(coordinator.settings.drift.validity(ttl));
                Renewing::On(Renewal::new(quorum, ttl, acquired, spread(number)))
            }
        };
        let max_hold = keep.max_hold;
        let hold_until = match max_hold {
            MaxHold::Unbounded => Moment::NEVER,
            MaxHold::For(max_hold) => now + max_hold,
        };
        let keys = held.take_keys();
        let mut state =
            State { keys, renewing, look: Moment::NEVER, max_hold, hold_until, stage: Stage::Held };
        let look = state.next_look(now).min(now + FIRST_LOOK);
        state.look = look;
        let leased = Arc::new(Self {
            number,
            resource: held.resource.clone(),
            token: held.token.clone(),
            ttl,
            fence: held.fence,
            since: now,
            state: Mutex::new(state),
            ended: OnceLock::new(),
            coordinator: Arc::clone(&coordinator),
        });
        coordinator.counts.observe_held();
        match coordinator.keeper.keep(Arc::clone(&leased), look) {
            Ok(()) => Ok(leased),
            Err(why) => {
                leased.give_up();
                Err(why.error())
            }
        }
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn fencing_token(&self) -> FencingToken {
        self.fence
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.coordinator.settings
    }

    /// The instant until which the lease is exclusively ours, and the time it was asked; `None` once it is over.
    pub(crate) fn deadline(&self) -> Option<(Moment, Moment)> {
        let now = self.coordinator.now();
        Some((now, self.lock().deadline(now)?))
    }

    /// Why it is over although nobody released it; `None` while it is not. Whoever asks first after the deadline
    /// ends it.
    pub(crate) fn loss(&self) -> Option<Loss> {
        let now = self.coordinator.now();
        let mut state = self.lock();
        let end = self.end_if_over(&mut state, now);
        let loss = match &state.stage {
            Stage::Held | Stage::Released => None,
            Stage::Lost(loss) => Some(Loss::clone(loss)),
        };
        drop(state);
        self.finish(end, now);
        loss
    }

    /// Cancelled when the lease ends, in whatever way.
    pub(crate) fn cancellation_token(&self) -> CancellationToken {
        let token = self.ended.get_or_init(CancellationToken::new).clone();
        // It may have ended while there was no token to be told with, or just now.
        if self.deadline().is_none() {
            token.cancel();
        }
        token
    }

    /// An alarm for whoever watches the lease.
    pub(crate) fn alarm(&self) -> Alarm {
        Alarm::new(Arc::clone(&self.coordinator.ambient))
    }

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

    /// Releases it without waiting for confirmation. Never blocks; does nothing where it is over already.
    pub(crate) fn give_up(&self) {
        let now = self.coordinator.now();
        let end = self.end(&mut self.lock(), Stage::Released, now);
        if end.is_some() {
            self.trace_released(now);
        }
        self.finish(end, now);
    }

    pub(super) fn trace_released(&self, now: Moment) {
        tracing::debug!(resource = self.resource.name(), held = ?self.since.until(now), "released");
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the lease, unless it has ended before. From here on nothing is planted for it.
    #[must_use]
    pub(super) fn end(&self, state: &mut State, stage: Stage, now: Moment) -> Option<Releases> {
        let wake = match stage {
            // Somebody in this process may go on with it.
            Stage::Released if state.deadline(now).is_some() => {
                self.coordinator.wait_queues.wake(&self.resource, now)
            }
            Stage::Held | Stage::Released | Stage::Lost(_) => Wake::Next,
        };
        match state.stage {
            Stage::Held => state.stage = stage,
            Stage::Released | Stage::Lost(_) => return None,
        }
        let end = match &state.stage {
            Stage::Held | Stage::Released => End::Released,
            Stage::Lost(loss) => End::Lost(loss),
        };
        self.coordinator.counts.observe_end(end, self.since.until(now));
        self.coordinator.keeper.forget(state.look, self.number, now);
        let notifying = self.coordinator.nodes_to_notify(&self.resource, wake);
        let list = state.keys.take_releases(&self.resource, &self.token, notifying, now);
        let after = match wake {
            Wake::Nobody => AfterRelease::HandOver,
            Wake::Next => {
                AfterRelease::NotifyNext(notifying.without(list.iter().map(|(node, _)| *node).collect()))
            }
        };
        Some(Releases { list, after })
    }

    #[must_use]
    pub(super) fn end_if_over(&self, state: &mut State, now: Moment) -> Option<Releases> {
        match state.stage {
            Stage::Held => {}
            Stage::Released | Stage::Lost(_) => return None,
        }
        if state.deadline(now).is_some() {
            return None;
        }
        if planted::is(planted::Fault::Revival) && !state.keys.lease.is_denied() {
            return None;
        }
        let loss = self.reason(state, now);
        tracing::warn!(resource = self.resource.name(), %loss, "lease lost");
        self.end(state, Stage::Lost(Box::new(loss)), now)
    }

    /// Tells whoever waits for the end, and the nodes. Not under the lock: wakers run other people's code.
    pub(super) fn finish(&self, end: Option<Releases>, now: Moment) {
        let Some(releases) = end else { return };
        self.announce();
        for (node, release) in releases.list {
            self.coordinator.node(node).release(release, now);
        }
        self.coordinator.handle_released(&self.resource, releases.after);
    }

    pub(super) fn announce(&self) {
        if let Some(token) = self.ended.get() {
            token.cancel();
        }
    }
}

impl State {
    /// The instant until which the lease is exclusively ours; `None` once it is over.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        match self.stage {
            Stage::Held => {}
            Stage::Released | Stage::Lost(_) => return None,
        }
        let deadline = self.keys.lease.deadline(now)?.min(self.hold_until);
        (now < deadline).then_some(deadline)
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
