//! Read-only commands for inspection.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::commands::{Command, FENCES, score, single};
use super::failure;
use crate::error::NodeFailure;
use crate::types::{FoundValue, Resource, internal_key};

/// Reads what a node holds of a resource.
#[derive(Clone)]
pub(crate) struct InspectKey(Arc<Pipeline>);

/// A resource on one node: its key, its TTL and its highest fencing token.
#[derive(Clone, Debug)]
pub(crate) struct KeySnapshot {
    pub(crate) key: KeyKind,
    /// The value of a plain key.
    pub(crate) value: Option<FoundValue>,
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
    /// A key of another type, which is no lock; no lock can be taken under its name.
    Other,
}

impl InspectKey {
    pub(crate) fn new(resource: &Resource) -> Self {
        let (key, fences) = (resource.key(), internal_key(FENCES));
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("GET").arg(key).cmd("PTTL").arg(key).cmd("ZSCORE").arg(fences).arg(key);
        Self(Arc::new(pipeline))
    }
}

impl Command for InspectKey {
    type Reply = KeySnapshot;

    async fn send(self, mut connection: MultiplexedConnection) -> Result<KeySnapshot, NodeFailure> {
        let replies = connection.send_packed_commands(&self.0, 0, self.0.len()).await;
        let replies = replies.map_err(|error| failure::of_command(&error))?;
        let [value, ttl, fence] = <[Value; 3]>::try_from(replies)
            .map_err(|replies| failure::of_reply("GET, PTTL and ZSCORE", &Value::Array(replies)))?;
        let (key, value) = match value.extract_error() {
            Ok(Value::Nil) => (KeyKind::Absent, None),
            Ok(Value::BulkString(value)) => (KeyKind::Plain, Some(FoundValue::new(&value))),
            Ok(other) => return Err(failure::of_reply("GET", &other)),
            Err(error) if error.code() == Some("WRONGTYPE") => (KeyKind::Other, None),
            Err(error) => return Err(failure::of_command(&error)),
        };
        let ttl = ttl.extract_error().map_err(|error| failure::of_command(&error))?;
        let Value::Int(ttl) = ttl else { return Err(failure::of_reply("PTTL", &ttl)) };
        Ok(KeySnapshot { key, value, ttl_ms: u64::try_from(ttl).ok(), score: score(fence.extract_error())? })
    }
}

/// Counts the clients that are connected to the server.
#[derive(Clone)]
pub(crate) struct CountClients;

impl Command for CountClients {
    type Reply = u64;

    async fn send(self, mut connection: MultiplexedConnection) -> Result<u64, NodeFailure> {
        let reply = single(&mut connection, redis::cmd("INFO").arg("clients")).await;
        let reply = reply.map_err(|error| failure::of_command(&error))?;
        let text: String =
            redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("INFO", &reply))?;
        let count =
            text.lines().find_map(|line| line.strip_prefix("connected_clients:")?.trim().parse().ok());
        count.ok_or_else(|| failure::of_reply("INFO", &reply))
    }
}
