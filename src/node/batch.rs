//! Releases of many locks in one command.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::commands::{Answer, Command, Removed, ScriptCall, millis, queue_key};
use super::failure;
use super::scripts::RELEASE_MANY;
use crate::error::NodeFailure;
use crate::types::{Claim, KeySet, Token};

/// The number of locks that one command releases at most. The command blocks the server: for 0.1 ms when the keys are
/// gone, as they are for nearly all repeated releases, and for 1 ms when it has to remove each key and notify a
/// waiter for each.
pub(super) const BATCH_MAX: usize = 128;

/// Removes the keys that are ours, and notifies a waiter for each. The reply has one answer for each key.
#[derive(Clone)]
pub(super) struct RemoveMany {
    call: Arc<ScriptCall>,
    locks: usize,
}

impl RemoveMany {
    /// `grace` is how long a notified waiter has for its attempt.
    pub(super) fn new<'a>(
        locks: impl ExactSizeIterator<Item = (&'a Claim, &'a Token)> + Clone,
        grace: Duration,
    ) -> Self {
        let count = locks.len();
        let mut by_hash = RELEASE_MANY.by_hash(count);
        for (Claim::Exclusive { key }, _) in locks.clone() {
            by_hash.arg(key.key());
        }
        by_hash.arg(millis(grace));
        for (Claim::Exclusive { key }, token) in locks {
            by_hash.arg(token.as_str()).arg(queue_key(key));
        }
        Self { call: Arc::new(ScriptCall { lua: &RELEASE_MANY, by_hash }), locks: count }
    }
}

impl Command for RemoveMany {
    type Reply = Vec<Removed>;

    async fn send(self, connection: MultiplexedConnection) -> Result<Vec<Removed>, NodeFailure> {
        let reply = self.call.run(connection).await.map_err(|error| failure::of_command(&error))?;
        if let Value::BulkString(digits) = &reply
            && digits.len() == self.locks
            && let Some(removed) = digits.iter().map(|digit| removed(*digit)).collect()
        {
            return Ok(removed);
        }
        Err(failure::of_reply("EVALSHA", &reply))
    }
}

fn removed(digit: u8) -> Option<Removed> {
    let (key, notified) = match digit {
        b'0' => (Answer::No, KeySet::EMPTY),
        b'1' => (Answer::Yes, KeySet::EMPTY),
        b'2' => (Answer::No, KeySet::first(1)),
        b'3' => (Answer::Yes, KeySet::first(1)),
        _ => return None,
    };
    Some(Removed { key, notified })
}

#[cfg(all(test, unix))]
#[path = "batch_tests.rs"]
mod tests;
