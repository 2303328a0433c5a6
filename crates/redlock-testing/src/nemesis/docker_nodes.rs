//! Nodes that are docker containers.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::error::ClusterError;
use super::super::resp::{self, Reply};
use super::super::server::Data;
use super::super::wait::poll;
use super::local_nodes::Told as _;
use super::memory::Memory;
use super::remote_nodes::no_reply;
use super::{Nemesis, NemesisError, Nodes, Refusal};

/// The port of the server in its container.
const PORT: u16 = 6379;
/// Time limit of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit until a container's server answers. Docker needs a second on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Time limit of one question to a server that starts.
const LOOK_LIMIT: Duration = Duration::from_millis(250);
/// Advice when there is no such container.
const HINT: &str = "`make docker-up` in a checkout of redlock-quorum starts five";
/// Name of the container that empties the volume of a stopped one.
const WIPER: &str = "redlock-wiper";

/// Masters in existing containers, each with its own address on one network. `make docker-up` makes five, with the
/// names [`STANDARD`](Self::STANDARD). Needs the `docker` command and the right to use it, and a machine that reaches
/// the containers' addresses, as Linux does.
///
/// The containers are used as they are, and left running.
#[derive(Debug)]
pub struct DockerNodes {
    containers: Vec<Container>,
    memory: Memory,
}

#[derive(Debug)]
struct Container {
    name: String,
    image: String,
    network: String,
    address: IpAddr,
}

impl DockerNodes {
    /// The names of the durable containers in `docker/compose.yaml`.
    pub const STANDARD: [&str; 5] =
        ["redlock-node-1", "redlock-node-2", "redlock-node-3", "redlock-node-4", "redlock-node-5"];

    /// Finds running containers by their names.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Docker`] with docker's message: there is no docker, no such container, or the container is not
    /// running in its own network.
    pub fn attach<I>(names: I) -> Result<Self, ClusterError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let containers =
            names.into_iter().map(|name| Container::find(name.into())).collect::<Result<_, _>>()?;
        Ok(Self { containers, memory: Memory::default() })
    }

    fn address(&self, node: usize) -> SocketAddr {
        (self.containers[node].address, PORT).into()
    }

    /// Starts a stopped container and waits until its server answers.
    fn start(&self, node: usize, data: Data) -> Result<(), ClusterError> {
        let container = &self.containers[node];
        match data {
            Data::Kept => {}
            Data::Lost => container.lose_data()?,
        }
        docker(&["start", &container.name])?;
        self.await_answer(node)
    }

    fn await_answer(&self, node: usize) -> Result<(), ClusterError> {
        let address = self.address(node);
        let answered = poll(START_LIMIT, || {
            let reply = resp::call(address, None, &["PING"], LOOK_LIMIT);
            Ok::<_, ClusterError>(matches!(reply, Ok(Reply::Simple(_))).then_some(()))
        })?;
        answered.ok_or(ClusterError::NoAnswer { node, port: PORT, limit: START_LIMIT })
    }
}

impl Nodes for DockerNodes {
    fn count(&self) -> usize {
        self.containers.len()
    }

    fn node_url(&self, node: usize) -> String {
        match self.containers[node].address {
            IpAddr::V4(address) => format!("redis://{address}:{PORT}"),
            IpAddr::V6(address) => format!("redis://[{address}]:{PORT}"),
        }
    }

    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal> {
        match nemesis {
            Nemesis::Link { .. } => Err(Refusal::NoProxy),
            Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. } => Err(Refusal::HostClock),
            Nemesis::Kill { .. }
            | Nemesis::Restart { .. }
            | Nemesis::Pause
            | Nemesis::Cut
            | Nemesis::MemoryFull
            | Nemesis::FlushAll
            | Nemesis::ScriptFlush => Ok(()),
        }
    }

    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))?;
        let Container { name, network, .. } = &self.containers[node];
        match nemesis {
            Nemesis::Kill { data: _ } => docker(&["kill", name])?,
            Nemesis::Restart { data } => {
                docker(&["kill", name])?;
                return Ok(self.start(node, *data)?);
            }
            Nemesis::Pause => docker(&["pause", name])?,
            Nemesis::Cut => docker(&["network", "disconnect", network, name])?,
            Nemesis::MemoryFull => return Ok(self.memory.fill(self, node)?),
            Nemesis::FlushAll => return Ok(self.tell(node, &["FLUSHALL"])?),
            Nemesis::ScriptFlush => return Ok(self.tell(node, &["SCRIPT", "FLUSH"])?),
            Nemesis::Link { .. } | Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. } => return Ok(()),
        };
        Ok(())
    }

    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))?;
        let Container { name, network, address, .. } = &self.containers[node];
        match nemesis {
            Nemesis::Kill { data } => self.start(node, *data)?,
            Nemesis::Pause => {
                docker(&["unpause", name])?;
            }
            Nemesis::Cut => {
                docker(&["network", "connect", "--ip", &address.to_string(), network, name])?;
                self.await_answer(node)?;
            }
            Nemesis::MemoryFull => self.memory.free(self, node)?,
            Nemesis::Restart { .. }
            | Nemesis::FlushAll
            | Nemesis::ScriptFlush
            | Nemesis::Link { .. }
            | Nemesis::ClockStep { .. }
            | Nemesis::ClockRate { .. } => {}
        }
        Ok(())
    }

    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        let reply = resp::call(self.address(node), None, arguments, COMMAND_TIMEOUT);
        reply.map_err(|source| no_reply(node, PORT, COMMAND_TIMEOUT, source))
    }
}

impl Container {
    fn find(name: String) -> Result<Self, ClusterError> {
        const WANTED: &str = "{{.Config.Image}}{{range $network, $end := .NetworkSettings.Networks}} \
                              {{$network}} {{$end.IPAddress}}{{end}}";
        let arguments = ["inspect", "--type", "container", "--format", WANTED, &name];
        let hinted = |detail: String| ClusterError::Docker {
            command: format!("docker inspect {name}"),
            detail: format!("{detail}; {HINT}"),
        };
        let found = run(&arguments).map_err(hinted)?;
        let words: Vec<&str> = found.split_whitespace().collect();
        let parsed = match words.as_slice() {
            [image, network, address, ..] => {
                address.parse().ok().map(|address| ((*image).to_owned(), (*network).to_owned(), address))
            }
            _ => None,
        };
        let Some((image, network, address)) = parsed else {
            return Err(hinted("it has no address on a network, so it is not running".to_owned()));
        };
        Ok(Self { name, image, network, address })
    }

    /// Empties the volume of a stopped container with a second server on that volume, which nobody can reach. The image
    /// may have no shell for the task, and the node itself must never be seen empty without a restart.
    fn lose_data(&self) -> Result<(), ClusterError> {
        let wiper = format!("{WIPER}-{}", self.name);
        let server = ["redis-server", "--dir", "/data", "--appendonly", "yes", "--save", ""];
        // The wiper runs as the node's user, because the node must be able to write the files that the wiper leaves.
        let user = docker(&["inspect", "--format", "{{.Config.User}}", &self.name])?;
        let run = ["run", "--detach", "--rm", "--network", "none", "--volumes-from", &self.name];
        let named = ["--user", user.trim(), "--name", &wiper, &self.image];
        docker(&[&run[..], &named[..], &server[..]].concat())?;
        let wiped = poll(START_LIMIT, || {
            let flushed = docker(&["exec", &wiper, "redis-cli", "FLUSHALL"]);
            Ok::<_, ClusterError>(flushed.ok().filter(|answer| answer.trim() == "OK"))
        });
        // The wiper must not stay, whatever happened.
        let removed = docker(&["rm", "--force", &wiper]);
        let detail = || format!("{} could not be emptied within {START_LIMIT:?}", self.name);
        wiped?.ok_or_else(|| ClusterError::Docker {
            command: "redis-cli FLUSHALL".to_owned(),
            detail: detail(),
        })?;
        removed.map(drop)
    }
}

/// Runs docker to its end and returns what it printed.
fn docker(arguments: &[&str]) -> Result<String, ClusterError> {
    run(arguments)
        .map_err(|detail| ClusterError::Docker { command: format!("docker {}", arguments.join(" ")), detail })
}

/// As [`docker`], but an error is docker's message alone.
fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
