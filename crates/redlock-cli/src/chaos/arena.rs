//! The nodes of a run: local processes, containers or somebody else's, with proxies in front where a fault needs
//! them.

use std::sync::Arc;

use redlock_testing::{
    ClusterError, DockerNodes, Durability, Linked, LocalCluster, Nemesis, NemesisError, Nodes, Refusal,
    RemoteNodes, Reply,
};

use super::plan::Act;
use super::scenario::{self, Harm, Scenario};
use crate::failure::Failure;

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Docker,
    Urls(Vec<String>),
}

/// Shared by the threads that apply faults.
pub(super) struct Arena {
    way: Way,
}

enum Way {
    Direct(Box<dyn Nodes>),
    /// Clients have URLs of their own.
    Linked(Linked<Box<dyn Nodes>>),
}

impl Kind {
    /// From the command line.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "local" => Self::Local,
            "docker" => Self::Docker,
            urls => Self::Urls(urls.split(',').map(|url| url.trim().to_owned()).collect()),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Urls(_) => "by URL",
        }
    }
}

impl Arena {
    /// Finds or starts the nodes. Blocks.
    pub(super) fn open(kind: &Kind, scenario: &Scenario, clients: usize) -> Result<Self, Failure> {
        let nodes: Box<dyn Nodes> = match kind {
            Kind::Local => Box::new(start_local(scenario)?),
            Kind::Docker => Box::new(DockerNodes::attach(DockerNodes::STANDARD)?),
            Kind::Urls(urls) => Box::new(RemoteNodes::new(urls)?),
        };
        let needs_proxies = nemeses(scenario).any(|nemesis| nodes.check(&nemesis) == Err(Refusal::NoProxy));
        let way = if needs_proxies { Way::Linked(Linked::new(nodes, clients)?) } else { Way::Direct(nodes) };
        Ok(Self { way })
    }

    /// Removes from the pool of random faults what these nodes cannot be subjected to, and says what.
    ///
    /// # Errors
    ///
    /// The refusal of a fault that the scenario schedules.
    pub(super) fn admit(&self, scenario: &mut Scenario) -> Result<Vec<String>, Failure> {
        for fault in &scenario.faults {
            if let Harm::Node(nemesis) = &fault.harm
                && let Err(reason) = self.nodes().check(nemesis)
            {
                return Err(Failure::Nemesis(NemesisError::Refused {
                    node: 0,
                    nemesis: nemesis.to_string(),
                    reason,
                }));
            }
        }
        let mut dropped = Vec::new();
        if let Some(random) = &mut scenario.random {
            random.faults.retain(|(_, fault)| match &fault.harm {
                Harm::Node(nemesis) => match self.nodes().check(nemesis) {
                    Ok(()) => true,
                    Err(reason) => {
                        dropped.push(format!("{nemesis}: {reason}"));
                        false
                    }
                },
                Harm::Way { .. } | Harm::Client(_) => true,
            });
        }
        Ok(dropped)
    }

    pub(super) fn count(&self) -> usize {
        self.nodes().count()
    }

    /// The nodes as one client reaches them.
    pub(super) fn urls(&self, client: usize) -> Vec<String> {
        match &self.way {
            Way::Direct(nodes) => (0..nodes.count()).map(|node| nodes.node_url(node)).collect(),
            Way::Linked(linked) => linked.urls(client),
        }
    }

    /// Host and port of each, without what stands before them.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |node| {
            let url = self.nodes().node_url(node);
            let host = url.rsplit('@').next().unwrap_or_default();
            host.trim_start_matches("redis://").to_owned()
        };
        (0..self.count()).map(name).collect()
    }

    pub(super) fn nodes(&self) -> &dyn Nodes {
        match &self.way {
            Way::Direct(nodes) => nodes,
            Way::Linked(linked) => linked,
        }
    }
}

/// Applies in a thread that may block.
pub(super) async fn apply(arena: &Arc<Arena>, node: usize, nemesis: Nemesis) -> Result<(), String> {
    blocking(arena, move |nodes| nodes.apply(node, &nemesis)).await
}

pub(super) async fn heal(arena: &Arc<Arena>, node: usize, nemesis: Nemesis) -> Result<(), String> {
    blocking(arena, move |nodes| nodes.heal(node, &nemesis)).await
}

async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    arena: &Arc<Arena>,
    work: impl FnOnce(&dyn Nodes) -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    let arena = Arc::clone(arena);
    let done = tokio::task::spawn_blocking(move || work(arena.nodes())).await;
    done.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())
}

/// The values of the keys that are on the given nodes.
pub(super) async fn values(
    arena: &Arc<Arena>,
    of: Vec<usize>,
    keys: Vec<String>,
) -> Result<Vec<Sight>, String> {
    blocking(arena, move |nodes| {
        let command: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
        let mut found = Vec::new();
        for node in of {
            let values = match nodes.ask(node, &command)? {
                Reply::Array(values) => values,
                Reply::Error(text) => {
                    return Err(ClusterError::Refused { node, command: "MGET".to_owned(), text });
                }
                Reply::Nil | Reply::Int(_) | Reply::Simple(_) | Reply::Bulk(_) => Vec::new(),
            };
            for (key, value) in values.into_iter().enumerate() {
                if let Reply::Bulk(value) = value {
                    found.push(Sight { node, key, value });
                }
            }
        }
        Ok::<_, ClusterError>(found)
    })
    .await
}

/// A key with its value, on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) node: usize,
    /// Its place in the list of keys.
    pub(super) key: usize,
    pub(super) value: String,
}

fn start_local(scenario: &Scenario) -> Result<LocalCluster, ClusterError> {
    let durability = match scenario.durability {
        scenario::Durability::Always => Durability::Always,
        scenario::Durability::Volatile => Durability::Volatile,
    };
    let builder = LocalCluster::builder().nodes(scenario.nodes).durability(durability);
    let is_clock =
        |nemesis: &Nemesis| matches!(nemesis, Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. });
    if !nemeses(scenario).any(|nemesis| is_clock(&nemesis)) {
        return builder.start();
    }
    match builder.clone().adjustable_clocks().start() {
        // A scheduled fault is refused later, with a reason that says what it is about.
        Err(ClusterError::ClocksNotAdjustable { .. }) if scenario.random.is_some() => builder.start(),
        started => started,
    }
}

/// All that a scenario does to nodes.
fn nemeses(scenario: &Scenario) -> impl Iterator<Item = Nemesis> {
    let random = scenario.random.iter().flat_map(|random| random.faults.iter().map(|(_, fault)| fault));
    scenario.faults.iter().chain(random).filter_map(|fault| match &fault.harm {
        Harm::Node(nemesis) => Some(nemesis.clone()),
        Harm::Way { link, .. } => Some(Nemesis::Link { from: redlock_testing::Clients::One(0), link: *link }),
        Harm::Client(_) => None,
    })
}

/// As a sentence without a full stop.
pub(super) fn describe(act: &Act) -> String {
    match act {
        Act::Node { node, nemesis } => format!("node {node} {nemesis}"),
        Act::Client { client, fault } => match fault {
            redlock_testing::ClientFault::Pause => format!("client {client} paused"),
            redlock_testing::ClientFault::Kill => format!("client {client} killed"),
        },
    }
}
