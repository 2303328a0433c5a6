//! The commands about a lock's queue on a node; `scripts/notify.lua` says how a queue is kept.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::commands::{Command, ScriptCall, millis, queue_key};
use super::failure;
use super::push::Channel;
use super::scripts::{LEAVE, Lua, REGISTER};
use super::shared::intent_key;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Claim, Manner, Resource, Ticket, Turn, slot_of};

/// How long a queue is kept after a client has registered, or one of the next three has looked. The first client registers
/// again far more often, and each of the next three looks more often. So only the entries of dead clients last to the
/// end of this time.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// For whom a lock counts as free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForWhom {
    /// Only if nobody has the lock.
    Owner,
    /// Also while others read and no writer waits.
    Reader,
}

impl ForWhom {
    pub(crate) fn of(claim: &Claim) -> Self {
        if claim.is_shared() { Self::Reader } else { Self::Owner }
    }

    fn add_to(self, by_hash: &mut Cmd, resource: &Resource) {
        match self {
            Self::Owner => {}
            Self::Reader => {
                by_hash.arg(intent_key(resource));
            }
        }
    }
}

/// A call of a script with the keys of a lock.
fn about(lua: &Lua, resource: &Resource) -> Cmd {
    let slots = resource.slots();
    let mut by_hash = lua.by_hash(2 + slots.len());
    by_hash.arg(resource.key()).arg(queue_key(resource));
    for key in slots {
        by_hash.arg(&**key);
    }
    by_hash
}

/// A node's answer to a client that has registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) turn: Turn,
    pub(crate) ticket: Ticket,
    /// Of a semaphore a slot that is free, or is the first to expire.
    pub(crate) slot: Option<usize>,
    /// How many clients wait before this one.
    pub(crate) ahead: u32,
}

/// Adds this client to the queue of a lock, and reads the state of the lock.
#[derive(Clone)]
pub(crate) struct Register(Arc<ScriptCall>);

impl Register {
    /// `grace` is how long a notified waiter has for its attempt.
    pub(crate) fn new(
        resource: &Resource,
        for_whom: ForWhom,
        channel: &Channel,
        ticket: Option<&Ticket>,
        manner: Manner,
        grace: Duration,
    ) -> Self {
        let mut by_hash = about(&REGISTER, resource);
        by_hash.arg(channel.as_str());
        by_hash.arg(ticket.map_or("", Ticket::as_str));
        by_hash.arg(match manner {
            Manner::Eager => "eager",
            Manner::Patient => "patient",
            Manner::Behind => "behind",
        });
        by_hash.arg(millis(grace)).arg(millis(KEPT_FOR));
        for_whom.add_to(&mut by_hash, resource);
        Self(Arc::new(ScriptCall::new(&REGISTER, by_hash)))
    }
}

impl Command for Register {
    type Reply = Registered;

    async fn send(self, connection: Wire) -> Result<Registered, NodeFailure> {
        let reply = self.0.run(connection).await.map_err(|error| failure::of_command(&error))?;
        if let Value::Array(parts) = &reply
            && let [Value::Int(wait), Value::BulkString(ticket), Value::BulkString(key), Value::Int(ahead)] =
                parts.as_slice()
            && let Ok(ticket) = std::str::from_utf8(ticket)
        {
            let slot = std::str::from_utf8(key).ok().and_then(|key| Some(slot_of(key)?.0));
            let ahead = u32::try_from(*ahead).unwrap_or_default();
            return Ok(Registered { turn: turn(*wait), ticket: Ticket::new(ticket), slot, ahead });
        }
        Err(failure::of_reply("EVALSHA", &reply))
    }
}

fn turn(wait: i64) -> Turn {
    match u64::try_from(wait) {
        Ok(0) => Turn::Ours,
        Ok(wait) => Turn::Others(Duration::from_millis(wait)),
        Err(_) if wait == -2 => Turn::Free,
        Err(_) => Turn::Endless,
    }
}

/// Removes this client from the queue of a lock, and notifies the next waiter if the lock is free.
#[derive(Clone)]
pub(crate) struct Leave(Arc<ScriptCall>);

impl Leave {
    pub(crate) fn new(resource: &Resource, for_whom: ForWhom, channel: &Channel, grace: Duration) -> Self {
        Self::called(resource, for_whom, channel.as_str(), grace)
    }

    /// Only notifies the next waiter. Used by a client that is not in the queue.
    pub(crate) fn of_nobody(resource: &Resource, for_whom: ForWhom, grace: Duration) -> Self {
        Self::called(resource, for_whom, "", grace)
    }

    fn called(resource: &Resource, for_whom: ForWhom, channel: &str, grace: Duration) -> Self {
        let mut by_hash = about(&LEAVE, resource);
        by_hash.arg(channel).arg(millis(grace));
        for_whom.add_to(&mut by_hash, resource);
        Self(Arc::new(ScriptCall::new(&LEAVE, by_hash)))
    }
}

impl Command for Leave {
    type Reply = ();

    async fn send(self, connection: Wire) -> Result<(), NodeFailure> {
        // The answer does not matter: either something was done, or there was nothing to do.
        self.0.run(connection).await.map(drop).map_err(|error| failure::of_command(&error))
    }
}

#[cfg(all(test, unix))]
#[path = "queue_tests.rs"]
mod tests;
