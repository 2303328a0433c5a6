//! The nodes of one condition, and the connections of all sides to them.

use std::time::Duration;

use redlock_bench::Error;
use redlock_bench::sides::{Floor, Ours, Redlock2, Rslock};
use redlock_quorum::testing::{Clients, Durability, Link, Linked, LocalCluster};
use tokio::runtime::{Builder, Handle};

use crate::batch::{Batch, Sample};
use crate::plan::{Condition, Fault, RuntimeName, SideName, Since};

/// Longest time until this library must have stopped sending to nodes that hang.
pub(crate) const GIVE_UP_LIMIT: Duration = Duration::from_secs(10);

/// Both runtimes of tokio: the multi-thread one is the program's own, the other has a thread of its own.
pub(crate) struct Runtimes {
    multi: Handle,
    current: Handle,
}

impl Runtimes {
    /// Must be called within the multi-thread runtime.
    pub(crate) fn start() -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let current = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(Self { multi: Handle::current(), current })
    }

    fn of(&self, name: RuntimeName) -> &Handle {
        match name {
            RuntimeName::MultiThread => &self.multi,
            RuntimeName::CurrentThread => &self.current,
        }
    }
}

/// One set of nodes, and the connections to it: one for each runtime and side that a section needs.
pub(crate) struct Bed {
    nodes: Nodes,
    round_trip: Duration,
    fault: Fault,
    connected: Vec<((RuntimeName, SideName), Connected)>,
}

enum Nodes {
    Local(LocalCluster),
    Distant(Linked<LocalCluster>),
}

#[derive(Clone)]
enum Connected {
    Ours(Ours),
    Floor(Floor),
    Rslock(Rslock),
    Redlock2(Redlock2),
}

impl Bed {
    /// Starts the nodes of a condition. The fault comes later.
    pub(crate) fn start(condition: &Condition) -> Result<Self, Error> {
        let builder = LocalCluster::builder().nodes(condition.nodes).durability(Durability::Volatile);
        let cluster = builder.start()?;
        let nodes = if condition.round_trip.is_zero() {
            Nodes::Local(cluster)
        } else {
            let linked = Linked::new(cluster, 1)?;
            let slow = Link::Slow { latency: condition.round_trip / 2, jitter: Duration::ZERO };
            (0..condition.nodes).for_each(|node| linked.set_link(Clients::All, node, slow));
            Nodes::Distant(linked)
        };
        Ok(Self { nodes, round_trip: condition.round_trip, fault: condition.fault, connected: Vec::new() })
    }

    /// Whether this bed has the nodes of a condition, which may differ in runtime, tasks and time since the fault.
    pub(crate) fn serves(&self, condition: &Condition) -> bool {
        self.cluster().len() == condition.nodes
            && self.round_trip == condition.round_trip
            && self.fault == condition.fault.at(Since::Long)
    }

    /// Connects a side on a runtime, unless it is connected.
    pub(crate) async fn connect(
        &mut self,
        runtimes: &Runtimes,
        runtime: RuntimeName,
        side: SideName,
    ) -> Result<(), Error> {
        if self.connected.iter().any(|(key, _)| *key == (runtime, side)) {
            return Ok(());
        }
        let urls = match &self.nodes {
            Nodes::Local(cluster) => cluster.urls(),
            Nodes::Distant(linked) => linked.urls(0),
        };
        let connect = async move {
            Ok::<_, Error>(match side {
                SideName::Ours(variant) => Connected::Ours(Ours::connect(&urls, variant).await?),
                SideName::Floor => Connected::Floor(Floor::connect(&urls).await?),
                SideName::Rslock => Connected::Rslock(Rslock::new(&urls)?),
                SideName::Redlock2 => Connected::Redlock2(Redlock2::new(&urls)),
            })
        };
        let connected = runtimes.of(runtime).spawn(connect).await??;
        self.connected.push(((runtime, side), connected));
        Ok(())
    }

    pub(crate) async fn run(
        &self,
        runtimes: &Runtimes,
        runtime: RuntimeName,
        side: SideName,
        batch: Batch,
    ) -> Result<Sample, Error> {
        let connected = self.connected.iter().find(|(key, _)| *key == (runtime, side));
        let connected = connected.ok_or("a side is not connected")?.1.clone();
        let run = async move {
            match connected {
                Connected::Ours(side) => batch.run(side).await,
                Connected::Floor(side) => batch.run(side).await,
                Connected::Rslock(side) => batch.run(side).await,
                Connected::Redlock2(side) => batch.run(side).await,
            }
        };
        runtimes.of(runtime).spawn(run).await?
    }

    /// Makes the fault happen, to the last nodes.
    pub(crate) fn break_nodes(&self) -> Result<(), Error> {
        for node in self.broken() {
            match self.fault {
                Fault::None => {}
                Fault::Hung { .. } => self.cluster().pause(node)?,
                Fault::Dead { .. } => self.cluster().kill(node)?,
            }
        }
        Ok(())
    }

    /// Name and version of the servers.
    pub(crate) fn server(&self) -> Result<String, Error> {
        let reply = self.cluster().command(0, &["INFO", "server"])?;
        let info = reply.text().unwrap_or_default();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => Ok(format!("Valkey {version}")),
            (None, Some(version)) => Ok(format!("Redis {version}")),
            (None, None) => Err("the server does not say its version".into()),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether every client of this library has stopped sending to the broken nodes.
    pub(crate) fn has_given_up(&self) -> bool {
        self.connected.iter().all(|(_, connected)| match connected {
            Connected::Ours(ours) => self.broken().all(|node| ours.has_given_up(node)),
            Connected::Floor(_) | Connected::Rslock(_) | Connected::Redlock2(_) => true,
        })
    }

    fn broken(&self) -> std::ops::Range<usize> {
        let nodes = self.cluster().len();
        nodes - self.fault.nodes()..nodes
    }

    /// Checks that no key is left on any node: a side that leaves keys behind has an unfair advantage.
    pub(crate) fn check_empty(&self) -> Result<(), Error> {
        for node in 0..self.broken().start {
            let keys = self.cluster().keys(node)?;
            if !keys.is_empty() {
                return Err(format!("node {node} still has {} keys: {keys:?}", keys.len()).into());
            }
        }
        Ok(())
    }

    fn cluster(&self) -> &LocalCluster {
        match &self.nodes {
            Nodes::Local(cluster) => cluster,
            Nodes::Distant(linked) => linked.nodes(),
        }
    }
}
