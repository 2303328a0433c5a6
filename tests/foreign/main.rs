//! Other implementations of Redlock against ours: on the same keys of the same nodes they exclude us, and we them.
//!
//! Two libraries from PyPI, with their default prefixes, in a Python environment that the first run makes under `target/tmp` and later ones use,
//! offline too. Where Python or its registry is missing the tests say so and pass; `FOREIGN_CLIENTS=required` makes
//! that a failure. Crates are in `rust/`, a package of its own. What cannot run here is played by its keys and values
//! (`formats.rs`); `docs/key-formats.md` has the table of all.

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

/// Three survive two failures; five are what Redlock is described with.
const NODES: usize = 5;

/// Longer than any test runs, so that a key of ours which is gone was removed, not expired.
const LONG: Duration = Duration::from_secs(60);

/// How long anything may take beyond what the protocols promise: for a machine that does much else.
const SLACK: Duration = Duration::from_secs(5);

/// What pottery and RedLock.net call `job`, by default. The others put nothing before their names.
const RESOURCE: &str = "redlock:job";

/// What our tokens begin with.
const OWNER: &str = "ours";

fn ours(cluster: &LocalCluster) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .owner(OWNER)
        .ttl(LONG)
        .max_ttl(LONG)
        .node_timeout(Duration::from_secs(1))
}

/// Looks at the world until `condition` holds.
///
/// # Panics
///
/// When it does not within `limit`.
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

/// What each node holds under [`RESOURCE`].
fn values(cluster: &LocalCluster) -> Vec<Option<String>> {
    let value = |node| cluster.command(node, &["GET", RESOURCE]).unwrap().text().map(str::to_owned);
    (0..cluster.len()).map(value).collect()
}
