//! A process that locks by another implementation.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use rustix::time::{ClockId, clock_gettime};

use crate::RESOURCE;

/// The implementations of client.py, which documents what each of them promises.
pub(crate) const IMPLEMENTATIONS: [&str; 3] = ["pottery", "pottery-async", "redlock-py"];

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/client.py");

/// The foreign client. All its methods block. A client that hangs ends by itself, which causes a panic here.
pub(crate) struct Foreign {
    pub(crate) implementation: &'static str,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A held lock. Times are those of [`now`].
pub(crate) struct Held {
    pub(crate) requested_at: u64,
    pub(crate) acquired_at: u64,
    pub(crate) deadline: u64,
    pub(crate) token: String,
}

impl Foreign {
    pub(crate) fn start(python: &Path, implementation: &'static str, cluster: &LocalCluster) -> Self {
        let mut command = Command::new(python);
        command.arg(CLIENT).arg(implementation).args(cluster.urls());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { implementation, process, requests, answers }
    }

    /// Makes one attempt at [`RESOURCE`].
    pub(crate) fn lock(&mut self, ttl: Duration) -> Option<Held> {
        let answer = self.ask(&format!("lock {RESOURCE} {}", ttl.as_millis()));
        match answer.split_whitespace().collect::<Vec<_>>()[..] {
            ["denied"] => None,
            ["held", requested_at, acquired_at, token] => {
                let requested_at: u64 = requested_at.parse().unwrap();
                // The formula of all implementations, counted from before the call. The clients are not responsible for
                // a pause on the way to us.
                let drift = ttl / 100 + Duration::from_millis(2);
                let deadline = requested_at + nanos(ttl - drift);
                let acquired_at = acquired_at.parse().unwrap();
                Some(Held { requested_at, acquired_at, deadline, token: token.to_owned() })
            }
            _ => panic!("{} answered {answer:?}", self.implementation),
        }
    }

    /// Releases what the last attempt has acquired, and returns when the release began.
    pub(crate) fn unlock(&mut self) -> u64 {
        let answer = self.ask("unlock");
        let at = answer.strip_prefix("released ").and_then(|at| at.trim().parse().ok());
        at.unwrap_or_else(|| panic!("{} answered {answer:?}", self.implementation))
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // The process may be waiting for a node.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Nanoseconds of the clock that client.py uses, too.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}
