//! The command and all that it has started, whatever process group or session they are in by now.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group, test_kill_process_group};
use tokio::time::{Instant, sleep};

use super::system::{Process, processes};

/// How often processes that are being ended are looked at.
pub(super) const SWEEP: Duration = Duration::from_millis(20);
/// How long a killed process may take to end. One that takes longer hangs in the kernel, or is not ours to kill.
pub(super) const KILLED_BY: Duration = Duration::from_secs(5);

/// The descendants of this process, but for some.
#[derive(Debug)]
pub(super) struct Family {
    /// The command's own process group, if it has one.
    group: Option<Pid>,
    /// Processes, and with them their descendants, that are no work of the command.
    strangers: HashSet<Pid>,
}

impl Family {
    pub(super) fn new(group: Option<Pid>, strangers: HashSet<Pid>) -> Self {
        Self { group, strangers }
    }

    /// The children that this process has now. A script that replaces itself (`exec redlock run`) leaves its own.
    pub(super) fn children() -> HashSet<Pid> {
        let us = getpid().as_raw_nonzero().get();
        processes().into_iter().filter(|process| process.parent == us).map(|process| process.pid).collect()
    }

    /// Those that run.
    fn members(&self) -> Vec<Process> {
        let all = processes();
        let mut found: HashSet<i32> = HashSet::from([getpid().as_raw_nonzero().get()]);
        loop {
            let before = found.len();
            let children = all
                .iter()
                .filter(|process| found.contains(&process.parent) && !self.strangers.contains(&process.pid));
            let children: Vec<i32> = children.map(|process| process.pid.as_raw_nonzero().get()).collect();
            found.extend(children);
            if found.len() == before {
                break;
            }
        }
        let us = getpid();
        let is_member = |process: &Process| {
            process.pid != us && !process.is_zombie && found.contains(&process.pid.as_raw_nonzero().get())
        };
        all.into_iter().filter(is_member).collect()
    }

    /// Each as `name (id)`, for people.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |process: &Process| format!("{} ({})", process.name, process.pid.as_raw_nonzero());
        self.members().iter().map(name).collect()
    }

    /// Sends a signal to all. The process group gets it at once, so that none of its members can escape by a fork.
    /// Fails for processes of another user, which are not ours to signal.
    pub(super) fn signal(&self, signal: Signal) {
        let members = self.members();
        let in_group =
            |process: &Process| self.group.map(|group| group.as_raw_nonzero().get()) == Some(process.group);
        let group = self.group.filter(|_| members.iter().any(in_group) || cfg!(not(target_os = "linux")));
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
        for process in members.iter().filter(|process| !in_group(process)) {
            let _ = kill_process(process.pid, signal);
        }
    }

    /// Asks all to end, stopped ones included. Once: what a process starts to clean up after itself is not asked.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    pub(super) fn is_gone(&self) -> bool {
        let is_group_gone = || self.group.is_none_or(|group| test_kill_process_group(group).is_err());
        self.members().is_empty() && (cfg!(target_os = "linux") || is_group_gone())
    }

    /// SIGTERM, and SIGKILL after `kill_after`, until none is left. Answers those that cannot be ended.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long to wait for other processes is no part of the protocol"
    )]
    pub(super) async fn end(&self, kill_after: Duration) -> Vec<String> {
        self.terminate();
        let kill_at = Instant::now() + kill_after;
        loop {
            if self.is_gone() {
                return Vec::new();
            }
            let now = Instant::now();
            if now >= kill_at + KILLED_BY {
                return self.names();
            }
            if now >= kill_at {
                self.signal(Signal::KILL);
            }
            sleep(SWEEP).await;
        }
    }
}
