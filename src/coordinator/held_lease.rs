//! The lease of a lock that is held, from the attempt that acquired the lock to the release. Shared by the guard and
//! the keeper.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{FutureExt, poll_fn};
use tokio_util::sync::CancellationToken;

use super::Coordinator;
use super::counts::End;
use super::keys::LockKeys;
use super::lock::Attempt;
use super::timer::Alarm;
use crate::config::{Keep, KeepAlive, MaxHold, Settings};
use crate::error::{LockError, Loss, NodeFailure, NodeVote, ReleaseError, Released};
use crate::node::{Answer, Answering, Release, Remove, Removed};
use crate::planted;
use crate::protocol::{NodeSet, Renewal, spread};
use crate::types::{FencingToken, Moment, NodeId, Resource, Token, Ttl, Wake};

/// How long after the acquire the keeper first checks a lease, to handle the answers that missed the decision and free
/// their memory: pending answers are large. A healthy node has answered by then. Most short leases end before this
/// check.
const FIRST_CHECK: Duration = Duration::from_millis(20);

/// A lease until it ends by release, loss or shutdown. One mutex orders the end of the lease and every command that
/// sets a key for it: no key is set after the end, and the end releases every key that was set before.
pub(crate) struct HeldLease {
    /// The number of the lease, unique in this client.
    pub(super) number: u64,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) resource: Resource,
    pub(super) token: Token,
    /// The TTL that renewals ask for.
    pub(super) ttl: Ttl,
    fence: FencingToken,
    /// When the lock was acquired.
    since: Moment,
    state: Mutex<State>,
    /// Made at first use, because most leases are never watched.
    ended: OnceLock<CancellationToken>,
}

pub(super) struct State {
    pub(super) keys: LockKeys,
    pub(super) renewing: Renewing,
    /// When the keeper checks the lease next.
    pub(super) check_at: Moment,
    pub(super) max_hold: MaxHold,
    /// When `max_hold` ends the lease.
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

/// The releases that the code that ends a lease must queue.
pub(super) struct Releases {
    pub(super) list: Vec<(NodeId, Release)>,
    pub(super) after: AfterRelease,
}

/// What to do once the releases are queued.
#[derive(Clone, Copy)]
pub(super) enum AfterRelease {
    /// Hand the lock over to the head of the local wait queue.
    HandOver,
    /// Notify on these nodes too. They get no release because they do not hold the key, but other clients may wait
    /// there.
    NotifyNext(NodeSet),
}

impl HeldLease {
    /// Turns a won attempt into a lease that the keeper checks from now on.
    ///
    /// # Errors
    ///
    /// [`LockError::ShutDown`] or [`LockError::RuntimeEnded`]. The lease is then released; after
    /// [`LockError::RuntimeEnded`] no task may be left to send the releases.
    pub(crate) fn hold(mut attempt: Attempt, keep: Keep) -> Result<Arc<Self>, LockError> {
        let coordinator = Arc::clone(&attempt.coordinator);
        let (now, quorum) = (coordinator.now(), coordinator.settings.quorum);
        let number = coordinator.keeper.next_number();
        let ttl = attempt.keys.ttl;
        let renewing = match keep.alive {
            KeepAlive::No => Renewing::Off,
            KeepAlive::Yes => {
                // The lease counts from before its keys were asked for, so the renewal times count from then too.
                let deadline = attempt.keys.lease.deadline(now).unwrap_or(now);
                let acquired = deadline.ago(coordinator.drift().validity(ttl));
                Renewing::On(Renewal::new(quorum, ttl, acquired, spread(number)))
            }
        };
        let max_hold = keep.max_hold;
        let hold_until = match max_hold {
            MaxHold::Unbounded => Moment::NEVER,
            MaxHold::For(max_hold) => now + max_hold,
        };
        let keys = attempt.take_keys();
        let mut state =
            State { keys, renewing, check_at: Moment::NEVER, max_hold, hold_until, stage: Stage::Held };
        let check_at = state.next_check(now).min(now + FIRST_CHECK);
        state.check_at = check_at;
        let lease = Arc::new(Self {
            number,
            resource: attempt.resource.clone(),
            token: attempt.token.clone(),
            ttl,
            fence: attempt.fence,
            since: now,
            state: Mutex::new(state),
            ended: OnceLock::new(),
            coordinator: Arc::clone(&coordinator),
        });
        coordinator.counts.observe_held();
        match coordinator.keeper.keep(Arc::clone(&lease), check_at) {
            Ok(()) => Ok(lease),
            Err(why) => {
                lease.give_up();
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

    /// The current time and the deadline until which the lease is exclusively ours; `None` once the lease has ended.
    pub(crate) fn deadline(&self) -> Option<(Moment, Moment)> {
        let now = self.coordinator.now();
        Some((now, self.lock().deadline(now)?))
    }

    /// Why the lease was lost; `None` while it is held or if it was released. The first call after the deadline ends
    /// the lease.
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

    /// A token that is cancelled when the lease ends in any way.
    pub(crate) fn cancellation_token(&self) -> CancellationToken {
        let token = self.ended.get_or_init(CancellationToken::new).clone();
        // The lease may have ended before the token existed, or just now.
        if self.deadline().is_none() {
            token.cancel();
        }
        token
    }

    /// A timer for one task that watches the lease.
    pub(crate) fn alarm(&self) -> Alarm {
        Alarm::new(Arc::clone(&self.coordinator.ambient))
    }

    /// Asks every node that may hold our key to remove it, and returns when a quorum has confirmed. Sends nothing for a
    /// lease that has already ended, because its end queued the releases.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the release continues in the background.
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
        // Called after the releases are queued, so that the attempt of the next local waiter comes after them.
        coordinator.handle_released(&self.resource, after);
        let limit = coordinator.settings.node_timeout;
        let silent = match tokio::time::timeout(limit, poll_fn(|cx| releasing.poll(cx))).await {
            // Decided, perhaps long before the limit: nodes that have not answered may still be healthy.
            Ok(()) => NodeVote::NotAwaited,
            Err(_) => NodeVote::Unknown(NodeFailure::NoAnswer { after: limit }),
        };
        if releasing.confirmed < releasing.needed {
            let votes = releasing.votes(&silent);
            let (resource, votes) = (self.resource.name().to_owned(), coordinator.votes(votes));
            return Err(ReleaseError::Unconfirmed { resource, votes });
        }
        // If no node removed a key, all keys were gone before the release.
        let was_ours = in_time && releasing.removed > 0;
        Ok(if was_ours { Released::InTime } else { Released::AlreadyExpired })
    }

    /// Releases the lease without waiting for confirmation. Never blocks; does nothing if the lease has already ended.
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

    /// Ends the lease; `None` if it had already ended. No key is set for the lease from here on.
    #[must_use]
    pub(super) fn end(&self, state: &mut State, stage: Stage, now: Moment) -> Option<Releases> {
        let wake = match stage {
            // The lock may be handed over to a waiter in this process.
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
        self.coordinator.keeper.forget(state.check_at, self.number, now);
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

    /// Notifies the watchers of the lease, and queues the releases. Call without holding the state's lock, because
    /// wakers run other code.
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
    /// The instant until which the lease is exclusively ours; `None` once the lease has ended.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        match self.stage {
            Stage::Held => {}
            Stage::Released | Stage::Lost(_) => return None,
        }
        let deadline = self.keys.lease.deadline(now)?.min(self.hold_until);
        (now < deadline).then_some(deadline)
    }
}

/// Releases that await their answers. When `Releasing` is dropped, the nodes' background tasks take over the unanswered
/// releases.
struct Releasing {
    coordinator: Arc<Coordinator>,
    pending: Vec<(NodeId, Release, Answering)>,
    votes: Vec<NodeVote>,
    needed: usize,
    confirmed: usize,
    removed: usize,
}

impl Releasing {
    fn start(coordinator: Arc<Coordinator>, releases: Vec<(NodeId, Release)>, lease: &HeldLease) -> Self {
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
            .map(|wake| Remove::new(&lease.resource, lease.token.as_bytes(), wake, node_timeout));
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

    /// Ready when a quorum has confirmed, or can no longer confirm.
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
