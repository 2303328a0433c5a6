//! An operator's word that a node is new.

use std::sync::Arc;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::commands::{Command, ScriptCall};
use super::failure;
use super::record::RECORD;
use super::scripts::DECLARE;
use crate::error::NodeFailure;
use crate::types::internal_key;

/// How many keys a node that is declared new may have. To look at them takes it some milliseconds.
const DECLARED_KEYS_MAX: u32 = 10_000;

/// An operator's word that a node is new and nobody holds a lock on it.
#[derive(Clone)]
pub(crate) struct Declare(Arc<ScriptCall>);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Declared {
    /// The node is taken for new: nothing that it may have forgotten keeps it in quarantine. Its votes count at once if
    /// nothing else is against it, and until it restarts without being [durable](crate::Persistence::Durable).
    Now,
    /// It had been declared before.
    Before,
    /// Refused: its memory has been broken since clients first met it, so it is not new. Its quarantine ends by itself.
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
        let reply = self.0.run(connection).await.map_err(|error| failure::of_command(&error))?;
        let answer: String =
            redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("EVALSHA", &reply))?;
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
