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

/// How often, and how far apart, another process is looked at: 20 s in all, for a machine that is busy.
const POLLS: u32 = 4_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The tool, to be given arguments. In a process group of its own, so that it is never in the foreground of the
/// terminal that the tests run in.
pub(crate) fn redlock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.env_remove("REDLOCK_NODES").stdin(Stdio::null()).process_group(0);
    command
}

/// Looks until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..POLLS {
        if is_so() {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
    panic!("still not so: {what}");
}

/// Whether a process that is started by this one hears the signal: under `nohup` and the like it does not.
pub(crate) fn is_heard(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) == 0
}

/// Servers, and a directory that is the working directory of every tool.
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
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running { child, stdout, stderr }
    }

    /// The tool with the cluster as its nodes, and no streams.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = redlock();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.environment(&mut command);
        command
    }

    /// Gives a command the scene's directory and nodes.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(self.directory.path()).env("REDLOCK_NODES", self.cluster.urls().join(","))
    }

    /// Runs the tool on a terminal of 100 columns, where `typed` is typed; answers what the terminal showed.
    pub(crate) fn type_at(&self, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
        let terminal = Terminal::open(Some(100));
        let mut command = redlock();
        command.args(arguments).env("REDLOCK_NODES", self.cluster.urls().join(",")).env("TERM", "xterm");
        command.env_remove("NO_COLOR");
        let mut child = terminal.start(&mut command);
        let mut terminal = terminal.into_file();
        terminal.write_all(typed.as_bytes()).unwrap();
        let mut shown = Vec::new();
        // Ends with an error, as terminals do when nobody has them open any more.
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

    /// For a script that waits for it.
    pub(crate) fn create(&self, name: &str) {
        File::create(self.path(name)).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Empty where there is no such file.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn appears(&self, name: &str) {
        eventually(name, || self.has(name));
    }

    /// Takes the lock as another implementation would.
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

    /// No node that runs has a key: the tool has ended, so there is nothing to wait for.
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
    /// Of so many columns; without any it does not know its size.
    pub(crate) fn open(columns: Option<u16>) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let mut options = File::options();
        // Not as the tests' own terminal, where they have none.
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

    /// What is typed and shown. Ends when all that were started have.
    pub(crate) fn into_file(self) -> File {
        File::from(self.keyboard)
    }
}

/// A tool that runs; killed when it is dropped.
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

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The exit code that a shell would show, for one that may have been killed.
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
        // Only a test that failed finds it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
