//! One server process: its files, its signals, its state.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::clock::{Clock, Clocks};
use super::error::ClusterError;
use super::port::ReservedPort;
use super::reaper::Reaper;
use super::resp::{self, Reply};
use super::wait::poll;

/// Time limit of a start. A server needs about 20 ms, but more on a busy machine or with a large AOF.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Time limit of one question to a server that starts. The question is repeated until [`START_LIMIT`].
const LOOK_LIMIT: Duration = Duration::from_millis(250);

/// Time limit for a signal to stop a process, which happens at the end of a system call.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Number of last log lines in an error, which contain the reason.
const LOG_TAIL_LINES: usize = 20;

const CONFIGURATION: &str = "redis.conf";
const LOG: &str = "server.log";
const DATA: &str = "data";

/// Whether a restarted node still has its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// The node has all that it had written to disk: everything with [`Durability::Always`], nothing with
    /// [`Durability::Volatile`].
    Kept,
    /// The node has nothing, because its files are removed, as if the machine had been replaced.
    Lost,
}

/// The writes that survive the death of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// All answered writes: `appendonly yes`, `appendfsync always`.
    #[default]
    Always,
    /// No write, because no file is written.
    Volatile,
}

/// The state of a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// The process runs and answers.
    Running,
    /// The process is stopped by a signal. Its connections stay, the kernel accepts new ones, and nothing is answered.
    Paused,
    /// There is no process; the port refuses connections.
    Stopped,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The settings that all servers of a cluster share.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) binary: PathBuf,
    pub(super) ports: Ports,
    /// The lines of redis.conf, except for the ports.
    pub(super) directives: String,
    pub(super) password: Option<String>,
    pub(super) reaper: Reaper,
    pub(super) clocks: Clocks,
}

/// The ports of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// One port.
    Plain,
    /// One port with TLS, and another port without TLS for the cluster's own commands.
    Tls,
}

#[derive(Debug)]
pub(super) struct Server {
    node: usize,
    directory: PathBuf,
    port: ReservedPort,
    clock: Clock,
    /// The port for the cluster's own commands, if that is not `port`.
    control: Option<ReservedPort>,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Running(Child),
    Paused(Child),
    Stopped,
}

impl Server {
    /// Reserves a port and creates the directories; starts nothing.
    pub(super) fn new(node: usize, cluster: &Path, ports: Ports) -> Result<Self, ClusterError> {
        let directory = cluster.join(format!("node-{node}"));
        create(&directory)?;
        create(&directory.join(DATA))?;
        let clock = Clock::new(&directory)?;
        let control = match ports {
            Ports::Plain => None,
            Ports::Tls => Some(ReservedPort::take()?),
        };
        Ok(Self { node, directory, port: ReservedPort::take()?, clock, control, process: Process::Stopped })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port for the cluster's own commands, never with TLS.
    pub(super) fn control_port(&self) -> u16 {
        self.control.as_ref().map_or(self.port(), ReservedPort::number)
    }

    pub(super) fn state(&mut self, setup: &Setup) -> NodeState {
        let (child, state) = match &mut self.process {
            Process::Running(child) => (child, NodeState::Running),
            Process::Paused(child) => (child, NodeState::Paused),
            Process::Stopped => return NodeState::Stopped,
        };
        if !has_ended(child) {
            return state;
        }
        setup.reaper.ended(child.id());
        self.process = Process::Stopped;
        NodeState::Stopped
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Running(child) | Process::Paused(child) => Some(child.id()),
            Process::Stopped => None,
        }
    }

    /// Starts the process and returns at once. [`await_answer`](Self::await_answer) must follow.
    pub(super) fn launch(&mut self, setup: &Setup) -> Result<(), ClusterError> {
        let configuration = self.directory.join(CONFIGURATION);
        let ports = match setup.ports {
            Ports::Plain => format!("port {}\n", self.port()),
            Ports::Tls => format!("port {}\ntls-port {}\n", self.control_port(), self.port()),
        };
        fs::write(&configuration, format!("{ports}{}", setup.directives))
            .map_err(|source| system("write", &configuration, source))?;
        let log = self.log().map_err(|source| system("open", &self.directory.join(LOG), source))?;
        let errors = log.try_clone().map_err(|source| system("open", &self.directory.join(LOG), source))?;
        let mut command = Command::new(&setup.binary);
        setup.clocks.lend(&mut command, &self.clock);
        let child = command
            .arg(CONFIGURATION)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // A group of its own, so that an interrupt from the terminal reaches only the tests, which then clean up.
            .process_group(0)
            .spawn()
            .map_err(|source| system("run", &setup.binary, source))?;
        setup.reaper.started(child.id());
        self.process = Process::Running(child);
        Ok(())
    }

    /// Waits until the server answers. When its port was taken between reservation and start, starts the server again
    /// on another port, up to `other_ports` times.
    pub(super) fn await_answer(&mut self, setup: &Setup, other_ports: u32) -> Result<(), ClusterError> {
        let failure = match poll(START_LIMIT, || self.look(setup))? {
            Some(Start::Answered) => return Ok(()),
            Some(Start::Ended(status)) => format!("it ended with {status}"),
            None => format!("it did not answer within {START_LIMIT:?}"),
        };
        self.kill(setup)?;
        let log = self.log_tail();
        if other_ports > 0 && log.contains("Address already in use") {
            self.port = ReservedPort::take()?;
            self.control = self.control.as_ref().map(|_| ReservedPort::take()).transpose()?;
            self.launch(setup)?;
            return self.await_answer(setup, other_ports - 1);
        }
        Err(ClusterError::StartFailed { node: self.node, port: self.port(), reason: failure, log })
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends SIGKILL and waits for the end of the process. Does nothing when the server is stopped.
    pub(super) fn kill(&mut self, setup: &Setup) -> Result<(), ClusterError> {
        match std::mem::replace(&mut self.process, Process::Stopped) {
            Process::Stopped => Ok(()),
            Process::Running(mut child) | Process::Paused(mut child) => {
                // The group includes children that rewrite its files. An error means that the process has ended by
                // itself.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                child.wait().map_err(|source| system("await the end of", &setup.binary, source))?;
                setup.reaper.ended(child.id());
                Ok(())
            }
        }
    }

    /// Sends SIGSTOP, and returns when it has taken effect.
    pub(super) fn pause(&mut self, setup: &Setup) -> Result<(), ClusterError> {
        match self.state(setup) {
            NodeState::Paused => return Ok(()),
            NodeState::Stopped => return Err(self.wrong_state("paused")),
            NodeState::Running => {}
        }
        let Process::Running(child) = std::mem::replace(&mut self.process, Process::Stopped) else {
            unreachable!("state() has just said that it runs");
        };
        let stopped = stop(Pid::from_child(&child));
        // Also after an error, so that the process is killed at the end like any other.
        self.process = Process::Paused(child);
        stopped.map_err(|source| system("pause", &setup.binary, source))
    }

    /// Sends SIGCONT.
    pub(super) fn resume(&mut self, setup: &Setup) -> Result<(), ClusterError> {
        match self.state(setup) {
            NodeState::Running => return Ok(()),
            NodeState::Stopped => return Err(self.wrong_state("resumed")),
            NodeState::Paused => {}
        }
        let Process::Paused(child) = std::mem::replace(&mut self.process, Process::Stopped) else {
            unreachable!("state() has just said that it is paused");
        };
        let resumed = kill_process_group(Pid::from_child(&child), Signal::CONT);
        self.process = Process::Running(child);
        resumed.map_err(|source| system("resume", &setup.binary, source.into()))
    }

    /// Removes all data of a stopped server.
    pub(super) fn lose_data(&self) -> Result<(), ClusterError> {
        let data = self.directory.join(DATA);
        fs::remove_dir_all(&data).map_err(|source| system("remove", &data, source))?;
        create(&data)
    }

    /// Checks once whether a starting server answers or has ended; `None` while it loads its data.
    fn look(&mut self, setup: &Setup) -> Result<Option<Start>, ClusterError> {
        let Process::Running(child) = &mut self.process else {
            return Err(self.wrong_state("waited for"));
        };
        if let Some(status) = child.try_wait().map_err(|source| system("look at", &setup.binary, source))? {
            return Ok(Some(Start::Ended(status)));
        }
        let pid = child.id();
        let ask = |command: &[&str]| {
            resp::call(address(self.control_port()), setup.password.as_deref(), command, LOOK_LIMIT)
        };
        let loaded = match ask(&["PING"]) {
            Ok(Reply::Error(text)) => !text.starts_with("LOADING"),
            Ok(Reply::Nil | Reply::Int(_) | Reply::Simple(_) | Reply::Bulk(_) | Reply::Array(_)) => true,
            Err(_) => false,
        };
        let answered = loaded && ask(&["INFO", "server"]).is_ok_and(|info| is_by(pid, &info));
        Ok(answered.then_some(Start::Answered))
    }

    fn log(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(self.directory.join(LOG))
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.directory.join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn wrong_state(&self, action: &'static str) -> ClusterError {
        let state = match self.process {
            Process::Running(_) => NodeState::Running,
            Process::Paused(_) => NodeState::Paused,
            Process::Stopped => NodeState::Stopped,
        };
        ClusterError::WrongState { node: self.node, state, action }
    }
}

/// The outcome of a start.
enum Start {
    Answered,
    Ended(ExitStatus),
}

pub(super) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whether the server that answers is our process, and not another one that has taken the port. A server that does not
/// show its process id, because the caller's directives forbid INFO, is assumed to be ours.
fn is_by(pid: u32, info: &Reply) -> bool {
    let process = info.text().and_then(|text| text.lines().find_map(|line| line.strip_prefix("process_id:")));
    process.is_none_or(|process| process == pid.to_string())
}

fn has_ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Stops a process and waits until the kernel says that it has stopped.
fn stop(pid: Pid) -> io::Result<()> {
    kill_process_group(pid, Signal::STOP)?;
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    match poll(STOP_LIMIT, || waitid(WaitId::Pid(pid), options))? {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn create(directory: &Path) -> Result<(), ClusterError> {
    fs::create_dir(directory).map_err(|source| system("create", directory, source))
}

fn system(action: &'static str, path: &Path, source: io::Error) -> ClusterError {
    ClusterError::System { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::binary;
    use super::*;

    #[test]
    fn a_port_that_was_taken_is_replaced_where_that_is_allowed() {
        let directory = tempfile::tempdir().unwrap();
        // Ends the servers that a failing test leaves.
        let reaper = Reaper::start(directory.path()).unwrap();
        let directives = "bind 127.0.0.1\ndir data\nsave \"\"\n".to_owned();
        let setup = Setup {
            binary: binary::find().unwrap(),
            ports: Ports::Plain,
            directives,
            password: None,
            reaper,
            clocks: Clocks::Machine,
        };
        let mut server = Server::new(0, directory.path(), Ports::Plain).unwrap();
        let taken = server.port();
        let _other = TcpListener::bind(address(taken)).unwrap();

        server.launch(&setup).unwrap();
        let error = server.await_answer(&setup, 0).unwrap_err();
        assert!(error.to_string().contains("Address already in use"), "{error}");
        assert_eq!((server.state(&setup), server.port()), (NodeState::Stopped, taken));

        server.launch(&setup).unwrap();
        server.await_answer(&setup, 1).unwrap();
        assert_ne!(server.port(), taken);
        server.kill(&setup).unwrap();
    }

    #[test]
    fn a_server_is_known_by_its_process() {
        let table = [
            (Reply::Bulk("# Server\r\nprocess_id:12\r\nrun_id:a\r\n".into()), true),
            (Reply::Bulk("# Server\r\nprocess_id:123\r\n".into()), false),
            (Reply::Bulk("# Server\r\n".into()), true),
            (Reply::Error("NOPERM no".into()), true),
        ];
        for (info, expected) in table {
            assert_eq!(is_by(12, &info), expected, "{info:?}");
        }
    }
}
