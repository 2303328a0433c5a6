//! Other implementations of Redlock against ours: on the same keys of the same nodes they exclude us, and we exclude
//! them.
//!
//! Two libraries from PyPI run with their default prefixes. Their Python environment is made by the first run under
//! `target/tmp`, and reused by later runs, also offline. If Python or its registry is missing, the tests say so and
//! pass; `FOREIGN_CLIENTS=required` makes that a failure. Crates are tested in `rust/`, a package of its own.
//! Implementations that cannot run here are represented by their keys and values (`formats.rs`). `docs/key-formats.md`
//! has the table of all implementations.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod client;
mod contend;
mod environment;
mod formats;
mod promises;

use std::fmt::Debug;
use std::panic::Location;
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Redlock, RedlockBuilder};

/// Five nodes tolerate two failures, and are the number in the description of Redlock.
const NODES: usize = 5;

/// Longer than any test runs, so that a key of ours that is gone was removed and did not expire.
const LONG: Duration = Duration::from_secs(60);

/// How much longer than the protocols promise anything may take on a machine that is busy or stands still for a while.
const SLACK: Duration = Duration::from_secs(15);

/// The key of pottery and RedLock.net for `job`, by default. The others add nothing to their names.
const RESOURCE: &str = "redlock:job";

/// Our tokens begin with this owner.
const OWNER: &str = "ours";

fn ours(cluster: &LocalCluster) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .owner(OWNER)
        .ttl(LONG)
        .max_ttl(LONG)
        .node_timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5))
}

/// Checks repeatedly until `condition` holds.
///
/// # Panics
///
/// If the condition does not hold within `limit`.
#[track_caller]
fn eventually(
    limit: Duration,
    what: impl Debug,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let started = client::now();
        while !condition() {
            let waited = client::now() - started;
            assert!(waited < client::nanos(limit), "not within {limit:?}: {what:?} (waited for at {caller})");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The value of [`RESOURCE`] on each node.
fn values(cluster: &LocalCluster) -> Vec<Option<String>> {
    let value = |node| cluster.command(node, &["GET", RESOURCE]).unwrap().text().map(str::to_owned);
    (0..cluster.len()).map(value).collect()
}
