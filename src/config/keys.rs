//! The prefix of the keys on the nodes.

use super::RedlockBuilder;
use crate::error::SettingsError;
use crate::types::KeyPrefix;

/// Most characters of a wrong prefix that an error repeats.
const SHOWN_CHARS: usize = 64;

impl RedlockBuilder {
    /// The beginning of the keys of all locks, such as `app:`. At most 64 bytes without control characters, not
    /// beginning with `redlock-quorum:`.
    ///
    /// A lock is its key: the lock `job` of a client with the prefix `app:` is the lock `app:job` of a client without a
    /// prefix, with the same fencing tokens and the same wait queue. Clients with different prefixes do not exclude
    /// each other. A change of the prefix makes other locks: clients with the old prefix and clients with the new one
    /// do not exclude each other, and the tokens of a new lock need not be larger than those of the old one.
    ///
    /// The prefix separates the names of locks and nothing else. The library's internal keys and channels begin with
    /// `redlock-quorum:` for all clients of a node, so an ACL user who is restricted to the keys of one prefix needs
    /// `~redlock-quorum:*` and `&redlock-quorum:wake:*` as well. Clients that must share nothing need databases or
    /// nodes of their own.
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
