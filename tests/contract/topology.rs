//! The clusters on which every case runs, and the kinds of locks with which it does.

use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Redlock, RedlockBuilder};

use crate::access::{Access, Gate, assert_nothing_was_refused};
use crate::kinds::{Kind, Lock};
use crate::support::{LONG, SLACK, eventually, plant, queues, value};

/// A cluster with its faults. The faulty nodes come first in the list, so that a client that asks one node after the
/// other meets them first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topology {
    nodes: usize,
    /// Number of nodes that are killed before the client connects.
    dead: usize,
    /// Number of nodes that are stopped after the client has connected, so that commands to them are sent and not
    /// answered.
    paused: usize,
    access: Access,
    kind: Kind,
}

impl Topology {
    pub(crate) const ONE: Self = Self::healthy(1);
    pub(crate) const THREE: Self = Self::healthy(3);
    pub(crate) const FIVE: Self = Self::healthy(5);
    /// Even: the quorum is 3, so four nodes tolerate no more failures than three.
    pub(crate) const FOUR: Self = Self::healthy(4);
    pub(crate) const THREE_ONE_DEAD: Self = Self { dead: 1, ..Self::THREE };
    pub(crate) const THREE_GUARDED: Self = Self { access: Access::Guarded, ..Self::THREE };
    pub(crate) const FIVE_ONE_PAUSED: Self = Self { paused: 1, ..Self::FIVE };
    pub(crate) const FIVE_TWO_PAUSED: Self = Self { paused: 2, ..Self::FIVE };
    pub(crate) const MULTI_ONE: Self = Self { kind: Kind::Multi, ..Self::ONE };
    pub(crate) const MULTI_THREE_GUARDED: Self = Self { kind: Kind::Multi, ..Self::THREE_GUARDED };
    pub(crate) const WRITER_ONE: Self = Self { kind: Kind::Writer, ..Self::ONE };
    pub(crate) const WRITER_THREE_GUARDED: Self = Self { kind: Kind::Writer, ..Self::THREE_GUARDED };
    pub(crate) const WRITER_FIVE_TWO_PAUSED: Self = Self { kind: Kind::Writer, ..Self::FIVE_TWO_PAUSED };
    pub(crate) const MULTI_FIVE_TWO_PAUSED: Self = Self { kind: Kind::Multi, ..Self::FIVE_TWO_PAUSED };

    pub(crate) const SLOT_ONE: Self = Self { kind: Kind::Slot, ..Self::ONE };
    pub(crate) const SLOT_THREE_GUARDED: Self = Self { kind: Kind::Slot, ..Self::THREE_GUARDED };
    pub(crate) const LEADER_ONE: Self = Self { kind: Kind::Leader, ..Self::ONE };
    pub(crate) const LEADER_THREE_GUARDED: Self = Self { kind: Kind::Leader, ..Self::THREE_GUARDED };
    pub(crate) const LEADER_FIVE_TWO_PAUSED: Self = Self { kind: Kind::Leader, ..Self::FIVE_TWO_PAUSED };
    pub(crate) const SLOT_FIVE_TWO_PAUSED: Self = Self { kind: Kind::Slot, ..Self::FIVE_TWO_PAUSED };

    const fn healthy(nodes: usize) -> Self {
        Self { nodes, dead: 0, paused: 0, access: Access::Open, kind: Kind::Mutex }
    }

    pub(crate) async fn start(self) -> World {
        let gate = Gate::new(self.access);
        let cluster = gate.start(self.nodes);
        for node in 0..self.dead {
            cluster.kill(node).unwrap();
        }
        let redlock = gate.builder(&cluster).connect().await.unwrap();
        let other = gate.builder(&cluster).connect().await.unwrap();
        let world = World { topology: self, gate, cluster, redlock, other };
        for node in world.paused() {
            world.cluster.pause(node).unwrap();
        }
        world
    }
}

/// A running cluster, and two clients that know nothing of each other.
pub(crate) struct World {
    topology: Topology,
    gate: Gate,
    pub(crate) cluster: LocalCluster,
    pub(crate) redlock: Redlock,
    pub(crate) other: Redlock,
}

impl World {
    /// A lock of the kind that the case is about.
    pub(crate) fn of(&self, client: &Redlock, name: &str) -> Lock {
        self.topology.kind.of(client, name)
    }

    /// The key of such a lock.
    pub(crate) fn key(&self, name: &str) -> String {
        self.topology.kind.key(name)
    }

    /// The command that sets the keys of such a lock.
    pub(crate) fn command(&self) -> &'static str {
        self.topology.kind.command()
    }

    pub(crate) fn quorum(&self) -> usize {
        self.topology.nodes / 2 + 1
    }

    /// The nodes that answer, unless the case has killed them.
    pub(crate) fn living(&self) -> std::ops::Range<usize> {
        self.topology.dead + self.topology.paused..self.topology.nodes
    }

    fn paused(&self) -> std::ops::Range<usize> {
        self.topology.dead..self.topology.dead + self.topology.paused
    }

    /// A further client with other settings. The paused nodes are already paused when it connects.
    pub(crate) async fn client(&self, change: impl FnOnce(RedlockBuilder) -> RedlockBuilder) -> Redlock {
        change(self.gate.builder(&self.cluster)).connect().await.unwrap()
    }

    /// Sets the key of a lock as another owner on just enough nodes that a lock on it misses its quorum.
    pub(crate) fn plant_against_a_quorum(&self, name: &str) -> std::ops::Range<usize> {
        let start = self.living().start;
        let planted = start..start + self.living().len() - self.quorum() + 1;
        for node in planted.clone() {
            plant(&self.cluster, node, &self.key(name));
        }
        planted
    }

    pub(crate) fn plant_everywhere(&self, name: &str) {
        for node in self.living() {
            plant(&self.cluster, node, &self.key(name));
        }
    }

    /// The value of the key of a lock on each living node.
    pub(crate) fn values(&self, name: &str) -> Vec<Option<String>> {
        self.living().map(|node| value(&self.cluster, node, &self.key(name))).collect()
    }

    /// Waits until no living node has the key of a lock, which must happen long before it would expire.
    #[track_caller]
    pub(crate) fn gone(&self, name: &str) -> impl Future<Output = ()> {
        eventually(SLACK, format!("{name} is gone"), || self.values(name).iter().all(Option::is_none))
    }

    /// Heals what can be healed, and checks that no lock is left on any node, long before it would expire.
    #[track_caller]
    pub(crate) fn ends_without_keys(self) -> impl Future<Output = ()> {
        self.ends_with_keys(&[])
    }

    /// Like [`ends_without_keys`](Self::ends_without_keys), except for the keys of these locks, which are another owner's.
    #[track_caller]
    pub(crate) fn ends_with_keys(self, foreign: &[&str]) -> impl Future<Output = ()> {
        const { assert!(LONG.as_secs() > 2 * END.as_secs()) };
        for node in self.paused() {
            self.cluster.resume(node).unwrap();
        }
        let what = format!("no key but {foreign:?} on any node, {:?}", self.topology);
        let foreign: Vec<String> = foreign.iter().map(|name| self.key(name)).collect();
        let clean = move |world: &Self| {
            let running = world.topology.dead..world.topology.nodes;
            let mut keys = running.clone().filter_map(|node| world.cluster.keys(node).ok()).flatten();
            let no_queues = || running.clone().all(|node| queues(&world.cluster, node).is_empty());
            keys.all(|key| foreign.contains(&key)) && no_queues()
        };
        async move {
            eventually(END, what, || clean(&self)).await;
            for node in 0..self.topology.nodes {
                assert_nothing_was_refused(&self.cluster, node);
            }
        }
    }
}

/// A node that was abandoned while it was stopped is connected again within a second, and gets its releases again. Its
/// queues do not, and expire within ten seconds.
const END: Duration = Duration::from_secs(25);

/// Makes each case, an `async fn(World)`, one test for every topology.
macro_rules! on_every_topology {
    ($($case:ident),+ $(,)?) => {
        $(mod $case {
            $crate::topology::on_every_topology!(@ $case:
                one_node ONE,
                three_nodes THREE,
                five_nodes FIVE,
                four_nodes FOUR,
                three_nodes_guarded THREE_GUARDED,
                three_nodes_one_dead THREE_ONE_DEAD,
                five_nodes_one_paused FIVE_ONE_PAUSED,
                five_nodes_two_paused FIVE_TWO_PAUSED,
                multi_one_node MULTI_ONE,
                multi_three_nodes_guarded MULTI_THREE_GUARDED,
                multi_five_nodes_two_paused MULTI_FIVE_TWO_PAUSED,
                writer_one_node WRITER_ONE,
                writer_three_nodes_guarded WRITER_THREE_GUARDED,
                writer_five_nodes_two_paused WRITER_FIVE_TWO_PAUSED,
                slot_one_node SLOT_ONE,
                slot_three_nodes_guarded SLOT_THREE_GUARDED,
                slot_five_nodes_two_paused SLOT_FIVE_TWO_PAUSED,
                leader_one_node LEADER_ONE,
                leader_three_nodes_guarded LEADER_THREE_GUARDED,
                leader_five_nodes_two_paused LEADER_FIVE_TWO_PAUSED,
            );
        })+
    };
    (@ $case:ident: $($name:ident $topology:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            super::$case($crate::topology::Topology::$topology.start().await).await;
        })+
    };
}
pub(crate) use on_every_topology;
