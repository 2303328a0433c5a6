//! Readers, and the writers that wait for them.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::commands::{Command, millis, single};
use super::failure;
use super::scripts::ACQUIRE_SHARED;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Resource, Token, Ttl, internal_key};

/// How long readers are kept out after a waiting writer has said that it waits. The writer says so again at least
/// every second; one that has died is waited for no longer than this.
const INTENT_LASTS: Duration = Duration::from_secs(2);

/// The script, sent as text for the reason of [`many::acquire`](super::many::acquire).
pub(super) fn acquire(key: &Resource, token: &Token, ttl: Ttl) -> Cmd {
    let mut by_hash = ACQUIRE_SHARED.by_hash(1);
    by_hash.arg(key.key()).arg(token.as_str()).arg(ttl.as_millis()).arg(intent_key(key));
    ACQUIRE_SHARED.by_text(&by_hash)
}

/// The key that exists while a writer waits for a lock.
pub(super) fn intent_key(key: &Resource) -> String {
    internal_key(&format!("intent:{}", key.key()))
}

/// Keeps new readers of a lock out for a while, because a writer waits.
#[derive(Clone)]
pub(crate) struct Intend(Arc<Cmd>);

impl Intend {
    pub(crate) fn new(key: &Resource) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg("SET").arg(intent_key(key)).arg(1).arg("PX").arg(millis(INTENT_LASTS));
        Self(Arc::new(cmd))
    }

    /// Lets readers in again, because the writer waits no more.
    pub(crate) fn no_more(key: &Resource) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg("DEL").arg(intent_key(key));
        Self(Arc::new(cmd))
    }
}

impl Command for Intend {
    type Reply = ();

    async fn send(self, connection: Wire) -> Result<(), NodeFailure> {
        single(&connection, &self.0).await.map(drop).map_err(|error| failure::of_command(&error))
    }
}
