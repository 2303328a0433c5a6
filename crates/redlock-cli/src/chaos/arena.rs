//! The nodes of a run: local processes, containers, or nodes that somebody else runs. Proxies stand in front of the
//! nodes where a fault needs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redlock_testing::{
    ClientFault, ClusterError, DockerNodes, Durability, Linked, LocalCluster, Nemesis, Nodes, Refusal,
    RemoteNodes, Reply,
};

use super::log::Log;
use super::plan::Act;
use super::scenario::{self, Fault, Harm, Scenario};
use crate::failure::Failure;

/// The kind of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Local,
    Docker,
    Urls(Vec<String>),
}

/// The nodes and the way to them. Shared by the threads that apply faults.
pub(crate) struct Arena {
    way: Way,
    directory: Option<PathBuf>,
}

enum Way {
    Direct(Box<dyn Nodes>),
    /// Each client has URLs of its own, which lead through its proxies.
    Linked(Linked<Box<dyn Nodes>>),
}

impl Kind {
    /// Parses `--nodes`.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "local" => Self::Local,
            "docker" => Self::Docker,
            urls => Self::Urls(urls.split(',').map(|url| url.trim().to_owned()).collect()),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Urls(_) => "by URL",
        }
    }

    /// The operator's names for the nodes: names of containers, or host and port of nodes given by URL. `None` for
    /// local nodes, whose number and names the scenario decides.
    pub(crate) fn nodes(&self) -> Option<Vec<String>> {
        let name = |url: &String| {
            let host = url.rsplit('@').next().unwrap_or_default();
            host.trim_start_matches("redis://").trim_end_matches('/').to_owned()
        };
        match self {
            Self::Local => None,
            Self::Docker => Some(DockerNodes::STANDARD.map(str::to_owned).to_vec()),
            Self::Urls(urls) => Some(urls.iter().map(name).collect()),
        }
    }
}

impl Arena {
    /// Finds or starts the nodes. Blocks.
    pub(crate) fn open(kind: &Kind, scenario: &Scenario, clients: usize) -> Result<Self, Failure> {
        let mut directory = None;
        let nodes: Box<dyn Nodes> = match kind {
            Kind::Local => {
                let cluster = start_local(scenario)?;
                directory = Some(cluster.directory().to_owned());
                Box::new(cluster)
            }
            Kind::Docker => Box::new(DockerNodes::attach(DockerNodes::STANDARD)?),
            Kind::Urls(urls) => Box::new(RemoteNodes::new(urls)?),
        };
        let needs_proxies = nemeses(scenario).any(|nemesis| nodes.check(&nemesis) == Err(Refusal::NoProxy));
        let way = if needs_proxies { Way::Linked(Linked::new(nodes, clients)?) } else { Way::Direct(nodes) };
        Ok(Self { way, directory })
    }

    /// Removes the random faults that cannot be applied to these nodes, and returns their descriptions.
    ///
    /// # Errors
    ///
    /// All scheduled faults that cannot be applied to these nodes.
    pub(crate) fn admit(&self, scenario: &mut Scenario) -> Result<Vec<String>, Failure> {
        let without = scenario.without.clone();
        let refused = |fault: &Fault| match &fault.harm {
            Harm::Node(_) if without.iter().any(|word| word == fault.name) => None,
            Harm::Node(nemesis) => self.nodes().check(nemesis).err(),
            Harm::Way { .. } | Harm::Client(_) => None,
        };
        let refusal = |fault: &Fault| {
            let reason = refused(fault)?;
            Some(format!("{}: nemesis: {:?}; {reason}", fault.spot, fault.name))
        };
        let refusals: Vec<String> = scenario.faults.iter().filter_map(refusal).collect();
        if !refusals.is_empty() {
            return Err(Failure::Scenario(refusals));
        }
        let mut dropped = Vec::new();
        if let Some(random) = &mut scenario.random {
            random.faults.retain(|(_, fault)| match refused(fault) {
                None => true,
                Some(reason) => {
                    dropped.push(format!("{}: {reason}", fault.name));
                    false
                }
            });
        }
        Ok(dropped)
    }

    /// The directory of the local nodes' files, which is removed with the nodes.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes().count()
    }

    /// The URLs by which a client reaches the nodes.
    pub(crate) fn urls(&self, client: usize) -> Vec<String> {
        match &self.way {
            Way::Direct(nodes) => (0..nodes.count()).map(|node| nodes.node_url(node)).collect(),
            Way::Linked(linked) => linked.urls(client),
        }
    }

    pub(crate) fn nodes(&self) -> &dyn Nodes {
        match &self.way {
            Way::Direct(nodes) => nodes,
            Way::Linked(linked) => linked,
        }
    }
}

/// Applies a fault, in a thread that may block.
pub(crate) async fn apply(arena: &Arc<Arena>, node: usize, nemesis: Nemesis) -> Result<(), String> {
    blocking(arena, move |nodes| nodes.apply(node, &nemesis)).await
}

pub(crate) async fn heal(arena: &Arc<Arena>, node: usize, nemesis: Nemesis) -> Result<(), String> {
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

/// The number of each key that exists, and its value; of a key with readers, each of those that are not over.
const VALUES: &str = "\
local now, found = redis.call('TIME'), {}
now = now[1] * 1000 + math.floor(now[2] / 1000)
for number, key in ipairs(KEYS) do
    local kind, values = redis.call('TYPE', key).ok, {}
    if kind == 'string' then
        values = {redis.call('GET', key)}
    elseif kind == 'zset' then
        values = redis.call('ZRANGEBYSCORE', key, '(' .. now, '+inf')
    end
    for _, value in ipairs(values) do
        table.insert(found, number - 1)
        table.insert(found, value)
    end
end
return found";

/// The values of the keys that exist on the given nodes.
pub(crate) async fn values(
    arena: &Arc<Arena>,
    of: Vec<usize>,
    keys: Vec<String>,
) -> Result<Vec<Sight>, String> {
    blocking(arena, move |nodes| {
        let count = keys.len().to_string();
        let command: Vec<&str> =
            ["EVAL", VALUES, &count].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let mut found = Vec::new();
        for node in of {
            let values = match nodes.ask(node, &command)? {
                Reply::Array(values) => values,
                Reply::Error(text) => {
                    return Err(ClusterError::Refused { node, command: "EVAL".to_owned(), text });
                }
                Reply::Nil | Reply::Int(_) | Reply::Simple(_) | Reply::Bulk(_) => Vec::new(),
            };
            for pair in values.chunks_exact(2) {
                if let [Reply::Int(key), Reply::Bulk(value)] = pair {
                    let key = usize::try_from(*key).unwrap_or(usize::MAX);
                    found.push(Sight { node, key, value: value.clone() });
                }
            }
        }
        Ok::<_, ClusterError>(found)
    })
    .await
}

/// A key with its value, observed on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) node: usize,
    /// Index in the list of keys.
    pub(crate) key: usize,
    pub(crate) value: String,
}

fn start_local(scenario: &Scenario) -> Result<LocalCluster, ClusterError> {
    let durability = match scenario.durability {
        scenario::Durability::Always => Durability::Always,
        scenario::Durability::Volatile => Durability::Volatile,
    };
    let builder = LocalCluster::builder().nodes(scenario.nodes.len()).durability(durability);
    let is_clock =
        |nemesis: &Nemesis| matches!(nemesis, Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. });
    if !nemeses(scenario).any(|nemesis| is_clock(&nemesis)) {
        return builder.start();
    }
    match builder.clone().adjustable_clocks().start() {
        // A scheduled fault of a clock is rejected later, with a reason that names the fault.
        Err(ClusterError::ClocksNotAdjustable { .. }) if scenario.random.is_some() => builder.start(),
        started => started,
    }
}

/// All faults of nodes in a scenario that are played.
fn nemeses(scenario: &Scenario) -> impl Iterator<Item = Nemesis> {
    let random = scenario.random.iter().flat_map(|random| random.faults.iter().map(|(_, fault)| fault));
    let played = scenario.faults.iter().chain(random).filter(|fault| !scenario.leaves_out(fault.name));
    played.filter_map(|fault| match &fault.harm {
        Harm::Node(nemesis) => Some(nemesis.clone()),
        Harm::Way { link, .. } => Some(Nemesis::Link { from: redlock_testing::Clients::One(0), link: *link }),
        Harm::Client(_) => None,
    })
}

/// The fault and its victim as a sentence without a full stop, with the operator's name for the victim and the
/// scenario's word for the fault.
pub(crate) fn describe(log: &Log, act: &Act, name: &str) -> String {
    let what = match act {
        Act::Node { nemesis, .. } => nemesis.to_string(),
        Act::Client { fault: ClientFault::Pause, .. } => "paused".to_owned(),
        Act::Client { fault: ClientFault::Kill, .. } => "killed".to_owned(),
    };
    format!("{} {what} ({name})", victim(log, act))
}

pub(crate) fn victim(log: &Log, act: &Act) -> String {
    match act {
        Act::Node { node, .. } => log.node_name(*node),
        Act::Client { client, .. } => format!("client {client}"),
    }
}
