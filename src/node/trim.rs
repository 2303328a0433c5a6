//! Trimming: removes the fencing tokens of resources that have not been locked for long, in steps so small that
//! they delay nobody.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::Value;

use tracing::debug;

use super::commands::{Command, FENCES, ReadClock, ScriptCall};
use super::connection::{Link, NodeClock};
use super::failure;
use super::scripts::TRIM;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Ambient, NodeId, internal_key};

/// The number of tokens that one step removes at most. A step blocks the server for about 0.1 ms.
const STEP: u64 = 200;
/// The pause after a step that found fewer tokens than it may remove.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// The pause after a full step. The rate is then 17 million a day, more than a node can be made to keep.
const PAUSE_WHEN_BEHIND: Duration = Duration::from_secs(1);

/// Which fencing tokens are old.
#[derive(Clone)]
pub(crate) struct Trimming {
    /// How long a token is kept.
    pub(crate) retention: Duration,
    /// The largest difference between clocks at which tokens are removed.
    pub(crate) max_clock_skew: Duration,
    pub(crate) clock: Arc<dyn WallClock>,
}

/// Compares our wall clock with those of all nodes. A single node is not enough: on a host with a wrong clock, a node
/// and a client are wrong together, and agree.
pub(crate) trait WallClock: Send + Sync {
    /// Handles a node's wall clock.
    fn handle_clock(&self, node: NodeId, clock: NodeClock);
    /// Drops a node's wall clock, because the connection is gone.
    fn handle_lost(&self, node: NodeId);
    /// Returns our wall clock, in microseconds since 1970, once a quorum of nodes agrees with it. Cancel safe.
    fn confirmed(&self) -> BoxFuture<'_, u64>;
}

/// Runs one step when the client connects, so that short-lived clients do their share, and then one every ten
/// minutes, or every second while steps are full.
pub(super) async fn keep_trimming(
    link: Link,
    node: NodeId,
    trimming: Option<Trimming>,
    ambient: Arc<dyn Ambient>,
) -> Infallible {
    let Some(trimming) = trimming else { return std::future::pending().await };
    let report = ReportClock { node, clock: Arc::clone(&trimming.clock) };
    loop {
        let pause = match trim(&link, &report, &trimming, &*ambient).await {
            Ok(removed) if removed >= STEP => PAUSE_WHEN_BEHIND,
            Ok(_) => PAUSE,
            Err(failure) => {
                debug!(reason = %failure, "old fencing tokens were not removed");
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Runs one step once our clock is confirmed. Returns the number of removed tokens.
async fn trim(
    link: &Link,
    report: &ReportClock,
    trimming: &Trimming,
    ambient: &dyn Ambient,
) -> Result<u64, NodeFailure> {
    let wall_micros = link.clone().send(ReadClock).await?;
    report.clock.handle_clock(report.node, NodeClock { at: ambient.now(), wall_micros });
    // The wait is limited, because clocks may be set in the meantime; the node's clock is then read again.
    match tokio::time::timeout(PAUSE, report.clock.confirmed()).await {
        Ok(ours) => link.clone().send(Trim::new(trimming, ours)).await,
        Err(_) => Ok(STEP),
    }
}

/// The registration of a node's clock while the node is connected.
struct ReportClock {
    node: NodeId,
    clock: Arc<dyn WallClock>,
}

impl Drop for ReportClock {
    fn drop(&mut self) {
        self.clock.handle_lost(self.node);
    }
}

/// The command for one step. The reply is the number of removed tokens.
#[derive(Clone)]
struct Trim(Arc<ScriptCall>);

impl Trim {
    fn new(trimming: &Trimming, wall_micros: u64) -> Self {
        let Trimming { retention, max_clock_skew, clock: _ } = trimming;
        let [retention, skew] = [retention, max_clock_skew].map(|duration| duration.as_micros().to_string());
        let mut by_hash = TRIM.by_hash(1);
        by_hash.arg(internal_key(FENCES)).arg(wall_micros).arg(retention).arg(skew).arg(STEP);
        Self(Arc::new(ScriptCall::new(&TRIM, by_hash)))
    }
}

impl Command for Trim {
    type Reply = u64;

    async fn send(self, connection: Wire) -> Result<u64, NodeFailure> {
        match self.0.run(connection).await {
            Ok(Value::Int(removed)) => Ok(removed.unsigned_abs()),
            Ok(other) => Err(failure::of_reply("EVALSHA", &other)),
            Err(error) => Err(failure::of_command(&error)),
        }
    }
}

#[cfg(all(test, unix))]
#[path = "trim_tests.rs"]
mod tests;
