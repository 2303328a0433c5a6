//! A cluster, a directory, and tools that run in it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use redlock_testing::{LocalCluster, NodeState};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

/// Number of checks of another process, and the time between them: 40 s in all, for a busy machine.
const POLLS: u32 = 8_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Settings of all tools: longer than the machine stands still, because a node that answers in time must never count as
/// silent.
const PATIENCE: [(&str, &str); 2] = [("REDLOCK_NODE_TIMEOUT", "3s"), ("REDLOCK_CONNECT_TIMEOUT", "4s")];

/// The tool, without arguments. In a process group of its own, so that it is never in the foreground of the tests'
/// terminal.
pub(crate) fn redlock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.env_remove("REDLOCK_NODES").stdin(Stdio::null()).process_group(0);
    command
}

/// Checks until the condition holds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..POLLS {
        if is_so() {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
    panic!("still not so: {what}");
}

/// Whether processes started by this one receive the signal. Under `nohup` and the like they do not.
pub(crate) fn is_heard(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) == 0
}

/// Servers, and the working directory of every tool.
pub(crate) struct Scene {
    pub(crate) cluster: LocalCluster,
    directory: TempDir,
    started: AtomicU32,
}

impl Scene {
    pub(crate) fn new(nodes: usize) -> Self {
        Self::of(LocalCluster::start(nodes).unwrap())
    }

    pub(crate) fn of(cluster: LocalCluster) -> Self {
        Self { cluster, directory: tempfile::tempdir().unwrap(), started: AtomicU32::new(0) }
    }

    /// Runs the tool to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).finish()
    }

    /// Starts the tool with the cluster as its nodes.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = redlock();
        command.args(arguments);
        self.start_command(command)
    }

    pub(crate) fn start_command(&self, mut command: Command) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.path(&format!("{name}-{number}")));
        let child = command
            .current_dir(self.directory.path())
            .env("REDLOCK_NODES", self.cluster.urls().join(","))
            .envs(PATIENCE)
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running { child, stdout, stderr }
    }

    /// The tool with the cluster as its nodes, and without streams.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = redlock();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.environment(&mut command);
        command
    }

    /// Sets a command's directory and nodes to the scene's.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.directory.path())
            .env("REDLOCK_NODES", self.cluster.urls().join(","))
            .envs(PATIENCE)
    }

    /// Runs the tool on a terminal of 100 columns and types `typed`. Returns the exit code and what the terminal
    /// showed.
    pub(crate) fn type_at(&self, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
        let terminal = Terminal::open(Some(100));
        let mut command = redlock();
        command.args(arguments).env("REDLOCK_NODES", self.cluster.urls().join(",")).env("TERM", "xterm");
        command.envs(PATIENCE);
        command.env_remove("NO_COLOR");
        let mut child = terminal.start(&mut command);
        let mut terminal = terminal.into_file();
        terminal.write_all(typed.as_bytes()).unwrap();
        let mut shown = Vec::new();
        // Reading ends with an error, because the other end of the terminal is closed.
        let _ = terminal.read_to_end(&mut shown);
        let code = child.wait().unwrap().code();
        (code, String::from_utf8(shown).unwrap().replace("\r\n", "\n"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Creates a file that a script waits for.
    pub(crate) fn create(&self, name: &str) {
        File::create(self.path(name)).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The contents of a file; empty if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn appears(&self, name: &str) {
        eventually(name, || self.has(name));
    }

    /// Acquires the lock as another implementation would.
    pub(crate) fn hold(&self, key: &str, nodes: &[usize]) {
        for node in nodes {
            let set = self.cluster.command(*node, &["SET", key, "another", "NX", "PX", "60000"]);
            assert_eq!(set.unwrap().text(), Some("OK"));
        }
    }

    pub(crate) fn delete(&self, key: &str, nodes: &[usize]) {
        for node in nodes {
            assert_eq!(self.cluster.command(*node, &["DEL", key]).unwrap().int(), Some(1));
        }
    }

    pub(crate) fn kill(&self, nodes: &[usize]) {
        for node in nodes {
            self.cluster.kill(*node).unwrap();
        }
    }

    /// Fails if any running node has a key. There is nothing to wait for, because the tool has ended.
    #[track_caller]
    pub(crate) fn assert_no_keys(&self) {
        for node in 0..self.cluster.len() {
            if self.cluster.state(node) == NodeState::Running {
                assert_eq!(self.cluster.keys(node).unwrap(), Vec::<String>::new(), "on node {node}");
            }
        }
    }
}

/// A terminal without a window.
pub(crate) struct Terminal {
    keyboard: OwnedFd,
    end: File,
}

impl Terminal {
    /// A terminal with this many columns; `None` leaves the size unset.
    pub(crate) fn open(columns: Option<u16>) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let mut options = File::options();
        // NOCTTY, because tests without a terminal must not get this one.
        options.read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
        let end = options.open(name.to_str().unwrap()).unwrap();
        if let Some(ws_col) = columns {
            tcsetwinsize(&end, Winsize { ws_row: 50, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        }
        Self { keyboard, end }
    }

    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let [stdin, stdout, stderr] = [(); 3].map(|()| Stdio::from(self.end.try_clone().unwrap()));
        let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        // The command would keep its ends of the terminal open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        child
    }

    /// The stream of what is typed and shown. Reading ends when all processes on the terminal have ended.
    pub(crate) fn into_file(self) -> File {
        File::from(self.keyboard)
    }
}

/// A running tool. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A tool that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends the tool's input, if that is a pipe.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The exit code that a shell would show, also for a tool that was killed.
    pub(crate) fn finish_as_shell(mut self) -> i32 {
        eventually("the tool has ended", || self.status().is_some());
        let status = self.status().unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    pub(crate) fn finish(mut self) -> Ended {
        eventually("the tool has ended", || self.status().is_some());
        let code = self.status().and_then(|status| status.code());
        Ended { code, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The tool still runs only if the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
