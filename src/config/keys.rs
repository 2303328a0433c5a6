//! What the keys on the nodes are called.

use super::RedlockBuilder;
use crate::error::SettingsError;
use crate::types::KeyPrefix;

/// How much of a wrong prefix an error repeats.
const SHOWN_CHARS: usize = 64;

impl RedlockBuilder {
    /// What the keys of all locks, and those that the library keeps for itself, begin with, such as `app:`. Clients of
    /// different prefixes do not exclude each other. At most 64 bytes without control characters, not beginning with
    /// `redlock-quorum:`.
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
