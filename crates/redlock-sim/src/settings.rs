//! What a simulated server is configured to be.

use std::collections::{BTreeMap, BTreeSet};

use crate::version::Version;

/// When a write is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Before the answer: `appendonly yes`, `appendfsync always`.
    Always,
    /// Within a second: `appendfsync everysec`.
    EverySec,
    /// Never: no file is written.
    None,
}

/// The configuration of a simulated server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Redis 7.0 by default.
    pub version: Version,
    /// [`Persistence::Always`] by default.
    pub persistence: Persistence,
    /// `no-appendfsync-on-rewrite`; off by default.
    pub no_sync_on_rewrite: bool,
    /// `maxmemory` in bytes; 0, the default, is no limit. How much is used is not counted: see
    /// [`Server::set_full`](crate::Server::set_full).
    pub max_memory: u64,
    /// `maxmemory-policy`; `noeviction` by default.
    pub max_memory_policy: String,
    /// `databases`; 16 by default.
    pub databases: usize,
    /// `maxclients`; 10,000 by default.
    pub max_clients: usize,
    /// The users by name. By default `default` alone, without a password, who may do everything.
    pub users: BTreeMap<String, User>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::Redis7,
            persistence: Persistence::Always,
            no_sync_on_rewrite: false,
            max_memory: 0,
            max_memory_policy: "noeviction".into(),
            databases: 16,
            max_clients: 10_000,
            users: BTreeMap::from([(DEFAULT_USER.to_owned(), User::default())]),
        }
    }
}

/// The user of whoever does not log in.
pub(crate) const DEFAULT_USER: &str = "default";

/// A user and what it may not do. By default it has no password and may do everything.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// `None` lets anybody in.
    pub password: Option<String>,
    /// Commands that are refused, in small letters: `pttl`, `config`, `config|get`.
    pub denied: BTreeSet<String>,
    /// What keys begin with that may be used; `None` is all.
    pub keys: Option<Vec<String>>,
    /// What channels begin with that may be used; `None` is all.
    pub channels: Option<Vec<String>>,
}

impl User {
    /// Whether the command, or its subcommand, may be run.
    pub(crate) fn may_run(&self, command: &str, subcommand: Option<&str>) -> bool {
        let whole = subcommand.map(|subcommand| format!("{command}|{subcommand}"));
        !self.denied.contains(command) && !whole.is_some_and(|whole| self.denied.contains(&whole))
    }

    pub(crate) fn may_use_key(&self, key: &[u8]) -> bool {
        is_within(self.keys.as_deref(), key)
    }

    pub(crate) fn may_use_channel(&self, channel: &[u8]) -> bool {
        is_within(self.channels.as_deref(), channel)
    }
}

fn is_within(prefixes: Option<&[String]>, name: &[u8]) -> bool {
    prefixes.is_none_or(|prefixes| prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes())))
}
