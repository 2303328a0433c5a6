//! The commands that extend the TTL of locks.

use std::sync::Arc;

use redis::Value;

use super::commands::{Answer, Command, ScriptCall};
use super::failure;
use super::scripts::{EXTEND_SHARED, extend};
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Claim, Token, Ttl};

/// Extends the TTL of the keys of a claim. The answer is yes if all of them are ours and live at least a TTL from now
/// on, and no if one is not ours.
#[derive(Clone)]
pub(crate) struct Extend(ExtendMany);

impl Extend {
    pub(crate) fn new(claim: &Claim, token: &Token, ttl: Ttl) -> Self {
        Self(ExtendMany::new([(claim, token, ttl)].into_iter()))
    }
}

impl Command for Extend {
    type Reply = Answer;

    async fn send(self, connection: Wire) -> Result<Answer, NodeFailure> {
        self.0.send(connection).await.map(|answers| answers[0])
    }
}

/// [`Extend`] for several locks, all of them shared or none, with one answer for each.
#[derive(Clone)]
pub(crate) struct ExtendMany {
    call: Arc<ScriptCall>,
    /// How many keys each lock has.
    keys: Arc<[usize]>,
}

impl ExtendMany {
    pub(crate) fn new<'a>(locks: impl ExactSizeIterator<Item = (&'a Claim, &'a Token, Ttl)> + Clone) -> Self {
        let keys: Arc<[usize]> = locks.clone().map(|(claim, ..)| claim.keys().len()).collect();
        let is_shared = locks.clone().next().is_some_and(|(claim, ..)| claim.is_shared());
        let lua = if is_shared { &EXTEND_SHARED } else { extend() };
        // The keys of semaphores come last, and the answers about them do not matter.
        let semaphores = locks.clone().filter_map(|(claim, _, ttl)| Some((&claim.as_slot()?.of, ttl)));
        let mut by_hash = lua.by_hash(keys.iter().sum::<usize>() + semaphores.clone().count());
        for key in locks.clone().flat_map(|(claim, ..)| claim.keys()) {
            by_hash.arg(key.key());
        }
        for (semaphore, _) in semaphores.clone() {
            by_hash.arg(semaphore.key());
        }
        for (claim, token, ttl) in locks {
            for _ in claim.keys() {
                by_hash.arg(token.as_str()).arg(ttl.as_millis());
            }
        }
        for (semaphore, ttl) in semaphores {
            by_hash.arg(semaphore.slots().len()).arg(ttl.as_millis());
        }
        Self { call: Arc::new(ScriptCall::new(lua, by_hash)), keys }
    }
}

impl Command for ExtendMany {
    type Reply = Vec<Answer>;

    async fn send(self, connection: Wire) -> Result<Vec<Answer>, NodeFailure> {
        let reply = self.call.run(connection).await.map_err(|error| failure::of_command(&error))?;
        if let Value::BulkString(digits) = &reply
            && let Some(digits) = digits.get(..self.keys.iter().sum())
            && let Some(digits) = digits_of_each(digits, &self.keys)
            && let Some(answers) = digits.into_iter().map(answer).collect()
        {
            return Ok(answers);
        }
        Err(failure::of_reply("EVALSHA", &reply))
    }
}

fn answer(digits: &[u8]) -> Option<Answer> {
    let is_known = digits.iter().all(|digit| matches!(digit, b'0' | b'1'));
    is_known.then(|| if digits.contains(&b'0') { Answer::No } else { Answer::Yes })
}

/// Cuts a reply with one digit for each key into the digits of each lock, by the lock's number of keys.
pub(super) fn digits_of_each<'a>(mut digits: &'a [u8], keys: &[usize]) -> Option<Vec<&'a [u8]>> {
    let mut of_each = Vec::with_capacity(keys.len());
    for count in keys {
        let (of_this, rest) = digits.split_at_checked(*count)?;
        of_each.push(of_this);
        digits = rest;
    }
    digits.is_empty().then_some(of_each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_that_is_not_ours_is_a_no_for_its_lock_alone() {
        let answers = |digits: &'static [u8], keys: &[usize]| -> Option<Vec<Answer>> {
            digits_of_each(digits, keys)?.into_iter().map(answer).collect()
        };
        assert_eq!(
            answers(b"111011", &[1, 2, 2, 1]),
            Some(vec![Answer::Yes, Answer::Yes, Answer::No, Answer::Yes])
        );
        for (wrong, keys) in
            [(&b"11"[..], &[1][..]), (b"1", &[1, 1]), (b"1", &[2]), (b"12", &[2]), (b"", &[1])]
        {
            assert_eq!(answers(wrong, keys), None, "{wrong:?} {keys:?}");
        }
    }
}
