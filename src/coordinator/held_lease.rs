//! A lock that is held, shared by its guard and the keeper.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt::{LATE_MAX, LockKeys};
use super::counts::End;
use super::keeper::Closed;
use super::timer::Alarm;
use super::{Attempt, Coordinator};
use crate::config::{Keep, KeepAlive, MaxHold, Settings};
use crate::error::{LockError, Loss, NodeFailure, NodeVote, Votes};
use crate::node::Release;
use crate::planted;
use crate::protocol::{NodeSet, Renewal, Vote};
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
    max_hold: MaxHold,
    /// When it is over.
    hold_until: Moment,
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

    /// The same for a client that cannot keep it any more: to the holder it is a loss.
    pub(super) fn lose(&self, why: Closed) {
        let now = self.coordinator.now();
        let end = self.end(&mut self.lock(), self.lost_by(why), now);
        self.finish(end, now);
    }

    pub(super) fn lost_by(&self, why: Closed) -> Stage {
        Stage::Lost(Box::new(why.loss(&self.resource)))
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

    fn reason(&self, state: &State, now: Moment) -> Loss {
        let resource = self.resource.name().to_owned();
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

    /// What was last heard of each node.
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
        // We may have been stopped ourselves, and have asked nobody.
        self.coordinator.keeper.refusal(node).map_or(NodeVote::NotAwaited, NodeVote::Unknown)
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

    /// Whether a renewal could only reach beyond what is allowed.
    pub(super) fn reaches_max_hold(&self, now: Moment) -> bool {
        self.keys.lease.deadline(now).is_some_and(|deadline| self.hold_until <= deadline)
    }

    /// When the keeper has to look at it again.
    pub(super) fn next_look(&mut self, now: Moment) -> Moment {
        let over = if planted::is(planted::Fault::Revival) { now + planted::PAUSE } else { now };
        let deadline = self.deadline(now).unwrap_or(over);
        let renewal = match &self.renewing {
            Renewing::On(renewal) if !self.reaches_max_hold(now) => renewal.next_look(),
            Renewing::On(_) | Renewing::Off => Moment::NEVER,
        };
        let late_answers = if self.keys.last_round.is_open() { now + LATE_MAX } else { Moment::NEVER };
        deadline.min(renewal).min(late_answers)
    }
}

/// Spreads leases evenly, whatever their number: multiples of the golden ratio leave no gap and no crowd.
fn spread(number: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    #[expect(clippy::cast_precision_loss, reason = "a spread needs no more than 53 bits")]
    let parts = number.wrapping_mul(GOLDEN) as f64;
    parts / 2_f64.powi(64)
}
