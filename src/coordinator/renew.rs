//! The keeper's check of a lease: ends the lease if it has expired, else sends due renewals, handles the
//! answers, and sets the key again on nodes that have lost it.

use std::future::pending;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::HeldLease;
use super::fanout::{Ballot, Reply, vote_of};
use super::held_lease::{Renewing, Stage, State};
use super::keys::LATE_MAX;
use crate::config::Fencing;
use crate::node::{Acquire, Acquired, Answer, Answered, ExtendMany, Link};
use crate::planted;
use crate::protocol::{Connection, NodeSet, Vote};
use crate::types::sync::MutexGuard;
use crate::types::{Moment, NodeId, Ttl};

/// How many keys one command renews; a lease may have several. The command keeps a node busy for about half a millisecond, so other clients'
/// commands wait no longer than that.
const BATCH_MAX: usize = 256;

/// How many keys are being set again at once. Further keys wait for the next renewal of their lease.
const RESTORES_MAX: usize = 4096;

/// The commands of the keeper's task that are not answered yet.
#[derive(Default)]
pub(super) struct Work {
    renewals: FuturesUnordered<BoxFuture<'static, Batch>>,
    restores: FuturesUnordered<BoxFuture<'static, Restore>>,
}

/// The end of one command that renews leases on one node: its answers, or why there are none.
struct Batch {
    node: NodeId,
    sent_at: Moment,
    leases: Vec<Arc<HeldLease>>,
    /// Whether the command was for readers.
    is_shared: bool,
    reply: Reply<Vec<Answer>>,
}

/// The end of one command that sets a key again: the answer, or why there is none.
struct Restore {
    node: NodeId,
    sent_at: Moment,
    ttl: Ttl,
    lease: Arc<HeldLease>,
    reply: Reply<Acquired>,
}

impl Work {
    pub(super) fn is_done(&self) -> bool {
        self.renewals.is_empty() && self.restores.is_empty()
    }

    /// Checks leases of one client. `now` must be from before anything is sent, because the new deadlines count from
    /// `now`.
    pub(super) fn check(&mut self, due: Vec<Arc<HeldLease>>, now: Moment) {
        let Some(coordinator) = due.first().map(|lease| Arc::clone(&lease.coordinator)) else { return };
        let links = coordinator.links();
        let live =
            links.iter().enumerate().filter(|(_, link)| link.is_ok()).map(|(i, _)| NodeId(i)).collect();
        let mut asked = vec![Vec::new(); links.len()];
        for lease in due {
            for node in HeldLease::check(&lease, live, now).iter() {
                asked[node.0].push(Arc::clone(&lease));
            }
        }
        for (i, (link, leases)) in links.into_iter().zip(asked).enumerate() {
            if let Ok(link) = link {
                self.renew(NodeId(i), &link, &leases, now);
            }
        }
    }

    fn renew(&mut self, node: NodeId, link: &Link, leases: &[Arc<HeldLease>], sent_at: Moment) {
        let (shared, others): (Vec<_>, Vec<_>) =
            leases.iter().cloned().partition(|lease| lease.claim().is_shared());
        self.renew_alike(node, link, &others, sent_at);
        self.renew_alike(node, link, &shared, sent_at);
    }

    /// Renews leases that are all shared, or none of them.
    fn renew_alike(&mut self, node: NodeId, link: &Link, leases: &[Arc<HeldLease>], sent_at: Moment) {
        let is_shared = leases.first().is_some_and(|lease| lease.claim().is_shared());
        let mut rest = leases;
        while !rest.is_empty() {
            let (leases, others) = rest.split_at(batch(rest.iter().map(|lease| lease.claim().keys().len())));
            rest = others;
            let leases = leases.to_vec();
            let locks = leases.iter().map(|lease| (lease.claim(), &lease.token, lease.ttl));
            let answer = link.clone().send(ExtendMany::new(locks));
            let batch = move |reply| Batch { node, sent_at, leases, is_shared, reply };
            self.renewals.push(answer.map(batch).boxed());
        }
    }

    /// Handles the next answer; waits forever if no answer is expected. Cancel safe.
    pub(super) async fn next_answer(&mut self) {
        tokio::select! {
            biased;
            Some(batch) = self.renewals.next() => self.handle_batch(batch),
            Some(restore) = self.restores.next() => restore.handle(),
            else => pending().await,
        }
    }

    fn handle_batch(&mut self, batch: Batch) {
        let Batch { node, sent_at, leases, is_shared, reply } = batch;
        let Some(first) = leases.first() else { return };
        let coordinator = Arc::clone(&first.coordinator);
        if let Err(failure) = &reply {
            tracing::debug!(node = %coordinator.node(node).name(), locks = leases.len(), reason = %failure, "not renewed");
        }
        coordinator.counts.node(node).observe_renewals(leases.len(), &reply);
        coordinator.keeper.note_answer(node, reply.as_ref().err().cloned());
        for (i, lease) in leases.iter().enumerate() {
            let vote = match reply.as_ref().map_or(Vote::Unknown, |answers| answers[i].vote()) {
                // The node may have changed the key into a reader's in the meantime.
                Vote::Denied if is_shared != lease.claim().is_shared() => Vote::Unknown,
                vote @ (Vote::Granted | Vote::Denied | Vote::Unknown) => vote,
            };
            for lacking in lease.handle_renewed(node, sent_at, vote).iter() {
                if self.restores.len() < RESTORES_MAX
                    && let Ok(link) = coordinator.node(lacking).link()
                {
                    self.restores.extend(HeldLease::restore(lease, lacking, link));
                }
            }
        }
    }
}

/// How many of the leases with these numbers of keys one command renews: at least one, which has at most
/// [`KEYS_MAX`](crate::types::KEYS_MAX).
fn batch(keys: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fits = |keys: &usize| {
        sum += keys;
        sum <= BATCH_MAX
    };
    keys.take_while(fits).count().max(1)
}

impl Restore {
    fn handle(self) {
        let Self { node, sent_at, ttl, lease, reply } = self;
        lease.coordinator.observe_restored(lease.claim(), node, vote_of(&reply));
        let mut state = lease.lock();
        // Read under the lock, as in `handle_extended`.
        let now = lease.coordinator.now();
        if let Stage::Held = state.stage {
            state.keys.lease.handle_restored(node, sent_at, ttl, vote_of(&reply), now);
        }
        let end = lease.end_if_over(&mut state, now);
        drop(state);
        lease.finish(end, now);
    }
}

impl HeldLease {
    /// Ends the lease if it has expired. Otherwise schedules the next check, and returns the nodes of `live` to ask for
    /// a renewal.
    fn check(this: &Arc<Self>, live: NodeSet, now: Moment) -> NodeSet {
        let mut state = this.lock();
        let state_ref = &mut *state;
        match state_ref.stage {
            Stage::Held => {}
            Stage::Released | Stage::Lost(_) => return NodeSet::EMPTY,
        }
        // `now` may be older than the lock.
        state_ref.keys.settle_stragglers(this.coordinator.now());
        if let end @ Some(_) = this.end_if_over(state_ref, now) {
            drop(state);
            this.finish(end, now);
            return NodeSet::EMPTY;
        }
        let ask = state_ref.nodes_to_ask(live, now);
        state_ref.check_at = state_ref.next_check(now);
        match this.coordinator.keeper.schedule(state_ref.check_at, Arc::clone(this)) {
            Ok(()) => ask,
            Err(why) => {
                let end = this.end(state_ref, this.lost_by(why), now);
                drop(state);
                this.finish(end, now);
                NodeSet::EMPTY
            }
        }
    }

    /// Handles `node`'s answer to a renewal. Returns the nodes on which the key may be set again.
    fn handle_renewed(&self, node: NodeId, sent_at: Moment, vote: Vote) -> NodeSet {
        let mut state = self.lock();
        let Renewing::On(renewal) = &mut state.renewing else { return NodeSet::EMPTY };
        let lacking = renewal.handle_answer(node, sent_at, vote);
        self.handle_extended(state, node, sent_at, self.ttl, vote);
        lacking
    }

    /// Handles `node`'s answer to a renewal or an extension. Ends the lease if it is over now, and otherwise moves its
    /// next check.
    pub(super) fn handle_extended(
        &self,
        mut state: MutexGuard<'_, State>,
        node: NodeId,
        sent_at: Moment,
        ttl: Ttl,
        vote: Vote,
    ) {
        // Read under the lock: an answer that waited for the lock must not extend a lease that others have seen end.
        let now = self.coordinator.now();
        // First the earlier answers of the node.
        state.keys.settle_stragglers(now);
        state.keys.lease.handle_extended(node, sent_at, ttl, vote, now);
        if planted::is(planted::Fault::Revival) {
            state.keys.lease.revive();
        }
        self.reconsider(state, now);
    }

    /// Ends the lease if it is over, and otherwise moves its next check. Called after every change of the deadline.
    pub(super) fn reconsider(&self, mut state: MutexGuard<'_, State>, now: Moment) {
        let end = self.end_if_over(&mut state, now);
        if let Stage::Held = state.stage {
            let check_at = state.next_check(now);
            if check_at != state.check_at {
                state.check_at = self.coordinator.keeper.reschedule(state.check_at, check_at, self.number);
            }
        }
        drop(state);
        self.finish(end, now);
    }

    /// Queues the command that sets the key again on a node that has lost it; `None` if the lease has ended. The state
    /// stays locked meanwhile, so that the end of the lease includes this key, and its release is queued after this
    /// command.
    fn restore(this: &Arc<Self>, node: NodeId, link: Link) -> Option<BoxFuture<'static, Restore>> {
        let mut state = this.lock();
        let state = &mut *state;
        let sent_at = this.coordinator.now();
        state.deadline(sent_at)?;
        let ttl = this.ttl;
        let fence = match this.settings().fencing {
            Fencing::Off => None,
            // The node learns our fencing token, so that a later holder with a quorum that includes this node gets a
            // larger one.
            Fencing::On => Some(this.fencing_token()),
        };
        let command = Acquire::new(this.claim(), &this.token, ttl, fence, false);
        let epoch = &mut state.keys.epochs[node.0];
        let connection = if *epoch == link.epoch() { Connection::Same } else { Connection::Another };
        state.keys.lease.handle_restore_sent(node, connection);
        *epoch = link.epoch();
        let lease = Arc::clone(this);
        let restored = move |reply: Reply<Answered>| {
            let reply = reply.map(|answered| answered.acquired);
            Restore { node, sent_at, ttl, lease, reply }
        };
        Some(link.send_now(command).map(restored).boxed())
    }
}

impl State {
    fn nodes_to_ask(&mut self, live: NodeSet, now: Moment) -> NodeSet {
        if self.reaches_max_hold(now) {
            return NodeSet::EMPTY;
        }
        let Renewing::On(renewal) = &mut self.renewing else { return NodeSet::EMPTY };
        let asked = renewal.nodes_to_ask(now).intersection(live);
        asked.iter().for_each(|node| renewal.handle_sent(node));
        asked
    }
}

impl State {
    /// Whether the deadline already reaches `max_hold`, so that a renewal is useless.
    pub(super) fn reaches_max_hold(&self, now: Moment) -> bool {
        self.keys.lease.deadline(now).is_some_and(|deadline| self.hold_until <= deadline)
    }

    /// When the keeper must check the lease again.
    pub(super) fn next_check(&mut self, now: Moment) -> Moment {
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

#[cfg(all(test, redlock_shuttle))]
#[path = "renew_schedules_tests.rs"]
mod schedules;
