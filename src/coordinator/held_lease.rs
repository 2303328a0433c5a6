//! The lease of a lock that is held, from the attempt that acquired the lock to the release. Shared by the guard and
//! the keeper.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::poll_fn;
use tokio_util::sync::CancellationToken;

use super::Coordinator;
use super::attempt::Attempt;
use super::counts::End;
use super::keys::LockKeys;
use super::releasing::Releasing;
use super::timer::Alarm;
use super::waiting::Notifying;
use crate::config::{Keep, KeepAlive, MaxHold, Settings};
use crate::error::{LockError, Loss, NodeFailure, NodeVote, ReleaseError, Released};
use crate::node::Release;
use crate::planted;
use crate::protocol::{Renewal, spread};
use crate::types::sync::{Mutex, MutexGuard, OnceLock};
use crate::types::{Claim, FencingToken, KeySet, Moment, NodeId, Token, Ttl};

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
    claim: Claim,
    /// What is held instead since a writer has become a reader.
    pub(super) downgraded: OnceLock<Claim>,
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
pub(super) struct AfterRelease {
    /// The keys to hand over to the heads of their local wait queues.
    pub(super) handed_over: KeySet,
    /// Where to notify too. These nodes get no release because they do not hold the key, but other clients may wait
    /// there.
    pub(super) notifying: Notifying,
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
            claim: attempt.claim.clone(),
            token: attempt.token.clone(),
            ttl,
            fence: attempt.fence,
            downgraded: OnceLock::new(),
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

    pub(crate) fn claim(&self) -> &Claim {
        self.downgraded.get().unwrap_or(&self.claim)
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
        coordinator.handle_released(self.claim(), &after);
        let limit = coordinator.settings.node_timeout;
        let silent = match tokio::time::timeout(limit, poll_fn(|cx| releasing.poll(cx))).await {
            // Decided, perhaps long before the limit: nodes that have not answered may still be healthy.
            Ok(()) => NodeVote::NotAwaited,
            Err(_) => NodeVote::Unknown(NodeFailure::NoAnswer { after: limit }),
        };
        if !releasing.is_confirmed() {
            let votes = releasing.votes(&silent);
            let (resource, votes) = (self.claim().name().to_owned(), coordinator.votes(votes));
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
        tracing::debug!(resource = self.claim().name(), held = ?self.since.until(now), "released");
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the lease; `None` if it had already ended. No key is set for the lease from here on.
    #[must_use]
    pub(super) fn end(&self, state: &mut State, stage: Stage, now: Moment) -> Option<Releases> {
        let handed_over = match stage {
            // The lock may be handed over to a waiter in this process.
            Stage::Released if state.deadline(now).is_some() => {
                self.coordinator.wait_queues.to_hand_over(self.claim(), now)
            }
            Stage::Held | Stage::Released | Stage::Lost(_) => KeySet::EMPTY,
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
        let notifying = self.coordinator.notifying(self.claim(), self.claim().all().without(handed_over));
        let list = state.keys.take_releases(self.claim(), &self.token, &notifying, now);
        let notifying = notifying.without(list.iter().map(|(node, _)| *node));
        Some(Releases { list, after: AfterRelease { handed_over, notifying } })
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
        tracing::warn!(resource = self.claim().name(), %loss, "lease lost");
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
        self.coordinator.handle_released(self.claim(), &releases.after);
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

#[cfg(all(test, redlock_shuttle))]
#[path = "held_lease_schedules_tests.rs"]
pub(super) mod schedules;
