//! Observing servers, waiting with a bound, and seeded randomness.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::process::Command;
use std::time::{Duration, Instant};

use redlock_quorum::testing::{LocalCluster, Reply};
use redlock_quorum::{Guard, LockError, Loss, Redlock};

/// Longer than any test runs, so that a key that is gone was removed and did not expire.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How much longer than the protocol promises anything may take on a machine that is busy or stands still for a while.
pub(crate) const SLACK: Duration = Duration::from_secs(15);

/// Longer than a machine stands still, because a node that answers in time must never count as silent.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_secs(5);

/// The value of another owner's key.
pub(crate) const FOREIGN: &str = "somebody else";

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Checks repeatedly until `condition` holds.
///
/// # Panics
///
/// If the condition does not hold within `limit`.
#[track_caller]
pub(crate) fn eventually(
    limit: Duration,
    what: impl Debug,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let started = now();
        while !condition() {
            assert!(started.elapsed() < limit, "not within {limit:?}: {what:?} (waited for at {caller})");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "measures real servers, which no simulation can stand in for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since the first call: one clock for all clients, as histories need.
pub(crate) fn origin() -> u64 {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let origin = *ORIGIN.get_or_init(now);
    u64::try_from(origin.elapsed().as_nanos()).unwrap()
}

/// A client whose locks outlive the test.
pub(crate) async fn client<I>(urls: I) -> Redlock
where
    I: IntoIterator,
    I::Item: Into<redlock_quorum::NodeOptions>,
{
    builder(urls).connect().await.unwrap()
}

pub(crate) fn builder<I>(urls: I) -> redlock_quorum::RedlockBuilder
where
    I: IntoIterator,
    I::Item: Into<redlock_quorum::NodeOptions>,
{
    // Without automatic renewals, because these tests are about single commands. `holding.rs` and `keeper.rs` test
    // renewals.
    Redlock::builder()
        .nodes(urls)
        .ttl(LONG)
        .max_ttl(LONG * 2)
        .node_timeout(NODE_TIMEOUT)
        .connect_timeout(NODE_TIMEOUT)
        .keep_alive(false)
}

#[track_caller]
pub(crate) fn contended(result: Result<Guard, LockError>) -> LockError {
    match result {
        Err(error @ LockError::Contended { .. }) => error,
        other => panic!("Contended expected: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn no_quorum(result: Result<Guard, LockError>) -> LockError {
    match result {
        Err(error @ LockError::NoQuorum { .. }) => error,
        other => panic!("NoQuorum expected: {other:?}"),
    }
}

/// The reason for the loss of the lease.
///
/// # Panics
///
/// If the lease is not lost within [`LONG`]. A test of a loss that does not happen has to fail instead of waiting for
/// ever.
pub(crate) async fn lost(guard: &Guard) -> Loss {
    tokio::time::timeout(LONG, guard.lost()).await.expect("the lease is lost within a minute")
}

/// Sets a key as another owner would, even if it exists.
#[track_caller]
pub(crate) fn plant(cluster: &LocalCluster, node: usize, key: &str) {
    assert_eq!(cluster.command(node, &["SET", key, FOREIGN]).unwrap().text(), Some("OK"));
}

#[track_caller]
pub(crate) fn value(cluster: &LocalCluster, node: usize, key: &str) -> Option<String> {
    cluster.command(node, &["GET", key]).unwrap().text().map(str::to_owned)
}

#[track_caller]
pub(crate) fn pttl(cluster: &LocalCluster, node: usize, key: &str) -> Duration {
    let millis = cluster.command(node, &["PTTL", key]).unwrap().int().unwrap();
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The queues of waiters on a node; none if the node does not answer.
pub(crate) fn queues(cluster: &LocalCluster, node: usize) -> Vec<String> {
    let Ok(Reply::Array(keys)) = cluster.command(node, &["KEYS", "redlock-quorum:queue:*"]) else {
        return Vec::new();
    };
    keys.iter().filter_map(Reply::text).map(str::to_owned).collect()
}

/// The servers' software and version: `Valkey`, `9.1.2`.
#[track_caller]
pub(crate) fn software(cluster: &LocalCluster) -> (String, String) {
    let reply = cluster.command(0, &["INFO", "server"]).unwrap();
    let field = |name| reply.text().unwrap().lines().find_map(|line| line.strip_prefix(name));
    match (field("valkey_version:"), field("redis_version:")) {
        (Some(version), _) => ("Valkey".into(), version.into()),
        (None, version) => ("Redis".into(), version.unwrap().into()),
    }
}

/// How often a node has executed a command since it started. Redis 6.2 does not count subcommands separately, so
/// `script|load` there means any `script`.
#[track_caller]
pub(crate) fn calls(cluster: &LocalCluster, node: usize, command: &str) -> u64 {
    let reply = cluster.command(node, &["INFO", "commandstats"]).unwrap();
    let Reply::Bulk(text) = reply else { panic!("INFO answered {reply:?}") };
    let count = |command: &str| {
        let prefix = format!("cmdstat_{command}:calls=");
        text.lines().find_map(|line| line.strip_prefix(&prefix))
    };
    let line = count(command).or_else(|| count(command.split('|').next()?));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// The command that runs the named test in another process.
pub(crate) fn own_process(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// Memory of this process with all tests that run in it; 0 if the system does not report it.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: Option<usize> = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// `host:port`, as errors name a node.
pub(crate) fn name(cluster: &LocalCluster, node: usize) -> String {
    format!("127.0.0.1:{}", cluster.port(node))
}

/// SplitMix64: reproducible from its seed.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed from `REDLOCK_TEST_SEED`, or a fresh one. The seed is printed, and so is shown when the test fails.
    pub(crate) fn from_environment() -> Self {
        let fresh = || std::hash::RandomState::new().build_hasher().finish();
        let seed = std::env::var("REDLOCK_TEST_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
        println!("REDLOCK_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// In steps of a microsecond.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(longest.as_micros()).unwrap() + 1))
    }
}
