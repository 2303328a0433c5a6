//! The slots of semaphores.

use redis::{Cmd, Value};

use super::commands::Denial;
use super::failure;
use super::scripts::ACQUIRE_SLOT;
use crate::error::NodeFailure;
use crate::types::{KEYS_MAX, Slot, Token, Ttl};

/// The script, sent as text for the reason of [`many::acquire`](super::many::acquire).
pub(super) fn acquire(slot: &Slot, token: &Token, ttl: Ttl) -> Cmd {
    let slots = slot.of.slots();
    let mut by_hash = ACQUIRE_SLOT.by_hash(1 + slots.len());
    by_hash.arg(slot.of.key());
    for key in slots {
        by_hash.arg(&**key);
    }
    by_hash.arg(token.as_str()).arg(ttl.as_millis()).arg(slot.number + 1);
    ACQUIRE_SLOT.by_text(&by_hash)
}

/// Parses the reply of the script if the slot was not granted.
pub(super) fn denial(reply: &Value) -> Result<Denial, NodeFailure> {
    if let Value::BulkString(digits) = reply
        && digits.len() <= KEYS_MAX
    {
        let free = digits.iter().enumerate().filter(|(_, digit)| **digit == b'1').map(|(slot, _)| slot);
        return Ok(Denial::SlotTaken { free: free.collect() });
    }
    if let Value::Int(permits) = reply
        && *permits < 0
    {
        return Ok(Denial::OtherPermits(usize::try_from(permits.unsigned_abs()).unwrap_or(usize::MAX)));
    }
    Err(failure::of_reply("SET or EVAL", reply))
}
