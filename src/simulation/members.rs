//! The node list changes: what clients name meanwhile, and the operator who restarts them one by one, as README.md says.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::clients::{Client, Scale, World, operator};
use super::faults::any_length;
use crate::config::RedlockBuilder;
use crate::protocol::ChangeProgress;
use crate::{ListInUse, NodeStatus, Redlock};

/// How often the node list changes.
const CHANGES_SHARE: f64 = 0.08;
/// How often it is changed back afterwards.
const BACK_SHARE: f64 = 0.2;
/// How often the operator is in a hurry.
const HURRY_SHARE: f64 = 0.4;
/// The pause of a hurried operator is drawn up to this many milliseconds: shorter ones make a storm of connections.
const HURRIED_PAUSE: u64 = 3_000;
/// How often the operator looks at the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a client names: the first list, the first and the second one, the second one, the second and the third one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Naming(usize);

impl Naming {
    pub(super) const FIRST: Self = Self(0);
    const FIRST_CHANGE: Self = Self(1);

    fn is_change(self) -> bool {
        !self.0.is_multiple_of(2)
    }
}

/// How the operator goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// By the book: clients name the next list alone when no client of the former one is left, and the change is done.
    Careful,
    /// At first clients are restarted with either list, or with both, again and again, after the nodes have met a client
    /// of both. From then on the nodes have to keep clients of the one list and of the other apart, so that no data is lost
    /// in such a seed: a node that loses its data forgets the change.
    Hurried,
}

/// The lists of nodes that clients change to, each by the addresses of its nodes.
pub(super) struct Members {
    lists: Vec<Vec<usize>>,
    pub(super) operation: Operation,
}

impl Members {
    /// Draws whether and how the node list changes, for a seed of so many nodes. The numbers are of a generator of its own,
    /// so that seeds without a change stay as they are.
    pub(super) fn draw(random: &mut StdRng, nodes: usize) -> Self {
        let first: Vec<usize> = (0..nodes).collect();
        if !random.random_bool(CHANGES_SHARE) {
            return Self { lists: vec![first], operation: Operation::Careful };
        }
        let operation = if random.random_bool(HURRY_SHARE) { Operation::Hurried } else { Operation::Careful };
        let others = match (random.random_range(0..4), nodes) {
            // Another size.
            (0, 3) => 0..5,
            (0, _) => 2..5,
            // Some of the nodes.
            (1, _) => nodes / 2 + 1..nodes + nodes / 2 + 1,
            // All nodes.
            (2, _) => nodes..2 * nodes,
            // One node.
            (_, _) => 1..nodes + 1,
        };
        let mut lists = vec![first.clone(), others.collect()];
        if operation == Operation::Careful && random.random_bool(BACK_SHARE) {
            lists.push(first);
        }
        Self { lists, operation }
    }

    fn has_change(&self) -> bool {
        self.lists.len() > 1
    }

    /// The number of addresses on all lists.
    pub(super) fn addresses(&self) -> usize {
        self.lists.iter().flatten().max().map_or(0, |last| last + 1)
    }

    /// The number of nodes that are no majority of any list.
    pub(super) fn minority(&self) -> usize {
        self.lists.iter().map(|list| (list.len() - 1) / 2).min().unwrap_or(0)
    }

    /// How much longer faults happen than without a change, so that most of it is under faults.
    pub(super) fn prolongs(&self, random: &mut StdRng, scale: &Scale) -> Duration {
        if !self.has_change() {
            return Duration::ZERO;
        }
        any_length(random, &(scale.longest() / 2..scale.longest() * 3))
    }

    pub(super) fn last(&self) -> Naming {
        Naming(2 * (self.lists.len() - 1))
    }

    /// The nodes that no client names at first.
    pub(super) fn later(&self) -> impl Iterator<Item = usize> {
        (0..self.addresses()).filter(|address| !self.lists[0].contains(address))
    }

    pub(super) fn builder(&self, naming: Naming) -> RedlockBuilder {
        let named =
            |list: &[usize]| list.iter().map(|address| format!("redis://n{address}")).collect::<Vec<_>>();
        let builder = Redlock::builder().nodes(named(&self.lists[naming.0 / 2]));
        if naming.is_change() { builder.next_nodes(named(&self.lists[naming.0 / 2 + 1])) } else { builder }
    }

    /// What a client names, for the log.
    pub(super) fn text(&self, naming: Naming) -> String {
        let present = format!("{:?}", self.lists[naming.0 / 2]);
        if naming.is_change() { format!("{present} > {:?}", self.lists[naming.0 / 2 + 1]) } else { present }
    }

    /// Whether enough nodes of each list that these clients name are among those that answer `is_so`.
    fn enough(&self, naming: Naming, nodes: &[NodeStatus], is_so: impl Fn(&NodeStatus) -> bool) -> bool {
        let so = |address: &&usize| {
            let name = format!("n{address}:6379");
            nodes.iter().any(|node| node.name() == name && is_so(node))
        };
        let lists = &self.lists[naming.0 / 2..=naming.0.div_ceil(2)];
        lists.iter().all(|list| list.iter().filter(so).count() > list.len() / 2)
    }
}

/// Which nodes have to know that a change is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// Those that can be reached, if they are enough.
    Reached,
    All,
}

/// Whoever restarts the clients.
pub(super) struct Operator {
    world: Arc<World>,
    clients: Vec<Arc<Client>>,
    random: StdRng,
    /// How far apart restarts are at most, in milliseconds.
    pause: u64,
}

impl Operator {
    pub(super) fn new(world: Arc<World>, clients: Vec<Arc<Client>>, mut random: StdRng) -> Self {
        let pause = [100, 1_000, 4_000][random.random_range(0..3)];
        Self { world, clients, random, pause }
    }

    /// Changes the list to the last one.
    pub(super) async fn work(mut self) {
        let world = Arc::clone(&self.world);
        let last = world.members.last();
        if last != Naming::FIRST {
            let first = any_length(&mut self.random, &(Duration::from_millis(100)..world.faults_end));
            tokio::time::sleep(first / 2).await;
            if world.members.operation == Operation::Hurried {
                self.hurry().await;
            }
            for naming in (1..=last.0).map(Naming) {
                self.change_to(naming).await;
            }
            // A node that was not there when the change was done gives clients of the next list alone no vote.
            self.until_done(Naming(last.0 - 1), Nodes::All).await;
        }
        world.unchanged_since.set(Some(world.internet.time().now()));
    }

    /// Restarts clients with any lists.
    async fn hurry(&mut self) {
        let world = Arc::clone(&self.world);
        let (members, time) = (&world.members, world.internet.time());
        let both = operator(&world, self.clients.len(), members.builder(Naming::FIRST_CHANGE)).await;
        let is_told = |node: &NodeStatus| node.lists().iter().any(|list| list.is_ours);
        while !members.enough(Naming::FIRST_CHANGE, &both.nodes(), is_told) && time.now() < world.faults_end {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        both.shutdown().await;
        self.pause = self.pause.max(HURRIED_PAUSE);
        while time.now() < world.faults_end {
            let client = self.random.random_range(0..self.clients.len());
            let naming = Naming(self.random.random_range(0..=members.last().0));
            self.restart(client, naming, "in a hurry").await;
        }
    }

    /// Restarts all clients, once the time for that has come.
    async fn change_to(&mut self, naming: Naming) {
        if !naming.is_change() {
            self.until_done(Naming(naming.0 - 1), Nodes::Reached).await;
        }
        let mut order: Vec<_> = (0..self.clients.len()).collect();
        order.shuffle(&mut self.random);
        for client in order {
            self.restart(client, naming, "in turn").await;
            if self.random.random_bool(0.5) {
                self.clients[client].until_it_names(naming).await;
            }
        }
        for client in &self.clients {
            client.until_it_names(naming).await;
        }
        if !naming.is_change() {
            self.world.oracle.handle_fault("node list changed", "all clients name the next list alone");
        }
    }

    async fn restart(&mut self, client: usize, naming: Naming, how: &str) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..self.pause))).await;
        let text = format!("client {client} is to name {}, {how}", self.world.members.text(naming));
        self.clients[client].prepare(naming);
        if self.random.random_bool(0.5) {
            self.world.oracle.handle_fault("client killed to name other nodes", &text);
            self.clients[client].kill();
        } else {
            self.world.oracle.handle_fault("client asked to end to name other nodes", &text);
            self.clients[client].ask_to_end();
        }
    }

    /// Waits until the nodes say that the change is done, as `redlock members` does.
    async fn until_done(&self, naming: Naming, which: Nodes) {
        let World { oracle, internet, members, scale, faults_end, .. } = &*self.world;
        let redlock = operator(&self.world, self.clients.len(), members.builder(naming)).await;
        let limit = internet.time().now().max(*faults_end) + scale.patience;
        let is_done = |list: &ListInUse| list.progress == Some(ChangeProgress::Done);
        let is_under_way = |list: &ListInUse| {
            list.may_hold_locks && list.progress.is_some() && !list.is_ours && !is_done(list)
        };
        let ours = |node: &NodeStatus| {
            node.lists().iter().any(|list| list.is_ours && is_done(list))
                && !node.lists().iter().any(is_under_way)
        };
        loop {
            let nodes = redlock.nodes();
            let is_enough = match which {
                Nodes::Reached => {
                    nodes.iter().all(|node| !node.is_connected() || ours(node))
                        && members.enough(naming, &nodes, ours)
                }
                Nodes::All => nodes.iter().all(ours),
            };
            if is_enough {
                oracle.note(&format!("the operator: the change {} is done", members.text(naming)));
                break;
            }
            if internet.time().now() > limit {
                oracle.violation(&format!("the change {} does not end", members.text(naming)));
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        redlock.shutdown().await;
    }
}
