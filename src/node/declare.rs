//! `redlock init`: an operator declares that a node is new.

use std::sync::Arc;

use redis::Value;

use super::commands::{Command, ScriptCall};
use super::failure;
use super::record::RECORD;
use super::scripts::DECLARE;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::internal_key;

/// The number of keys that a node may have to be declared new. Inspecting them takes the server some milliseconds.
const DECLARED_KEYS_MAX: u32 = 10_000;

/// The command by which an operator declares that a node is new and that nobody holds a lock on it.
#[derive(Clone)]
pub(crate) struct Declare(Arc<ScriptCall>);

/// The result of declaring a node new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Declared {
    /// The node is declared new, so a possible loss of locks does not quarantine it. Its votes count at once unless
    /// there is another reason against them, and until it restarts without being
    /// [durable](crate::Persistence::Durable).
    Now,
    /// The node had been declared new before.
    Before,
    /// Refused: the node's memory has been broken since clients first met it, so the node is not new. Its quarantine
    /// ends by itself.
    Older,
    /// Refused: the node holds a key that may be a lock, because the key expires and is not one of this library's
    /// internal keys.
    HoldsLocks,
    /// Refused: the node holds too many keys to be new.
    TooManyKeys,
}

impl Declare {
    pub(crate) fn new() -> Self {
        let mut by_hash = DECLARE.by_hash(1);
        by_hash.arg(internal_key(RECORD)).arg(internal_key("")).arg(DECLARED_KEYS_MAX);
        Self(Arc::new(ScriptCall::new(&DECLARE, by_hash)))
    }
}

impl Command for Declare {
    type Reply = Declared;

    async fn send(self, connection: Wire) -> Result<Declared, NodeFailure> {
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
