//! A cluster of independent masters on this machine.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::builder::LocalClusterBuilder;
use super::clock::Clocks;
use super::error::ClusterError;
use super::nemesis::{ClockStep, Memory};
use super::resp::{self, Reply};
use super::server::{Data, NodeState, Ports, Server, Setup, address};

/// The most nodes of a cluster. Each node is a process of about 10 MB; more than this tests the machine, not the lock.
pub const MAX_NODES: usize = 64;

/// Most other ports that a node tries when another program takes its port between reservation and start.
const OTHER_PORTS: u32 = 5;

/// Time after which a server has read its changed clock. Valkey 9 reads the clock once a millisecond, and advances by
/// the processor's counter in between. Nothing shows whether the server has read the clock.
const CLOCK_KEPT: Duration = Duration::from_millis(2);

/// Beginning of the library's internal keys.
const INTERNAL_PREFIX: &str = "redlock-quorum:";

/// Beginning of the keys of a semaphore's slots, which are locks.
const SLOT_PREFIX: &str = "redlock-quorum:slot:";

/// Key of the node's record; see `src/node/scripts/greet.lua`.
const RECORD: &str = "redlock-quorum:node";

/// Real `redis-server` (or `valkey-server`) processes on ports of 127.0.0.1. Each is an independent master with its own
/// files in one temporary directory, which is in memory where there is room.
///
/// The nodes are numbered from 0. All methods take `&self` and may be called by several threads; changes of one node
/// run one after the other. The methods block: most for a few milliseconds, [`restart`](Self::restart) for tens of
/// milliseconds, and [`command`](Self::command) for up to its time limit when a node is paused. A node keeps its port,
/// and so its URL, for the life of the cluster.
///
/// Drop kills all processes and removes the directory. When this process ends without unwinding (killed, aborted,
/// interrupted), a small helper process does so.
///
/// # Defaults
///
/// - every answered write survives a kill ([`Durability::Always`](super::Durability::Always))
/// - the nodes are declared new, so that their votes count at once; not with
///   [`undeclared`](LocalClusterBuilder::undeclared). After [`Data::Lost`] a node is in quarantine
/// - `maxmemory-policy noeviction`, no snapshots (`save ""`)
/// - the server: `REDIS_SERVER` (a path or a name on `PATH`), else `redis-server`, else `valkey-server`
///
/// # Panics
///
/// Methods that take the number of a node panic, as indexing does, when there is no such node.
#[derive(Debug)]
#[must_use = "the servers end when the cluster is dropped"]
pub struct LocalCluster {
    nodes: Vec<Mutex<Server>>,
    ports: Vec<u16>,
    control_ports: Vec<u16>,
    command_timeout: Duration,
    memory: Memory,
    // The directory is dropped before `setup`, and after the processes, so that the helper finds nothing left to do.
    directory: TempDir,
    setup: Setup,
}

impl LocalCluster {
    /// Starts `nodes` servers with the defaults and waits until each answers.
    ///
    /// # Errors
    ///
    /// As [`LocalClusterBuilder::start`].
    pub fn start(nodes: usize) -> Result<Self, ClusterError> {
        Self::builder().nodes(nodes).start()
    }

    /// The options of a cluster, at first 3 nodes with the defaults.
    pub fn builder() -> LocalClusterBuilder {
        LocalClusterBuilder::new()
    }

    pub(super) fn launch(
        nodes: usize,
        directory: TempDir,
        setup: Setup,
        command_timeout: Duration,
    ) -> Result<Self, ClusterError> {
        let mut cluster = Self {
            nodes: Vec::new(),
            ports: Vec::new(),
            control_ports: Vec::new(),
            memory: Memory::default(),
            directory,
            setup,
            command_timeout,
        };
        // All servers are started before any is waited for. After an error, Drop of the cluster ends those that run.
        for node in 0..nodes {
            let mut server = Server::new(node, cluster.directory.path(), cluster.setup.ports)?;
            server.launch(&cluster.setup)?;
            cluster.nodes.push(Mutex::new(server));
        }
        for node in 0..nodes {
            let mut server = cluster.server(node);
            server.await_answer(&cluster.setup, OTHER_PORTS)?;
            let (port, control) = (server.port(), server.control_port());
            drop(server);
            cluster.ports.push(port);
            cluster.control_ports.push(control);
        }
        Ok(cluster)
    }

    /// Declares every node new. A node whose directives forbid writes stays undeclared.
    pub(super) fn declare(&self) -> Result<(), ClusterError> {
        for node in 0..self.len() {
            self.command(node, &["HSET", RECORD, "declared", "1"])?;
        }
        Ok(())
    }

    /// The URLs of all nodes, in their order: `redis://127.0.0.1:PORT`, or `rediss://` with TLS. A URL has no password,
    /// even if a directive sets one.
    pub fn urls(&self) -> Vec<String> {
        (0..self.len()).map(|node| self.url(node)).collect()
    }

    /// The URL of one node.
    pub fn url(&self, node: usize) -> String {
        let scheme = match self.setup.ports {
            Ports::Plain => "redis",
            Ports::Tls => "rediss",
        };
        format!("{scheme}://127.0.0.1:{}", self.port(node))
    }

    /// The port of one node.
    pub fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// The number of nodes, whatever their state.
    #[expect(clippy::len_without_is_empty, reason = "a cluster is never empty")]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// The process id of a node; `None` when the node is stopped.
    pub fn pid(&self, node: usize) -> Option<u32> {
        let mut server = self.server(node);
        match server.state(&self.setup) {
            NodeState::Running | NodeState::Paused => server.pid(),
            NodeState::Stopped => None,
        }
    }

    /// The directory with the files of all nodes: `node-0/redis.conf`, `node-0/server.log`, `node-0/data` and so on.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The state of a node's process. A process that ended by itself is [`NodeState::Stopped`].
    pub fn state(&self, node: usize) -> NodeState {
        self.server(node).state(&self.setup)
    }

    /// Kills a node (SIGKILL), running or paused, and waits until its process is gone: its connections are then closed
    /// and new ones are refused. Does nothing when the node is stopped.
    ///
    /// # Errors
    ///
    /// [`ClusterError::System`].
    pub fn kill(&self, node: usize) -> Result<(), ClusterError> {
        self.server(node).kill(&self.setup)
    }

    /// Starts a node again on its port and waits until it answers. A node that is not stopped is killed first.
    ///
    /// # Errors
    ///
    /// [`ClusterError::StartFailed`], [`ClusterError::System`]; after an error the node is stopped.
    pub fn restart(&self, node: usize, data: Data) -> Result<(), ClusterError> {
        let mut server = self.server(node);
        server.kill(&self.setup)?;
        match data {
            Data::Kept => {}
            Data::Lost => server.lose_data()?,
        }
        server.launch(&self.setup)?;
        // No other port is tried, because the port is part of the node's URL.
        server.await_answer(&self.setup, 0)
    }

    /// Pauses a node (SIGSTOP), as if its machine hung. Commands that arrive meanwhile are executed after
    /// [`resume`](Self::resume). Returns once the process has stopped. Does nothing when the node is already paused.
    ///
    /// # Errors
    ///
    /// [`ClusterError::WrongState`] when the node is stopped; [`ClusterError::System`].
    pub fn pause(&self, node: usize) -> Result<(), ClusterError> {
        self.server(node).pause(&self.setup)
    }

    /// Resumes a paused node (SIGCONT). Does nothing when the node runs.
    ///
    /// # Errors
    ///
    /// [`ClusterError::WrongState`] when the node is stopped; [`ClusterError::System`].
    pub fn resume(&self, node: usize) -> Result<(), ClusterError> {
        self.server(node).resume(&self.setup)
    }

    /// Steps a node's wall clock. Other nodes and the machine keep their time. Returns when the node has read the new
    /// time.
    ///
    /// # Errors
    ///
    /// [`ClusterError::ClocksNotAdjustable`] when the cluster was started without
    /// [`adjustable_clocks`](LocalClusterBuilder::adjustable_clocks); [`ClusterError::System`].
    pub fn step_clock(&self, node: usize, step: ClockStep) -> Result<(), ClusterError> {
        self.adjustable()?;
        self.server(node).clock().step(step)?;
        std::thread::sleep(CLOCK_KEPT);
        Ok(())
    }

    /// Makes a node's wall clock run fast by `ppm` parts per million, or slow for a negative number; 0 restores the
    /// right rate. The time that the clock has gained or lost remains.
    ///
    /// # Errors
    ///
    /// As [`step_clock`](Self::step_clock).
    pub fn set_clock_rate(&self, node: usize, ppm: i32) -> Result<(), ClusterError> {
        self.adjustable()?;
        self.server(node).clock().set_rate(ppm)?;
        std::thread::sleep(CLOCK_KEPT);
        Ok(())
    }

    /// Checks that the servers have loaded the clock library. A statically linked server ignores the preload silently.
    pub(super) fn check_clocks(&self) -> Result<(), ClusterError> {
        let loaded = |pid: u32| self.setup.clocks.are_loaded_by(pid);
        if !self.has_adjustable_clocks() || (0..self.len()).filter_map(|node| self.pid(node)).all(loaded) {
            return Ok(());
        }
        let reason = "this server loads no library before it".to_owned();
        Err(ClusterError::ClocksNotAdjustable { reason })
    }

    pub(super) fn has_adjustable_clocks(&self) -> bool {
        matches!(self.setup.clocks, Clocks::Adjustable { .. })
    }

    fn adjustable(&self) -> Result<(), ClusterError> {
        if self.has_adjustable_clocks() {
            return Ok(());
        }
        let reason = "this cluster was started without adjustable clocks".to_owned();
        Err(ClusterError::ClocksNotAdjustable { reason })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Sends one command to a node over a new connection and returns the answer, which may be an error of the server. A
    /// password set by the directive `requirepass` is used.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoAnswer`] after the time limit (5 s unless the builder sets another),
    /// [`ClusterError::Unreachable`] when the node is stopped, [`ClusterError::BadReply`].
    pub fn command(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        let (port, limit) = (self.control_ports[node], self.command_timeout);
        let reply = resp::call(address(port), self.setup.password.as_deref(), arguments, limit);
        reply.map_err(|source| {
            if source.kind() == io::ErrorKind::TimedOut {
                ClusterError::NoAnswer { node, port, limit }
            } else if source.kind() == io::ErrorKind::InvalidData {
                ClusterError::BadReply { node, port, source }
            } else {
                ClusterError::Unreachable { node, port, source }
            }
        })
    }

    /// The keys on a node in alphabetical order, without the library's internal keys (`redlock-quorum:…`). Slots of
    /// semaphores are locks, and are among them.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command); [`ClusterError::BadReply`] also when the server refuses `KEYS`.
    pub fn keys(&self, node: usize) -> Result<Vec<String>, ClusterError> {
        let reply = self.command(node, &["KEYS", "*"])?;
        let Reply::Array(keys) = reply else {
            let source =
                io::Error::new(io::ErrorKind::InvalidData, format!("{reply:?} instead of a list of keys"));
            return Err(ClusterError::BadReply { node, port: self.port(node), source });
        };
        let mut keys: Vec<String> = keys
            .iter()
            .filter_map(Reply::text)
            .filter(|key| !key.starts_with(INTERNAL_PREFIX) || key.starts_with(SLOT_PREFIX))
            .map(str::to_owned)
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// Locks a node. Poison is ignored, because a thread that panicked left nothing half done: each change is one
    /// value.
    fn server(&self, node: usize) -> MutexGuard<'_, Server> {
        self.nodes[node].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Drop cannot return an error; the helper process tries again.
            let _ = node.get_mut().unwrap_or_else(PoisonError::into_inner).kill(&self.setup);
        }
    }
}
