//! Drives the protocol over the nodes: wait queue, attempt, rollback, renewal, extension, release.

mod attempt;
mod clock;
mod connect;
mod counts;
mod denials;
mod extend;
mod fanout;
mod fencing;
mod forward;
mod guard;
mod held_lease;
mod intent;
mod keeper;
mod keys;
mod lock;
mod loss;
mod releasing;
mod renew;
#[cfg(any(feature = "config", feature = "tls"))]
mod reread;
mod slots;
mod survey;
mod timer;
mod waiting;
mod wall_clock;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::config::{Fencing, Settings};
use crate::error::{NodeFailure, NodeVote, Votes};
use crate::node::{Channel, Clocks, Connector, Link, Node, NodeConfig, Notifications, Roster, Trimming};
use crate::planted;
use crate::protocol::{Drift, NodeSet};
use crate::types::{Ambient, Moment, NodeId};

pub(crate) use clock::Machine;
pub(crate) use connect::{Internet, Network};
pub use counts::{Attempts, Losses, NodeStats, Renewals, Stats, VoteCounts};
pub(crate) use held_lease::HeldLease;
pub(crate) use lock::LockRequest;
pub use survey::Removal;
pub(crate) use survey::{Probed, StatusParts};
#[cfg(test)]
pub(crate) use timer::Sleeper;

/// For each node, in the order of the configuration, its live connection or why there is none.
type Links = Vec<Result<Link, NodeFailure>>;

/// A node that answers nothing for this many node timeouts counts as hung: its connection is closed and made again. The
/// number is above one because another client's slow command is no failure of the node.
const HUNG_AFTER_NODE_TIMEOUTS: u32 = 4;

/// The nodes of one client with all shared state: settings, wait queues, keeper, counts. Shared by the client, its
/// waiters and its leases.
pub(crate) struct Coordinator {
    settings: Settings,
    nodes: Vec<Node>,
    roster: Arc<Roster>,
    guard: guard::Guard,
    ambient: Arc<dyn Ambient>,
    seen: fencing::Seen,
    keeper: keeper::Keeper,
    wait_queues: waiting::WaitQueues,
    counts: Arc<counts::Counts>,
    shut_down: AtomicBool,
    quarantine_warning: QuarantineWarning,
}

impl Coordinator {
    /// Starts connecting to every node; must be called within a tokio runtime.
    pub(crate) fn start(settings: Settings, ambient: Arc<dyn Ambient>, network: &dyn Network) -> Arc<Self> {
        let forward = forward::Forward::new(ambient);
        let ambient: Arc<dyn Ambient> = Arc::new(forward.clone());
        let names: Vec<_> = settings.nodes.iter().map(|url| Arc::clone(&url.name)).collect();
        let counts = Arc::new(counts::Counts::new(&names, Arc::clone(&ambient)));
        let terms = (settings.drift, settings.max_ttl, settings.quorum);
        let clocks = Clocks::new(settings.clock_guard, terms, move |by| forward.put_forward(by));
        let roster = Arc::new(Roster::new(names, settings.quorum, settings.max_ttl, ambient.now(), clocks));
        let channel = Channel::new(ambient.random());
        let (quorum, max_skew) = (settings.quorum, settings.max_clock_skew);
        let clock = Arc::new(wall_clock::WallClock::new(quorum, max_skew, Arc::clone(&ambient)));
        let wait_queues = waiting::WaitQueues::new(channel, settings.nodes.len());
        Arc::new_cyclic(|this| {
            let start = |node| {
                let notifications = notifications(this, node, &wait_queues, &counts);
                let connector = network.connector(&settings.nodes[node.0], settings.connect_timeout);
                start_node(node, &settings, connector, (&roster, &ambient, &clock), notifications)
            };
            let nodes: Vec<_> = (0..settings.nodes.len()).map(NodeId).map(start).collect();
            Self {
                guard: guard::Guard::new(&settings),
                settings,
                keeper: keeper::Keeper::new(nodes.len(), Arc::clone(&ambient)),
                nodes,
                roster,
                wait_queues,
                counts,
                ambient,
                seen: fencing::Seen::default(),
                shut_down: AtomicBool::new(false),
                quarantine_warning: QuarantineWarning::default(),
            }
        })
    }

    /// Returns when the client has tried to connect to every node, or a node timeout after a quorum is connected. Then
    /// waits at most a node timeout longer until the client has announced its nodes to all connected nodes. Cancel
    /// safe.
    pub(crate) async fn tried(&self) {
        self.all_tried().await;
        let introduced = self.roster.all_introduced();
        // Before that announcement the nodes' votes do not count.
        let _ = tokio::time::timeout(self.settings.node_timeout, introduced).await;
    }

    async fn all_tried(&self) {
        let mut tries: FuturesUnordered<_> = self.nodes.iter().map(Node::tried).collect();
        while !self.settings.quorum.is_met_by(self.live_nodes()) {
            if tries.next().await.is_none() {
                return;
            }
        }
        // The supervisors keep trying to connect to the others in the background.
        let _ =
            tokio::time::timeout(self.settings.node_timeout, async { while tries.next().await.is_some() {} })
                .await;
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn drift(&self) -> Drift {
        if planted::is(planted::Fault::NoDrift) {
            return Drift { factor: 0.0, floor: Duration::ZERO };
        }
        self.settings.drift
    }

    pub(crate) fn now(&self) -> Moment {
        self.ambient.now()
    }

    fn random(&self) -> u128 {
        self.ambient.random()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 64 of the 128 random bits do")]
    pub(crate) fn random_u64(&self) -> u64 {
        self.random() as u64
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Relaxed)
    }

    /// Refuses further locks, ends all waits, releases all held locks, and awaits the answers to all releases. The wait
    /// for a node ends when the node answers nothing for `limit`.
    pub(crate) async fn shut_down(&self, limit: Duration) {
        self.shut_down.store(true, Ordering::Relaxed);
        self.close_wait_queues();
        self.lose_all();
        join_all(self.nodes.iter().map(|node| node.flush(limit))).await;
    }

    /// Ends all leases, and takes no further ones.
    fn lose_all(&self) {
        for leased in self.keeper.close() {
            leased.lose(keeper::Closed::ShutDown);
        }
    }

    /// Whether to log now that a waiter waits for a quarantine to end.
    pub(crate) fn may_warn_of_quarantine(&self) -> bool {
        self.quarantine_warning.is_due(self.now())
    }

    /// The live connection to each node, or why there is none.
    fn links(&self) -> Links {
        self.nodes.iter().map(Node::link).collect()
    }

    /// Why a node's grant does not count at `now`; `None` if it counts.
    fn refusal(&self, node: NodeId, now: Moment) -> Option<NodeFailure> {
        self.guard.refusal(node, now, &self.roster)
    }

    fn is_quarantined(&self, node: NodeId, now: Moment) -> bool {
        let is_connected = self.node(node).link().is_ok();
        is_connected && matches!(self.refusal(node, now), Some(NodeFailure::Quarantined { .. }))
    }

    fn live_nodes(&self) -> NodeSet {
        self.node_ids().filter(|node| self.node(*node).link().is_ok()).collect()
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0]
    }

    fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    fn votes(&self, votes: Vec<NodeVote>) -> Votes {
        Votes::new(self.settings.quorum, self.nodes.iter().map(|node| Arc::clone(node.name())).zip(votes))
    }
}

/// When the client last logged that a waiter waits for a quarantine to end: nanoseconds of our clock, 0 for never.
/// Limits the log because a thousand waiters may wait for the same quarantine.
#[derive(Default)]
struct QuarantineWarning(AtomicU64);

impl QuarantineWarning {
    const EVERY: Duration = Duration::from_secs(10);

    /// True for one caller in every [`EVERY`](Self::EVERY).
    fn is_due(&self, now: Moment) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let is_due = last == 0 || Moment::from_nanos(last).until(now) >= Self::EVERY;
        // Of several callers at once, the first one wins.
        let claim =
            || self.0.compare_exchange(last, now.as_nanos().max(1), Ordering::Relaxed, Ordering::Relaxed);
        is_due && claim().is_ok()
    }
}

/// How a node notifies the client.
fn notifications(
    coordinator: &Weak<Coordinator>,
    node: NodeId,
    wait_queues: &waiting::WaitQueues,
    counts: &Arc<counts::Counts>,
) -> Notifications {
    let (coordinator, counts) = (Weak::clone(coordinator), Arc::clone(counts));
    let listener = Arc::new(waiting::Subscriber { coordinator, node, counts });
    Notifications {
        channel: wait_queues.channel.clone(),
        listener,
        notify_warning: wait_queues.notify_warning.clone(),
    }
}

fn start_node(
    node: NodeId,
    settings: &Settings,
    connector: Arc<dyn Connector>,
    (roster, ambient, clock): (&Arc<Roster>, &Arc<dyn Ambient>, &Arc<wall_clock::WallClock>),
    notifications: Notifications,
) -> Node {
    let trimming = match settings.fencing {
        Fencing::Off => None,
        Fencing::On => Some(Trimming {
            retention: settings.fence_retention,
            max_clock_skew: settings.max_clock_skew,
            clock: Arc::<wall_clock::WallClock>::clone(clock),
        }),
    };
    let url = &settings.nodes[node.0];
    let config = NodeConfig {
        name: Arc::clone(&url.name),
        connector,
        login: connect::login(&url.name, &url.credentials, settings.connect_timeout),
        db: url.db,
        notifications,
        grace: settings.node_timeout,
        connect_timeout: settings.connect_timeout,
        hung_after: settings.node_timeout * HUNG_AFTER_NODE_TIMEOUTS,
        trimming,
        node,
        roster: Arc::clone(roster),
        eviction: settings.eviction,
    };
    Node::start(config, Arc::clone(ambient))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand waits for one quarantine logged a thousand lines.
    #[test]
    fn a_quarantine_is_told_by_one_of_those_who_wait() {
        let told = QuarantineWarning::default();
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        let lines = |second| (0..1000).filter(|_| told.is_due(at(second))).count();
        assert_eq!([0, 5, 11, 20, 21].map(lines), [1, 0, 1, 0, 1]);
    }
}
