//! The options of a local cluster, and its start.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::binary;
use super::clock::Clocks;
use super::cluster::{LocalCluster, MAX_NODES};
use super::error::ClusterError;
use super::reaper::Reaper;
use super::server::{Durability, Ports, Setup};

/// The smallest cluster that tolerates the failure of a node.
const NODES: usize = 3;

/// Default time limit of a command: far longer than a server needs, but short enough for tests of a paused node.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Directory in memory, where `appendfsync always` takes no time and wears no disk.
const MEMORY: &str = "/dev/shm";

/// Space for the files of one node: an AOF is rewritten from 64 MB on, and there are two AOFs during the rewrite. A
/// smaller memory-backed directory (containers often get 64 MB) is not used, because a server exits when it cannot
/// write its AOF.
const ROOM_PER_NODE: u64 = 160 * 1024 * 1024;

/// The options of a [`LocalCluster`]; [`LocalCluster::builder`] makes one.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before start()"]
pub struct LocalClusterBuilder {
    nodes: usize,
    durability: Durability,
    directives: Vec<(String, String)>,
    server: Option<PathBuf>,
    tls: Option<TlsFiles>,
    command_timeout: Duration,
    record: Record,
    clocks: WantedClocks,
}

/// The clock that the servers are to read.
#[derive(Debug, Clone, Copy)]
enum WantedClocks {
    Machine,
    Adjustable,
}

/// The record of a new node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// The node is declared new: nobody can hold a lock on it.
    Declared,
    Absent,
}

impl LocalClusterBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: NODES,
            durability: Durability::default(),
            directives: Vec::new(),
            server: None,
            tls: None,
            command_timeout: COMMAND_TIMEOUT,
            record: Record::Declared,
            clocks: WantedClocks::Machine,
        }
    }

    /// The number of nodes, 1 to [`MAX_NODES`]; 3 by default.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// The writes that survive the death of a node; all of them by default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Adds a line `key value` to redis.conf of every node. Of several lines with one key, the last counts. The value
    /// is taken as it is, so a value that contains blanks must be quoted. With `port`, `bind` or `dir` the cluster does
    /// not start.
    pub fn directive(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        self.directives.push((key.into(), value.to_string()));
        self
    }

    /// The server program, as a path or a name on `PATH`, instead of the default.
    pub fn server(mut self, program: impl Into<PathBuf>) -> Self {
        self.server = Some(program.into());
        self
    }

    /// TLS on the nodes' ports, with these files; the URLs are then `rediss://127.0.0.1:PORT`. The nodes require a
    /// client certificate signed by the same CA, which is Redis's default, unless the directive `tls-auth-clients no`
    /// is given. [`LocalCluster::command`] uses another port, without TLS.
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// The time limit of [`LocalCluster::command`], connecting included; 5 s by default.
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.command_timeout = limit;
        self
    }

    /// Gives each server its own wall clock, for [`LocalCluster::step_clock`] and [`LocalCluster::set_clock_rate`]. A
    /// small library is compiled (by `CC`, or `cc`) and preloaded into the server. Linux only. By default the servers
    /// read the machine's clock.
    pub fn adjustable_clocks(mut self) -> Self {
        self.clocks = WantedClocks::Adjustable;
        self
    }

    /// Does not declare the nodes new, which `redlock init` does for other nodes. The nodes are then in quarantine
    /// until they have run for longer than any lock lasts.
    pub fn undeclared(mut self) -> Self {
        self.record = Record::Absent;
        self
    }

    /// Starts the servers, waits until each answers, and declares them new.
    ///
    /// # Errors
    ///
    /// [`ClusterError::ServerNotFound`], [`ClusterError::NodeCount`], [`ClusterError::InvalidDirective`],
    /// [`ClusterError::ClocksNotAdjustable`], [`ClusterError::NoFreePort`], [`ClusterError::StartFailed`] with the end
    /// of the server's log, [`ClusterError::System`]. After an error no server is left running.
    pub fn start(self) -> Result<LocalCluster, ClusterError> {
        let Self { nodes: count, durability, directives, server, tls, command_timeout, record, clocks } =
            self;
        if !(1..=MAX_NODES).contains(&count) {
            return Err(ClusterError::NodeCount { asked: count });
        }
        let binary = match server {
            Some(program) => binary::named(&program)?,
            None => binary::find()?,
        };
        let password = directives.iter().rfind(|(key, _)| key.eq_ignore_ascii_case("requirepass"));
        let password = password.map(|(_, value)| value.trim_matches('"').to_owned());
        let directives = configuration(durability, tls.as_ref(), &directives)?;
        let directory = temporary_directory(count)?;
        let reaper = Reaper::start(directory.path())?;
        let clocks = match clocks {
            WantedClocks::Machine => Clocks::Machine,
            WantedClocks::Adjustable => Clocks::adjustable(directory.path())?,
        };
        let ports = if tls.is_some() { Ports::Tls } else { Ports::Plain };
        let setup = Setup { binary, ports, directives, password, reaper, clocks };
        let cluster = LocalCluster::launch(count, directory, setup, command_timeout)?;
        cluster.check_clocks()?;
        match record {
            Record::Declared => cluster.declare()?,
            Record::Absent => {}
        }
        Ok(cluster)
    }
}

/// PEM files of a TLS server. The paths are made absolute, because each server is started in its own directory.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, and the certificates between it and the CA.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The CA that signs the certificates of clients.
    pub ca: PathBuf,
}

fn configuration(
    durability: Durability,
    tls: Option<&TlsFiles>,
    additional: &[(String, String)],
) -> Result<String, ClusterError> {
    let mut lines = String::from(
        "bind 127.0.0.1\ndaemonize no\ndir data\nlogfile \"\"\nsave \"\"\nmaxmemory-policy noeviction\n",
    );
    lines.push_str(match durability {
        Durability::Always => "appendonly yes\nappendfsync always\n",
        Durability::Volatile => "appendonly no\n",
    });
    let tls = tls.iter().flat_map(|TlsFiles { certificate, key, ca }| {
        [("tls-cert-file", certificate), ("tls-key-file", key), ("tls-ca-cert-file", ca)]
    });
    for (directive, path) in tls {
        lines.push_str(&format!("{directive} {}\n", quoted(path)));
    }
    for (key, value) in additional {
        if key.is_empty() || key.contains(char::is_whitespace) || value.contains(['\n', '\r', '\0']) {
            return Err(ClusterError::InvalidDirective { key: key.clone() });
        }
        lines.push_str(&format!("{key} {value}\n"));
    }
    Ok(lines)
}

fn quoted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    format!("{:?}", path.display().to_string())
}

/// A directory in memory if that is writable and has enough room, else in the system's temporary directory.
fn temporary_directory(nodes: usize) -> Result<TempDir, ClusterError> {
    let mut options = tempfile::Builder::new();
    options.prefix("redlock-cluster-");
    let room =
        rustix::fs::statvfs(MEMORY).map_or(0, |memory| memory.f_bavail.saturating_mul(memory.f_frsize));
    if room >= ROOM_PER_NODE * nodes as u64
        && let Ok(directory) = options.tempdir_in(MEMORY)
    {
        return Ok(directory);
    }
    options.tempdir().map_err(|source| ClusterError::System {
        action: "create a directory in",
        path: std::env::temp_dir(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_one_line() {
        let table = [
            (("maxclients", "100"), true),
            (("user", "alice on >secret ~* +@all"), true),
            (("", "1"), false),
            (("two words", "1"), false),
            (("key\n", "1"), false),
            (("maxclients", "100\nport 1"), false),
        ];
        for ((key, value), accepted) in table {
            let result = configuration(Durability::Always, None, &[(key.into(), value.into())]);
            assert_eq!(result.is_ok(), accepted, "{key:?} {value:?}");
        }
    }

    #[test]
    fn durability_decides_what_is_written() {
        assert!(configuration(Durability::Always, None, &[]).unwrap().contains("appendfsync always"));
        assert!(configuration(Durability::Volatile, None, &[]).unwrap().contains("appendonly no"));
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        for asked in [0, MAX_NODES + 1, usize::MAX] {
            let text = LocalCluster::start(asked).unwrap_err().to_string();
            assert!(text.contains("1 to 64") && text.contains(&asked.to_string()), "{text}");
        }
    }
}
