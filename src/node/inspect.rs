//! Read-only commands for inspection.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, RedisError, Value};

use super::commands::{Command, FENCES, score, single, wall_micros};
use super::failure;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{FoundValue, Resource, internal_key};

/// How many readers are read at most, those that stay longest.
const READERS_MAX: usize = 64;

/// Reads what a node holds of a resource.
#[derive(Clone)]
pub(crate) struct InspectKey(Arc<Pipeline>);

/// A resource on one node: its key, its TTL and its highest fencing token.
#[derive(Clone, Debug)]
pub(crate) struct KeySnapshot {
    pub(crate) key: KeyKind,
    /// The value of a plain key.
    pub(crate) value: Option<FoundValue>,
    /// The readers, and how long the node keeps each.
    pub(crate) readers: Vec<(FoundValue, Duration)>,
    /// The time to live in milliseconds; `None` for a key that does not expire.
    pub(crate) ttl_ms: Option<u64>,
    /// The highest fencing token; 0 where there is none.
    pub(crate) score: f64,
}

/// The kind of key under the name of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Absent,
    /// A string, as the keys of locks are.
    Plain,
    /// A sorted set that expires, as those of readers do.
    Readers,
    /// A key of another type, which is no lock; no lock can be taken under its name.
    Other,
}

impl InspectKey {
    pub(crate) fn new(resource: &Resource) -> Self {
        let (key, fences) = (resource.key(), internal_key(FENCES));
        let mut pipeline = Pipeline::with_capacity(5);
        pipeline.cmd("GET").arg(key).cmd("PTTL").arg(key).cmd("ZSCORE").arg(fences).arg(key);
        pipeline.cmd("ZREVRANGE").arg(key).arg(0).arg(READERS_MAX - 1).arg("WITHSCORES").cmd("TIME");
        Self(Arc::new(pipeline))
    }
}

impl Command for InspectKey {
    type Reply = KeySnapshot;

    async fn send(self, connection: Wire) -> Result<KeySnapshot, NodeFailure> {
        let replies = connection.send_packed_commands(&self.0).await;
        let replies = replies.map_err(|error| failure::of_command(&error))?;
        let [value, ttl, fence, readers, time] = <[Value; 5]>::try_from(replies).map_err(|replies| {
            failure::of_reply("GET, PTTL, ZSCORE, ZREVRANGE and TIME", &Value::Array(replies))
        })?;
        let (key, value) = match value.extract_error() {
            Ok(Value::Nil) => (KeyKind::Absent, None),
            Ok(Value::BulkString(value)) => (KeyKind::Plain, Some(FoundValue::new(&value))),
            Ok(other) => return Err(failure::of_reply("GET", &other)),
            Err(error) if error.code() == Some("WRONGTYPE") => (KeyKind::Other, None),
            Err(error) => return Err(failure::of_command(&error)),
        };
        let ttl = ttl.extract_error().map_err(|error| failure::of_command(&error))?;
        let Value::Int(ttl) = ttl else { return Err(failure::of_reply("PTTL", &ttl)) };
        let ttl_ms = u64::try_from(ttl).ok();
        let time = time.extract_error().map_err(|error| failure::of_command(&error))?;
        let readers = match key {
            KeyKind::Other if ttl_ms.is_some() => readers_of(readers.extract_error(), wall_micros(&time)?),
            KeyKind::Absent | KeyKind::Plain | KeyKind::Readers | KeyKind::Other => Vec::new(),
        };
        let key = if readers.is_empty() { key } else { KeyKind::Readers };
        Ok(KeySnapshot { key, value, readers, ttl_ms, score: score(fence.extract_error())? })
    }
}

/// The readers of a reply to `ZREVRANGE`; none if the key is of another type, or if their time has passed.
fn readers_of(reply: Result<Value, RedisError>, now_micros: u64) -> Vec<(FoundValue, Duration)> {
    let readers: Vec<(Vec<u8>, f64)> =
        reply.ok().and_then(|reply| redis::from_redis_value_ref(&reply).ok()).unwrap_or_default();
    let now = Duration::from_micros(now_micros);
    let left = |until_ms: f64| Duration::try_from_secs_f64(until_ms / 1000.0).ok()?.checked_sub(now);
    readers.into_iter().filter_map(|(token, until)| Some((FoundValue::new(&token), left(until)?))).collect()
}

/// Counts the clients that are connected to the server.
#[derive(Clone)]
pub(crate) struct CountClients;

impl Command for CountClients {
    type Reply = u64;

    async fn send(self, connection: Wire) -> Result<u64, NodeFailure> {
        let reply = single(&connection, redis::cmd("INFO").arg("clients")).await;
        let reply = reply.map_err(|error| failure::of_command(&error))?;
        let text: String =
            redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("INFO", &reply))?;
        let count =
            text.lines().find_map(|line| line.strip_prefix("connected_clients:")?.trim().parse().ok());
        count.ok_or_else(|| failure::of_reply("INFO", &reply))
    }
}
