//! Whether clients keep to a bounded number of connections and commands, whatever happens. A storm is a bug.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// A client and an address.
pub(super) type Path = (usize, usize);

/// Pauses between connections grow to a second. Beside them are those of a process that starts anew.
const CONNECTS_MAX: usize = 36;
const CONNECTS_IN: Duration = Duration::from_secs(10);
/// Commands in a second on one path. A client that polls for both locks all the time needs up to 950: three for each
/// attempt, and a release where a node in quarantine granted.
const COMMANDS_MAX: u64 = 1200;

#[derive(Default)]
pub(super) struct Storms(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    connects: BTreeMap<Path, VecDeque<Duration>>,
    /// The present second, and the commands in it.
    commands: BTreeMap<Path, (u64, u64)>,
    most: Most,
    violations: Vec<String>,
}

/// The most that was seen on any path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Most {
    pub(super) connects: usize,
    pub(super) commands: u64,
}

impl Most {
    pub(super) fn max(self, other: Self) -> Self {
        Self { connects: self.connects.max(other.connects), commands: self.commands.max(other.commands) }
    }
}

impl Storms {
    pub(super) fn handle_connect(&self, path: Path, now: Duration) {
        let Counts { connects, most, violations, .. } = &mut *self.0.lock().unwrap();
        let times = connects.entry(path).or_default();
        times.push_back(now);
        while times.front().is_some_and(|time| *time + CONNECTS_IN < now) {
            times.pop_front();
        }
        most.connects = most.connects.max(times.len());
        if times.len() == CONNECTS_MAX + 1 {
            violations.push(format!("client {} connects to node {} all the time", path.0, path.1));
        }
    }

    pub(super) fn handle_written(&self, path: Path, bytes: &[u8], now: Duration) {
        // Each request is an array, which begins with an asterisk on a new line.
        let stars = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'*');
        let starts = stars.filter(|(at, _)| *at == 0 || bytes[..*at].ends_with(b"\r\n")).count();
        let commands = u64::try_from(starts).unwrap_or(u64::MAX);
        let Counts { commands: seen, most, violations, .. } = &mut *self.0.lock().unwrap();
        let (second, number) = seen.entry(path).or_default();
        if *second != now.as_secs() {
            (*second, *number) = (now.as_secs(), 0);
        }
        let before = *number;
        *number += commands;
        most.commands = most.commands.max(*number);
        if before <= COMMANDS_MAX && COMMANDS_MAX < *number {
            violations.push(format!("client {} floods node {} with commands", path.0, path.1));
        }
    }

    /// What was seen, and what was too much.
    pub(super) fn take(&self) -> (Most, Vec<String>) {
        let mut counts = self.0.lock().unwrap();
        (counts.most, std::mem::take(&mut counts.violations))
    }
}
