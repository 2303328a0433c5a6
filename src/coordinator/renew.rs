//! What the keeper does when it looks at leases: sends their renewals, takes in the answers, sets lost keys again on
//! nodes that have lost them, and ends what is over.

use std::future::pending;
use std::sync::{Arc, MutexGuard};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::HeldLease;
use super::fanout::{Ballot, Reply, vote_of};
use super::held_lease::{Renewing, Stage, State};
use super::keys::LATE_MAX;
use crate::config::Fencing;
use crate::node::{Acquire, Acquired, Answer, ExtendMany, Link};
use crate::planted;
use crate::protocol::{Connection, NodeSet, Vote};
use crate::types::{Moment, NodeId, Ttl};

/// How many locks one command renews. A node is busy with it for about half a millisecond, and a command of
/// somebody else waits for no longer.
const BATCH_MAX: usize = 256;

/// How many keys are being planted again at once. What is beyond waits for the next renewal of its lease.
const HEALS_MAX: usize = 4096;

/// What the keeper's task has under way.
#[derive(Default)]
pub(super) struct Work {
    renewals: FuturesUnordered<BoxFuture<'static, Batch>>,
    heals: FuturesUnordered<BoxFuture<'static, Heal>>,
}

/// One command to one node, answered or not.
struct Batch {
    node: NodeId,
    sent_at: Moment,
    leases: Vec<Arc<HeldLease>>,
    reply: Reply<Vec<Answer>>,
}

/// A key that was planted again.
struct Heal {
    node: NodeId,
    sent_at: Moment,
    ttl: Ttl,
    leased: Arc<HeldLease>,
    reply: Reply<Acquired>,
}

impl Work {
    pub(super) fn is_done(&self) -> bool {
        self.renewals.is_empty() && self.heals.is_empty()
    }

    /// Looks at leases of one client, at `now`, which is before anything is sent.
    pub(super) fn look_at(&mut self, due: Vec<Arc<HeldLease>>, now: Moment) {
        let Some(coordinator) = due.first().map(|leased| Arc::clone(&leased.coordinator)) else { return };
        let links = coordinator.links();
        let live =
            links.iter().enumerate().filter(|(_, link)| link.is_ok()).map(|(i, _)| NodeId(i)).collect();
        let mut asked = vec![Vec::new(); links.len()];
        for leased in due {
            for node in HeldLease::look(&leased, live, now).iter() {
                asked[node.0].push(Arc::clone(&leased));
            }
        }
        for (i, (link, leases)) in links.into_iter().zip(asked).enumerate() {
            if let Ok(link) = link {
                self.renew(NodeId(i), &link, &leases, now);
            }
        }
    }

    fn renew(&mut self, node: NodeId, link: &Link, leases: &[Arc<HeldLease>], sent_at: Moment) {
        for leases in leases.chunks(BATCH_MAX) {
            let leases = leases.to_vec();
            let locks = leases.iter().map(|leased| (&leased.resource, &leased.token, leased.ttl));
            let answer = link.clone().send(ExtendMany::new(locks));
            self.renewals.push(answer.map(move |reply| Batch { node, sent_at, leases, reply }).boxed());
        }
    }

    /// Takes in the next answer; waits for ever where none is under way. Cancel safe.
    pub(super) async fn next_answer(&mut self) {
        tokio::select! {
            biased;
            Some(batch) = self.renewals.next() => self.handle_batch(batch),
            Some(heal) = self.heals.next() => heal.handle(),
            else => pending().await,
        }
    }

    fn handle_batch(&mut self, batch: Batch) {
        let Batch { node, sent_at, leases, reply } = batch;
        let Some(first) = leases.first() else { return };
        let coordinator = Arc::clone(&first.coordinator);
        let now = coordinator.now();
        if let Err(failure) = &reply {
            tracing::debug!(node = %coordinator.node(node).name(), locks = leases.len(), reason = %failure, "not renewed");
        }
        coordinator.counts.node(node).observe_renewals(leases.len(), &reply);
        coordinator.keeper.note_answer(node, reply.as_ref().err().cloned());
        for (i, leased) in leases.iter().enumerate() {
            let vote = reply.as_ref().map_or(Vote::Unknown, |answers| answers[i].vote());
            for lacking in leased.handle_renewed(node, sent_at, vote, now).iter() {
                if self.heals.len() < HEALS_MAX
                    && let Ok(link) = coordinator.node(lacking).link()
                {
                    self.heals.extend(HeldLease::replant(leased, lacking, link));
                }
            }
        }
    }
}

impl Heal {
    fn handle(self) {
        let Self { node, sent_at, ttl, leased, reply } = self;
        let now = leased.coordinator.now();
        leased.coordinator.observe_heal(&leased.resource, node, vote_of(&reply));
        let mut state = leased.lock();
        if let Stage::Held = state.stage {
            state.keys.lease.handle_restored(node, sent_at, ttl, vote_of(&reply), now);
        }
        let end = leased.end_if_over(&mut state, now);
        drop(state);
        leased.finish(end, now);
    }
}

impl HeldLease {
    /// Ends it if it is over; otherwise says which of the `live` nodes to ask for a renewal, and writes down the
    /// next look.
    fn look(this: &Arc<Self>, live: NodeSet, now: Moment) -> NodeSet {
        let mut state = this.lock();
        let state_ref = &mut *state;
        match state_ref.stage {
            Stage::Held => {}
            Stage::Released | Stage::Lost(_) => return NodeSet::EMPTY,
        }
        state_ref.keys.settle_stragglers(now);
        if let end @ Some(_) = this.end_if_over(state_ref, now) {
            drop(state);
            this.finish(end, now);
            return NodeSet::EMPTY;
        }
        let ask = state_ref.nodes_to_ask(live, now);
        state_ref.look = state_ref.next_look(now);
        match this.coordinator.keeper.write_down(state_ref.look, Arc::clone(this)) {
            Ok(()) => ask,
            Err(why) => {
                let end = this.end(state_ref, this.lost_by(why), now);
                drop(state);
                this.finish(end, now);
                NodeSet::EMPTY
            }
        }
    }

    /// `node`'s answer to a renewal. Returns the nodes that may be given the key again.
    fn handle_renewed(&self, node: NodeId, sent_at: Moment, vote: Vote, now: Moment) -> NodeSet {
        let mut state = self.lock();
        let Renewing::On(renewal) = &mut state.renewing else { return NodeSet::EMPTY };
        let lacking = renewal.handle_answer(node, sent_at, vote);
        self.handle_extended(state, node, sent_at, self.ttl, vote, now);
        lacking
    }

    /// `node`'s answer to a renewal or an extension: ends the lease if it is over by that, and otherwise moves the
    /// next look to where it has to be.
    pub(super) fn handle_extended(
        &self,
        mut state: MutexGuard<'_, State>,
        node: NodeId,
        sent_at: Moment,
        ttl: Ttl,
        vote: Vote,
        now: Moment,
    ) {
        // What the node answered before comes first.
        state.keys.settle_stragglers(now);
        state.keys.lease.handle_extended(node, sent_at, ttl, vote, now);
        if planted::is(planted::Fault::Revival) {
            state.keys.lease.revive();
        }
        self.reconsider(state, now);
    }

    /// After news: ends the lease if it is over, and otherwise moves the next look to where it has to be.
    pub(super) fn reconsider(&self, mut state: MutexGuard<'_, State>, now: Moment) {
        let end = self.end_if_over(&mut state, now);
        if let Stage::Held = state.stage {
            let look = state.next_look(now);
            if look != state.look {
                state.look = self.coordinator.keeper.move_look(state.look, look, self.number);
            }
        }
        drop(state);
        self.finish(end, now);
    }

    /// Queues the key for a node that has lost it, unless the lease has ended. Under the lock, so that whoever
    /// ends the lease knows of the key, and its release is behind it.
    fn replant(this: &Arc<Self>, node: NodeId, link: Link) -> Option<BoxFuture<'static, Heal>> {
        let mut state = this.lock();
        let state = &mut *state;
        let sent_at = this.coordinator.now();
        state.deadline(sent_at)?;
        let ttl = this.ttl;
        let command = match this.settings().fencing {
            Fencing::Off => Acquire::plain(&this.resource, &this.token, ttl),
            // A later holder's token has to exceed ours, also where this node helps it to its quorum.
            Fencing::On => Acquire::fenced(&this.resource, &this.token, ttl, this.fencing_token()),
        };
        let epoch = &mut state.keys.epochs[node.0];
        let connection = if *epoch == link.epoch() { Connection::Same } else { Connection::Another };
        state.keys.lease.handle_restore_sent(node, connection);
        *epoch = link.epoch();
        let leased = Arc::clone(this);
        Some(link.send_now(command).map(move |reply| Heal { node, sent_at, ttl, leased, reply }).boxed())
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
pub(super) fn spread(number: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    #[expect(clippy::cast_precision_loss, reason = "a spread needs no more than 53 bits")]
    let parts = number.wrapping_mul(GOLDEN) as f64;
    parts / 2_f64.powi(64)
}
