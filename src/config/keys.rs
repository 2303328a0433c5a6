//! What the keys on the nodes are called.

use super::RedlockBuilder;
use crate::error::SettingsError;
use crate::types::KeyPrefix;

/// How much of a wrong prefix an error repeats.
const SHOWN_CHARS: usize = 64;

impl RedlockBuilder {
    /// What the keys of all locks begin with, such as `app:`. At most 64 bytes without control characters, not
    /// beginning with `redlock-quorum:`.
    ///
    /// A lock is its key. Clients of different prefixes do not exclude each other, and `job` behind the prefix `app:` is
    /// the same lock as `app:job` without a prefix, with the same fencing tokens and the same queue. Another prefix is
    /// another lock: while clients with the old one and with the new one run, they do not exclude each other, and the
    /// tokens of the new lock need not be larger than those of the old one.
    ///
    /// The prefix separates the names of locks and nothing else. The keys that the library keeps for itself, and its
    /// channels, begin with `redlock-quorum:` for all clients of a node: a user who is restricted to the keys of one
    /// prefix needs `~redlock-quorum:*` and `&redlock-quorum:wake:*` as well. Clients that shall share nothing need
    /// databases or nodes of their own.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self.given("key_prefix")
    }
}

pub(super) fn parse(prefix: &str) -> Result<KeyPrefix, SettingsError> {
    KeyPrefix::parse(prefix).ok_or_else(|| SettingsError::OutOfRange {
        setting: "key_prefix",
        value: format!("{:?}", prefix.chars().take(SHOWN_CHARS).collect::<String>()),
        bound: KeyPrefix::BOUND.to_owned(),
    })
}
