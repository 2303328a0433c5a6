//! The lines of those who wait in this process, and what nodes and holders have to say to them. The rules are in
//! `protocol/line.rs` and `protocol/contender.rs`.

mod place;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::counts::Counts;
use super::leased::AfterRelease;
use super::{Coordinator, HUNG_AFTER_NODE_TIMEOUTS};
use crate::error::{LockError, NodeFailure};
use crate::node::{Called, Channel, Complaint, Epoch, Hearing, Leave, Link, Listener, Node};
use crate::protocol::{Demand, Health, Line, NodeSet, QueueOrder, Retry, nodes_to_call};
use crate::types::{Moment, NodeId, Resource, Wake};

use place::Place;
pub(crate) use place::Standing;

/// For how long a lock counts as wanted after its last wait or the last call by a release. Waiting one's turn costs a
/// free lock one round trip more; not doing so costs others theirs.
const WANTED_FOR: Duration = Duration::from_secs(1);
/// Of how many locks that is remembered. Forgetting costs one lost attempt.
const WANTED_MAX: usize = 1024;

/// All lines of a client.
pub(super) struct Lines {
    pub(super) channel: Channel,
    pub(super) complaint: Complaint,
    board: Mutex<Board>,
    numbers: AtomicU64,
    /// Of each node: until when it is not asked to keep queues.
    avoided: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Board {
    lines: HashMap<Resource, Waiters>,
    wanted: HashMap<Resource, Moment>,
}

/// A line, and how the last attempt of its head ended.
struct Waiters {
    line: Line<Arc<Notify>>,
    /// Where a head has registered: the client may be in the queue there until the line ends, or a head registers
    /// elsewhere.
    at: Option<(NodeId, Epoch)>,
    last: Option<LockError>,
}

impl Lines {
    pub(super) fn new(channel: Channel, nodes: usize) -> Self {
        let avoided = (0..nodes).map(|_| AtomicU64::new(0)).collect();
        Self {
            channel,
            complaint: Complaint::default(),
            board: Mutex::default(),
            numbers: AtomicU64::new(0),
            avoided,
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lock is about to be released by its holder: whom the release calls.
    pub(super) fn wake(&self, resource: &Resource, now: Moment) -> Wake {
        self.board().lines.get(resource).map_or(Wake::Next, |waiters| waiters.line.wake(now))
    }
}

impl Board {
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
    /// At the end of the line for a lock. `retry`: pauses for outages.
    pub(crate) fn stand_in_line(self: &Arc<Self>, resource: &Resource, retry: Retry) -> Place {
        let number = self.lines.numbers.fetch_add(1, Ordering::Relaxed);
        let woken = Arc::new(Notify::new());
        let now = self.now();
        let mut board = self.lines.board();
        let waiters = match board.lines.get_mut(resource) {
            Some(waiters) => waiters,
            None => {
                let line = Line::new(board.demand(resource, now), now);
                board.lines.entry(resource.clone()).or_insert(Waiters { line, at: None, last: None })
            }
        };
        waiters.line.join(number, Arc::clone(&woken));
        drop(board);
        Place::new(Arc::clone(self), resource.clone(), retry, number, woken)
    }

    /// Where the releases of a lock call who waits.
    pub(super) fn nodes_to_call(&self, resource: &Resource, wake: Wake) -> NodeSet {
        match wake {
            Wake::Nobody => NodeSet::EMPTY,
            Wake::Next => {
                let order = QueueOrder::new(resource.key());
                let rank = |node| Some((self.node(node).of_live(|link| order.rank(link.node_id()))?, node));
                nodes_to_call(self.settings.quorum, self.health(), self.node_ids().filter_map(rank))
            }
        }
    }

    /// The releases of a lock were queued.
    pub(super) fn handle_released(&self, resource: &Resource, after: AfterRelease) {
        match after {
            AfterRelease::HandOver => self.hand_over(resource),
            AfterRelease::CallNext(nodes) => self.call_next(resource, nodes),
        }
    }

    /// A release of ours may have called somebody.
    pub(super) fn handle_wanted(&self, resource: &Resource, called: Called) {
        match called {
            Called::Somebody => self.lines.board().remember_wanted(resource, self.now()),
            Called::Nobody => {}
        }
    }

    /// A release that calls nobody was queued: the head of the line attempts at once, or others are called after all.
    fn hand_over(&self, resource: &Resource) {
        let head =
            self.lines.board().lines.get_mut(resource).and_then(|waiters| waiters.line.handle_handed_over());
        match head {
            Some(head) => head.notify_one(),
            None => self.call_next(resource, self.nodes_to_call(resource, Wake::Next)),
        }
    }

    /// Has nodes call those who wait there, if the lock is free.
    fn call_next(&self, resource: &Resource, nodes: NodeSet) {
        for id in nodes.iter() {
            self.node(id).notify(Leave::of_nobody(resource, self.settings.node_timeout));
        }
    }

    /// Ends all waits. What they leave on the nodes is taken away before anything that is sent later.
    pub(super) fn dissolve_lines(&self) {
        let lines = std::mem::take(&mut self.lines.board().lines);
        for (resource, waiters) in lines {
            self.leave_queues(&resource);
            waiters.line.waiters().for_each(|waiter| waiter.notify_one());
        }
    }

    /// Nobody waits for this lock in this process any more: be it that we were called, or that an attempt was given up
    /// half way, others have to be called.
    fn leave_queues(&self, resource: &Resource) {
        for id in self.node_ids() {
            self.node(id).notify(Leave::new(resource, &self.lines.channel, self.settings.node_timeout));
        }
    }

    /// The node that keeps the queue of a lock for now; `None` where none can call us.
    fn queue_node(&self, resource: &Resource) -> Option<(NodeId, Link)> {
        let order = QueueOrder::new(resource.key());
        let usable = self.node_ids().filter(|id| self.can_call(*id));
        let links = usable.filter_map(|id| Some((id, self.node(id).link().ok()?)));
        links.max_by_key(|(_, link)| order.rank(link.node_id()))
    }

    fn health(&self) -> Health {
        if self.node_ids().all(|id| self.can_call(id)) { Health::All } else { Health::Some }
    }

    /// Whether a node can call us, as far as is known.
    fn can_call(&self, node: NodeId) -> bool {
        let avoided_until = self.lines.avoided[node.0].load(Ordering::Relaxed);
        // Mostly it never was, and the clock need not be read.
        let avoided = avoided_until != 0 && self.now() < Moment::from_nanos(avoided_until);
        !avoided && self.node(node).of_live(Link::hearing) == Some(Hearing::Calls)
    }

    /// It did not answer in time. When it hangs, its connection is given up within so long.
    fn avoid(&self, node: NodeId) {
        let until = self.now() + self.settings.node_timeout * HUNG_AFTER_NODE_TIMEOUTS * 2;
        self.lines.avoided[node.0].store(until.as_nanos(), Ordering::Relaxed);
    }
}

/// Hears what one node says.
pub(super) struct Ear {
    pub(super) coordinator: Weak<Coordinator>,
    pub(super) node: NodeId,
    pub(super) counts: Arc<Counts>,
}

impl Listener for Ear {
    fn handle_call(&self, key: &str) {
        let Some(coordinator) = self.coordinator.upgrade() else { return };
        let Coordinator { settings, lines, .. } = &*coordinator;
        let name = key.strip_prefix(settings.key_prefix.as_str()).unwrap_or(key);
        let Ok(resource) = settings.resource(name) else { return };
        let node: &Node = coordinator.node(self.node);
        tracing::debug!(resource = resource.name(), node = %node.name(), "called");
        let head = lines.board().lines.get_mut(&resource).and_then(|waiters| {
            waiters.line.contender.handle_called();
            waiters.line.head()
        });
        match head {
            Some(head) => head.notify_one(),
            // Whoever waited has left: pass it on.
            None => node.notify(Leave::new(&resource, &lines.channel, settings.node_timeout)),
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

    fn handle_wanted(&self, resource: &Resource) {
        if let Some(coordinator) = self.coordinator.upgrade() {
            coordinator.handle_wanted(resource, Called::Somebody);
        }
    }
}
