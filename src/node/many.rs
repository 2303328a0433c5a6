//! The command that acquires several resources, all or none of them.

use redis::{Cmd, Value};

use super::failure;
use super::scripts::ACQUIRE_MANY;
use crate::error::NodeFailure;
use crate::types::{FoundValue, Resource, Token, Ttl};

/// A key of a claim that belongs to another owner, as a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenKey {
    /// The position in the claim.
    pub(crate) key: usize,
    /// The key's value; empty for a key of another type, which is no lock.
    pub(crate) value: FoundValue,
}

/// The script, sent as text. By its hash, a node that has forgotten the script would be asked twice, and the second
/// command could come behind the release of the keys that it sets.
pub(super) fn acquire(keys: &[Resource], token: &Token, ttl: Ttl) -> Cmd {
    let mut by_hash = ACQUIRE_MANY.by_hash(keys.len());
    for key in keys {
        by_hash.arg(key.key());
    }
    by_hash.arg(token.as_str()).arg(ttl.as_millis());
    ACQUIRE_MANY.by_text(&by_hash)
}

/// Parses the reply of the script: the keys that belong to others; none if all keys are ours.
pub(super) fn taken(reply: &[Value]) -> Result<Box<[TakenKey]>, NodeFailure> {
    let (pairs, []) = reply.as_chunks::<2>() else { return Err(unexpected(reply)) };
    pairs.iter().map(|pair| taken_key(pair).ok_or_else(|| unexpected(reply))).collect()
}

fn taken_key(pair: &[Value; 2]) -> Option<TakenKey> {
    let [Value::Int(position), Value::BulkString(value)] = pair else { return None };
    let key = usize::try_from(*position).ok()?.checked_sub(1)?;
    Some(TakenKey { key, value: FoundValue::new(value) })
}

fn unexpected(reply: &[Value]) -> NodeFailure {
    failure::of_reply("EVAL", &Value::Array(reply.to_vec()))
}
