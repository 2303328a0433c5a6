//! The wait queues of this process, and how notifications from nodes and from local releases reach the waiters. The
//! rules are in `protocol/wait_queue.rs` and `protocol/contender.rs`.

mod notifying;
mod waiter;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::counts::Counts;
use super::held_lease::AfterRelease;
use super::{Coordinator, HUNG_AFTER_NODE_TIMEOUTS};
use crate::error::{LockError, NodeFailure};
use crate::node::{Channel, Epoch, ForWhom, Leave, Link, Listener, Node, NotifyWarning, Subscription};
use crate::protocol::{Demand, Health, NodeSet, QueueOrder, Retry, WaitQueue, nodes_to_notify};
use crate::types::sync::{AtomicU64, Mutex, MutexGuard, Notify};
use crate::types::{Claim, KeySet, Moment, NodeId, Resource, Wake, slot_of};

pub(super) use notifying::Notifying;
use waiter::Waiter;
pub(crate) use waiter::{Looks, Position};

/// How long a lock counts as wanted after its last wait, or after a release of ours notified another client. An attempt
/// at a wanted lock registers first. Registering costs a free lock one more round trip; an attempt without registering
/// could overtake the clients that wait.
const WANTED_FOR: Duration = Duration::from_secs(1);
/// How many wanted locks are remembered. Forgetting one costs one failed attempt.
const WANTED_MAX: usize = 1024;

/// All wait queues of a client.
pub(super) struct WaitQueues {
    pub(super) channel: Channel,
    pub(super) notify_warning: NotifyWarning,
    state: Mutex<State>,
    /// For each node, until when it is not used as a queue node: nanoseconds of our clock, 0 for a node that always
    /// answered.
    avoided: Box<[AtomicU64]>,
}

#[derive(Default)]
struct State {
    queues: HashMap<Resource, Queue>,
    /// How many waiters have come.
    numbers: u64,
    wanted: HashMap<Resource, Moment>,
}

/// The wait queue of one lock.
struct Queue {
    waiters: WaitQueue<Arc<Notify>>,
    /// The queue node, and the connection, where a head has registered. The client may stay registered there until the
    /// wait queue is empty or a head registers elsewhere.
    at: Option<(NodeId, Epoch)>,
    /// How the last attempt of a head failed, and at what.
    last: Option<(Claim, LockError)>,
    /// The slot of a semaphore that was last said to be free.
    free_slot: Option<usize>,
}

impl WaitQueues {
    pub(super) fn new(channel: Channel, nodes: usize) -> Self {
        let avoided = (0..nodes).map(|_| AtomicU64::new(0)).collect();
        Self { channel, notify_warning: NotifyWarning::default(), state: Mutex::default(), avoided }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of a claim that are handed over to a waiter of this process. Called just before the release.
    pub(super) fn to_hand_over(&self, claim: &Claim, now: Moment) -> KeySet {
        // Other readers may go on reading.
        if claim.is_shared() {
            return KeySet::EMPTY;
        }
        let state = self.state();
        let wake = |key| state.queues.get(key).map_or(Wake::Next, |queue| queue.waiters.wake(now));
        let resources = claim.resources().iter().enumerate();
        resources
            .filter_map(|(i, key)| match wake(key) {
                Wake::Nobody => Some(i),
                Wake::Next => None,
            })
            .collect()
    }
}

impl State {
    fn remember_wanted(&mut self, resource: &Resource, now: Moment) {
        if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(resource) {
            self.wanted.clear();
        }
        self.wanted.insert(resource.clone(), now + WANTED_FOR);
    }

    fn demand(&mut self, resource: &Resource, now: Moment) -> Demand {
        match self.wanted.get(resource) {
            Some(until) if now < *until => Demand::Wanted,
            Some(_) => {
                self.wanted.remove(resource);
                Demand::Unknown
            }
            None => Demand::Unknown,
        }
    }
}

impl Coordinator {
    /// Appends a waiter to the wait queue of a resource. `retry` gives the pauses after outages.
    pub(crate) fn join_wait_queue(
        self: &Arc<Self>,
        resource: &Resource,
        retry: Retry,
        demand: Demand,
    ) -> Waiter {
        let woken = Arc::new(Notify::new());
        let now = self.now();
        let mut state = self.wait_queues.state();
        // Drawn under the lock: a waiter that joins never comes before the head, whose step may be under way.
        let number = state.numbers;
        state.numbers += 1;
        let queue = match state.queues.get_mut(resource) {
            Some(queue) => queue,
            None => {
                let demand = match demand {
                    Demand::Wanted => Demand::Wanted,
                    Demand::Unknown => state.demand(resource, now),
                };
                let waiters = WaitQueue::new(demand, now);
                state.queues.entry(resource.clone()).or_insert(Queue {
                    waiters,
                    at: None,
                    last: None,
                    free_slot: None,
                })
            }
        };
        queue.waiters.join(number, Arc::clone(&woken));
        drop(state);
        Waiter::new(Arc::clone(self), resource.clone(), retry, number, woken)
    }

    /// Whether somebody waits for a resource in this process.
    pub(super) fn is_waited_for(&self, resource: &Resource) -> bool {
        self.wait_queues.state().queues.contains_key(resource)
    }

    /// Lets waiting readers continue, because a writer has become a reader.
    pub(super) fn handle_readable(&self, resource: &Resource) {
        let head = self.wait_queues.state().queues.get_mut(resource).and_then(|queue| {
            queue.waiters.contender.handle_notified();
            queue.waiters.head()
        });
        if let Some(head) = head {
            head.notify_one();
            return;
        }
        for node in self.nodes_to_notify(resource).iter() {
            let leave = Leave::of_nobody(resource, ForWhom::Reader, self.settings.node_timeout);
            self.node(node).notify(leave);
        }
    }

    /// The nodes on which the releases of a claim notify the next waiters of these keys.
    pub(super) fn notifying(&self, claim: &Claim, keys: KeySet) -> Notifying {
        let mut notifying = Notifying::NOBODY;
        for key in keys.iter() {
            notifying.insert(self.nodes_to_notify(&claim.resources()[key]), key);
        }
        notifying
    }

    fn nodes_to_notify(&self, resource: &Resource) -> NodeSet {
        let order = QueueOrder::new(resource.key());
        let rank = |node| {
            self.node(node).of_live(|_| ())?;
            Some((self.roster.with_id(node, |id| order.rank(id)), node))
        };
        nodes_to_notify(self.settings.quorum, self.health(), self.node_ids().filter_map(rank))
    }

    /// Lets the next waiters continue, because the releases of a lock were queued.
    pub(super) fn handle_released(&self, claim: &Claim, after: &AfterRelease) {
        for resource in claim.of(after.handed_over) {
            self.hand_over(resource, claim.as_slot().map(|slot| slot.number));
        }
        for node in self.node_ids() {
            for resource in claim.of(after.notifying.on(node)) {
                self.notify_next(resource, node);
            }
        }
    }

    /// Remembers that locks are wanted, because a release of ours notified another client for each of these keys.
    pub(super) fn handle_wanted(&self, claim: &Claim, notified: KeySet) {
        if notified.is_empty() {
            return;
        }
        let now = self.now();
        let mut state = self.wait_queues.state();
        claim.of(notified).for_each(|resource| state.remember_wanted(resource, now));
    }

    /// Hands a released lock over to the head of the local wait queue, which attempts at once. Without a head, other
    /// clients are notified. The queued release itself notified nobody.
    fn hand_over(&self, resource: &Resource, slot: Option<usize>) {
        let head = self.wait_queues.state().queues.get_mut(resource).and_then(|queue| {
            queue.free_slot = slot;
            queue.waiters.handle_handed_over()
        });
        match head {
            Some(head) => head.notify_one(),
            None => self.nodes_to_notify(resource).iter().for_each(|node| self.notify_next(resource, node)),
        }
    }

    /// This client is the first in the queue on a node. Its head sleeps less from now on.
    fn handle_first(&self, resource: &Resource) {
        let (now, random) = (self.now(), self.random_u64());
        let head = self.wait_queues.state().queues.get_mut(resource).and_then(|queue| {
            queue.waiters.contender.handle_first(now, random);
            queue.waiters.head()
        });
        if let Some(head) = head {
            head.notify_one();
        }
    }

    /// Makes a node notify the first waiter in its queue if the lock is free there.
    fn notify_next(&self, resource: &Resource, node: NodeId) {
        self.node(node).notify(Leave::of_nobody(resource, ForWhom::Owner, self.settings.node_timeout));
    }

    /// Ends all waits. The commands that remove the client from the nodes' queues are sent before any later command.
    pub(super) fn close_wait_queues(&self) {
        let queues = std::mem::take(&mut self.wait_queues.state().queues);
        // In an order that is the same in every run; that of a hash map is not.
        let mut queues: Vec<_> = queues.into_iter().collect();
        queues.sort_unstable_by(|(a, _), (b, _)| a.key().cmp(b.key()));
        for (resource, queue) in queues {
            self.leave_queues(&resource);
            queue.waiters.waiters().for_each(|waiter| waiter.notify_one());
        }
    }

    /// Leaves the lock's queue on all nodes, because no waiter is left in this process. Each node notifies its next
    /// waiter if the lock is free: a notification sent to us, or an attempt dropped half way, must not leave the others
    /// asleep.
    fn leave_queues(&self, resource: &Resource) {
        for id in self.node_ids() {
            let leave =
                Leave::new(resource, ForWhom::Owner, &self.wait_queues.channel, self.settings.node_timeout);
            self.node(id).notify(leave);
        }
    }

    /// The node that keeps the queue of a lock now; `None` if no node can notify us.
    fn queue_node(&self, resource: &Resource) -> Option<(NodeId, Link)> {
        let order = QueueOrder::new(resource.key());
        let usable = self.node_ids().filter(|id| self.can_notify(*id));
        let links = usable.filter_map(|id| Some((id, self.node(id).link().ok()?)));
        links.max_by_key(|(node, _)| self.roster.with_id(*node, |id| order.rank(id)))
    }

    fn health(&self) -> Health {
        if self.node_ids().all(|id| self.can_notify(id)) { Health::All } else { Health::Some }
    }

    /// Whether a node can notify us, as far as is known.
    fn can_notify(&self, node: NodeId) -> bool {
        let avoided_until = self.wait_queues.avoided[node.0].load(Ordering::Relaxed);
        // 0 is the common case, and saves reading the clock.
        let avoided = avoided_until != 0 && self.now() < Moment::from_nanos(avoided_until);
        !avoided && self.node(node).of_live(Link::subscription) == Some(Subscription::Active)
    }

    /// Does not use `node` as a queue node for a while, because the node did not answer in time. If the node hangs, its
    /// connection is closed before that time has passed.
    fn avoid(&self, node: NodeId) {
        let until = self.now() + self.settings.node_timeout * HUNG_AFTER_NODE_TIMEOUTS * 2;
        self.wait_queues.avoided[node.0].store(until.as_nanos(), Ordering::Relaxed);
    }
}

/// Handles the notifications and connection events of one node.
pub(super) struct Subscriber {
    pub(super) coordinator: Weak<Coordinator>,
    pub(super) node: NodeId,
    pub(super) counts: Arc<Counts>,
}

impl Listener for Subscriber {
    fn handle_notified(&self, key: &str) {
        let Some(coordinator) = self.coordinator.upgrade() else { return };
        let Coordinator { settings, wait_queues, .. } = &*coordinator;
        // `scripts/notify.lua` says so in two ways.
        let (is_called, key) = key.strip_prefix('\n').map_or((true, key), |key| (false, key));
        let (slot, key) = slot_of(key).map_or((None, key), |(slot, key)| (Some(slot), key));
        let name = key.strip_prefix(settings.key_prefix.as_str()).unwrap_or(key);
        let Ok(resource) = settings.resource(name) else { return };
        let resource = slot.map_or(resource.clone(), |slot| resource.semaphore(slot..slot + 1));
        let node: &Node = coordinator.node(self.node);
        if !is_called {
            tracing::debug!(resource = resource.name(), node = %node.name(), "first in the queue");
            coordinator.handle_first(&resource);
            return;
        }
        tracing::debug!(resource = resource.name(), node = %node.name(), "notified");
        let head = wait_queues.state().queues.get_mut(&resource).and_then(|queue| {
            queue.free_slot = slot;
            queue.waiters.contender.handle_notified();
            queue.waiters.head()
        });
        match head {
            Some(head) => head.notify_one(),
            // The waiter has left: the node notifies the next one.
            None => node.notify(Leave::new(
                &resource,
                ForWhom::Owner,
                &wait_queues.channel,
                settings.node_timeout,
            )),
        }
    }

    fn handle_up(&self) {
        self.counts.node(self.node).observe_up();
    }

    fn handle_down(&self, failure: &NodeFailure) {
        self.counts.node(self.node).observe_down(failure);
    }

    fn handle_finished(&self) {
        self.counts.node(self.node).observe_finished();
    }

    fn handle_written(&self) {
        self.counts.observe_written(self.node);
    }

    fn handle_read(&self) {
        self.counts.observe_read(self.node);
    }

    fn handle_pending(&self, releases: usize) {
        self.counts.node(self.node).observe_pending(releases);
    }

    fn handle_wanted(&self, claim: &Claim, keys: KeySet) {
        if let Some(coordinator) = self.coordinator.upgrade() {
            coordinator.handle_wanted(claim, keys);
        }
    }
}

#[cfg(all(test, redlock_shuttle))]
#[path = "schedules_tests.rs"]
mod schedules;
