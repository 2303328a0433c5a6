//! The command and all its descendants, in whatever process group or session they are.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group, test_kill_process_group};
use tokio::time::{Instant, sleep};

use super::system::{Process, processes};

/// How often processes are checked while they are being ended.
pub(super) const SWEEP: Duration = Duration::from_millis(20);
/// How long a killed process may take to end. A process that takes longer hangs in the kernel, or is not ours to kill.
pub(super) const KILLED_BY: Duration = Duration::from_secs(5);

/// All descendants of this process except the strangers.
#[derive(Debug)]
pub(super) struct Family {
    /// The command's own process group, if it has one.
    group: Option<Pid>,
    /// Processes that the command has not started. Their descendants are excluded as well.
    strangers: HashSet<Pid>,
}

impl Family {
    pub(super) fn new(group: Option<Pid>, strangers: HashSet<Pid>) -> Self {
        Self { group, strangers }
    }

    /// The present children of this process. A script that replaces itself by redlock (`exec redlock run`) leaves its
    /// own.
    pub(super) fn children() -> HashSet<Pid> {
        let us = getpid().as_raw_nonzero().get();
        processes().into_iter().filter(|process| process.parent == us).map(|process| process.pid).collect()
    }

    /// The running members.
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

    /// The running members, each as `name (id)`.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |process: &Process| format!("{} ({})", process.name, process.pid.as_raw_nonzero());
        self.members().iter().map(name).collect()
    }

    /// Sends a signal to all members. The process group gets the signal in one system call, so that none of its members
    /// can escape by a fork. Processes of another user cannot be signalled, and are skipped.
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

    /// Sends SIGTERM to all members, stopped ones included. Sent only once, so that a process started for cleaning up
    /// is spared.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    pub(super) fn is_gone(&self) -> bool {
        let is_group_gone = || self.group.is_none_or(|group| test_kill_process_group(group).is_err());
        self.members().is_empty() && (cfg!(target_os = "linux") || is_group_gone())
    }

    /// Sends SIGTERM, and SIGKILL after `kill_after`, until no member is left. Returns the members that cannot be
    /// ended.
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
