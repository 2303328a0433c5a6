//! The prefix of the keys on the nodes, and the owner label, which shows who holds a lock to anybody who inspects its
//! key.

use std::sync::Arc;

use super::RedlockBuilder;
use crate::error::SettingsError;
use crate::types::{KeyPrefix, LeaderLabel, OWNER_BYTES_MAX};

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

pub(super) fn parse_prefix(prefix: &str) -> Result<KeyPrefix, SettingsError> {
    KeyPrefix::parse(prefix).ok_or_else(|| SettingsError::OutOfRange {
        setting: "key_prefix",
        value: format!("{:?}", prefix.chars().take(SHOWN_CHARS).collect::<String>()),
        bound: KeyPrefix::BOUND.to_owned(),
    })
}

/// Checks the label; the default is `host:pid`.
pub(super) fn parse_owner(owner: Option<String>) -> Result<Arc<str>, SettingsError> {
    let owner = match owner {
        Some(label) => label,
        None => format!("{}:{}", host_name(), std::process::id()),
    };
    let bound = if owner.is_empty() || owner.len() > OWNER_BYTES_MAX || owner.chars().any(char::is_control) {
        format!("1 to {OWNER_BYTES_MAX} bytes without control characters")
    } else if LeaderLabel::parse(&owner).is_some() {
        "another label than `leader:TERM:MILLISECONDS:VALUE`, by which leaders are known".to_owned()
    } else {
        return Ok(owner.into());
    };
    Err(SettingsError::OutOfRange { setting: "owner", value: format!("{owner:?}"), bound })
}

#[cfg(unix)]
fn host_name() -> String {
    let name = rustix::system::uname();
    let name: String =
        name.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".to_owned())
}
