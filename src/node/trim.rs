//! Forgets fencing tokens of resources that nobody has locked for long, a few at a time and never in anybody's way.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tracing::debug;

use super::commands::{Command, FENCES, ReadClock, ScriptCall};
use super::connection::{Link, NodeClock};
use super::failure;
use super::scripts::TRIM;
use crate::error::NodeFailure;
use crate::types::{Ambient, NodeId, internal_key};

/// How many one step removes at most. A server does nothing else meanwhile: about 0.1 ms.
const STEP: u64 = 200;
/// Pause after a step that found less than it may remove.
const PAUSE: Duration = Duration::from_secs(10 * 60);
/// Pause after a full one. 17 million a day then: more than a node can be made to keep.
const PAUSE_WHEN_BEHIND: Duration = Duration::from_secs(1);

/// Which fencing tokens are old.
#[derive(Clone)]
pub(crate) struct Trimming {
    /// For how long a token is kept.
    pub(crate) retention: Duration,
    /// Clocks further apart than this are not believed, and nothing is removed.
    pub(crate) max_clock_skew: Duration,
    pub(crate) clock: Arc<dyn WallClock>,
}

/// Our wall clock beside those of all nodes. One node is no measure: with a host's clock go that of a node and that of a
/// client on it, and the two agree.
pub(crate) trait WallClock: Send + Sync {
    /// A node has said what its own says.
    fn handle_told(&self, node: NodeId, clock: NodeClock);
    /// There is no connection to the node any more.
    fn handle_lost(&self, node: NodeId);
    /// What our wall clock says, in microseconds since 1970, as soon as a quorum of nodes agrees with it. Cancel safe.
    fn confirmed(&self) -> BoxFuture<'_, u64>;
}

/// One step upon connecting, so that clients that live for a moment do their share, and then now and again.
pub(super) async fn keep_trimming(
    link: Link,
    node: NodeId,
    trimming: Option<Trimming>,
    ambient: Arc<dyn Ambient>,
) -> Infallible {
    let Some(trimming) = trimming else { return std::future::pending().await };
    let say = Say { node, clock: Arc::clone(&trimming.clock) };
    loop {
        let pause = match trim(&link, &say, &trimming, &*ambient).await {
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

/// One step, as soon as our clock is confirmed; answers how many were removed.
async fn trim(
    link: &Link,
    say: &Say,
    trimming: &Trimming,
    ambient: &dyn Ambient,
) -> Result<u64, NodeFailure> {
    let wall_micros = link.clone().send(ReadClock).await?;
    say.clock.handle_told(say.node, NodeClock { at: ambient.now(), wall_micros });
    // Clocks are set while we wait, so the nodes are asked again.
    match tokio::time::timeout(PAUSE, say.clock.confirmed()).await {
        Ok(ours) => link.clone().send(Trim::new(trimming, ours)).await,
        Err(_) => Ok(STEP),
    }
}

/// A node's say about our clock, for as long as it is connected.
struct Say {
    node: NodeId,
    clock: Arc<dyn WallClock>,
}

impl Drop for Say {
    fn drop(&mut self) {
        self.clock.handle_lost(self.node);
    }
}

/// One step; answers how many were removed.
#[derive(Clone)]
struct Trim(Arc<ScriptCall>);

impl Trim {
    fn new(trimming: &Trimming, wall_micros: u64) -> Self {
        let Trimming { retention, max_clock_skew, clock: _ } = trimming;
        let [retention, skew] = [retention, max_clock_skew].map(|duration| duration.as_micros().to_string());
        let mut by_hash = TRIM.by_hash(1);
        by_hash.arg(internal_key(FENCES)).arg(wall_micros).arg(retention).arg(skew).arg(STEP);
        Self(Arc::new(ScriptCall { lua: &TRIM, by_hash }))
    }
}

impl Command for Trim {
    type Reply = u64;

    async fn send(self, connection: MultiplexedConnection) -> Result<u64, NodeFailure> {
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
