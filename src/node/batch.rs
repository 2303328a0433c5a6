//! Releases of many keys in one command.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::commands::{Answer, Command, Removed, ScriptCall, millis, queue_key};
use super::extend::digits_of_each;
use super::failure;
use super::scripts::{RELEASE_MANY, RELEASE_SHARED};
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Claim, KeySet};

/// The number of keys that one command releases at most. The command blocks the server: for 0.1 ms when the keys are
/// gone, as they are for nearly all repeated releases, and for 1 ms when it has to remove each key and notify a
/// waiter for each.
pub(super) const BATCH_MAX: usize = 128;

/// Removes the keys that are ours, and notifies waiters. The reply has one answer for each lock.
#[derive(Clone)]
pub(crate) struct RemoveMany {
    call: Arc<ScriptCall>,
    /// How many keys each lock has.
    keys: Arc<[usize]>,
}

impl RemoveMany {
    /// All locks are shared or none is. Each lock is given with its owner, and with the keys for which a waiter is notified. `grace` is how long a
    /// notified waiter has for its attempt.
    pub(super) fn new<'a>(
        locks: impl ExactSizeIterator<Item = (&'a Claim, &'a [u8], KeySet)> + Clone,
        grace: Duration,
    ) -> Self {
        let keys: Arc<[usize]> = locks.clone().map(|(claim, ..)| claim.keys().len()).collect();
        let is_shared = locks.clone().next().is_some_and(|(claim, ..)| claim.is_shared());
        let lua = if is_shared { &RELEASE_SHARED } else { &RELEASE_MANY };
        let mut by_hash = lua.by_hash(keys.iter().sum());
        for key in locks.clone().flat_map(|(claim, ..)| claim.keys()) {
            by_hash.arg(key.key());
        }
        by_hash.arg(millis(grace));
        for (claim, owner, notify) in locks {
            for (i, resource) in claim.resources().iter().enumerate() {
                by_hash.arg(owner).arg(if notify.contains(i) { queue_key(resource) } else { String::new() });
            }
        }
        Self { call: Arc::new(ScriptCall::new(lua, by_hash)), keys }
    }
}

impl Command for RemoveMany {
    type Reply = Vec<Removed>;

    async fn send(self, connection: Wire) -> Result<Vec<Removed>, NodeFailure> {
        let reply = self.call.run(connection).await.map_err(|error| failure::of_command(&error))?;
        if let Value::BulkString(digits) = &reply
            && let Some(digits) = digits_of_each(digits, &self.keys)
            && let Some(removed) = digits.into_iter().map(removed).collect()
        {
            return Ok(removed);
        }
        Err(failure::of_reply("EVALSHA", &reply))
    }
}

/// The answer for one lock, from the digits of its keys.
fn removed(digits: &[u8]) -> Option<Removed> {
    let mut removed = Removed { key: Answer::Yes, notified: KeySet::EMPTY };
    for (key, digit) in digits.iter().enumerate() {
        let bits = digit.checked_sub(b'0').filter(|bits| *bits < 4)?;
        if bits & 1 == 0 {
            removed.key = Answer::No;
        }
        if bits & 2 != 0 {
            removed.notified.insert(key);
        }
    }
    Some(removed)
}

#[cfg(all(test, unix))]
#[path = "batch_tests.rs"]
mod tests;
