//! The node's record: what it remembers from one incarnation to the next, and of its clients.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::commands::{Command, ScriptCall};
use super::failure;
use super::scripts::{DECLARE, GREET, JOIN};
use crate::error::NodeFailure;
use crate::types::{Ttl, internal_key};

/// The record's internal key.
pub(super) const RECORD: &str = "node";

/// How many keys a node that is declared new may have. To look at them takes it some milliseconds.
const DECLARED_KEYS_MAX: u32 = 10_000;

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) id: String,
    /// The incarnation that created the record.
    pub(super) creator: String,
    pub(super) declared: bool,
    pub(super) incarnation: String,
    /// How long ago the present incarnation was first seen, by the node's clock.
    pub(super) age: Duration,
    /// The longest lease that any client announced.
    pub(super) max_ttl_ms: u64,
}

/// Greets the node, as the last command of the handshake. `name` becomes the node's own if it has none.
pub(super) fn ask(pipeline: &mut Pipeline, name: u64, max_ttl: Ttl) {
    let mut call = GREET.by_hash(1);
    call.arg(internal_key(RECORD)).arg(format!("{name:016x}")).arg(max_ttl.as_millis());
    pipeline.add_command(call);
}

impl Greeting {
    pub(super) fn parse(reply: &Value) -> Result<Self, NodeFailure> {
        let unexpected = || failure::of_reply("EVALSHA", reply);
        let [id, creator, declared, incarnation, since, now, max_ttl_ms] = <[String; 7]>::try_from(
            redis::from_redis_value_ref::<Vec<String>>(reply).map_err(|_| unexpected())?,
        )
        .map_err(|_| unexpected())?;
        let number = |text: String| text.parse::<u64>().map_err(|_| unexpected());
        Ok(Self {
            id,
            creator,
            declared: !declared.is_empty(),
            incarnation,
            // A clock that was set back since: as old as that it is not for sure.
            age: Duration::from_micros(number(now)?.saturating_sub(number(since)?)),
            max_ttl_ms: number(max_ttl_ms)?,
        })
    }
}

/// Tells a node which nodes and quorum we use; answers what its record says.
#[derive(Clone)]
pub(super) struct Join(Arc<ScriptCall>);

impl Join {
    /// `before` is what we told it last; empty at first.
    pub(super) fn new(before: &str, members: &str) -> Self {
        let mut by_hash = JOIN.by_hash(1);
        by_hash.arg(internal_key(RECORD)).arg(before).arg(members);
        Self(Arc::new(ScriptCall { lua: &JOIN, by_hash }))
    }
}

impl Command for Join {
    type Reply = String;

    async fn send(self, connection: MultiplexedConnection) -> Result<String, NodeFailure> {
        text(self.0.run(connection).await)
    }
}

/// An operator's word that a node is new and nobody holds a lock on it.
#[derive(Clone)]
pub(crate) struct Declare(Arc<ScriptCall>);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Declared {
    /// The node is taken for new, and its votes count at once.
    Now,
    /// It had been declared before.
    Before,
    /// Refused: it remembers an earlier incarnation, so it is not new.
    Older,
    /// Refused: it holds a key that may be a lock, one that is not ours and expires.
    HoldsLocks,
    /// Refused: it holds too many keys to be new.
    TooManyKeys,
}

impl Declare {
    pub(crate) fn new() -> Self {
        let mut by_hash = DECLARE.by_hash(1);
        by_hash.arg(internal_key(RECORD)).arg(internal_key("")).arg(DECLARED_KEYS_MAX);
        Self(Arc::new(ScriptCall { lua: &DECLARE, by_hash }))
    }
}

impl Command for Declare {
    type Reply = Declared;

    async fn send(self, connection: MultiplexedConnection) -> Result<Declared, NodeFailure> {
        let answer = text(self.0.run(connection).await)?;
        match answer.as_str() {
            "declared" => Ok(Declared::Now),
            "again" => Ok(Declared::Before),
            "older" => Ok(Declared::Older),
            "held" => Ok(Declared::HoldsLocks),
            "large" => Ok(Declared::TooManyKeys),
            _ => Err(failure::of_reply("EVALSHA", &Value::SimpleString(answer))),
        }
    }
}

fn text(reply: Result<Value, redis::RedisError>) -> Result<String, NodeFailure> {
    let reply = reply.map_err(|error| failure::of_command(&error))?;
    redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("EVALSHA", &reply))
}
