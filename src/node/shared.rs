//! Readers, and the writers that wait for them.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::commands::{Command, ScriptCall, millis, single};
use super::failure;
use super::scripts::{ACQUIRE_SHARED, INTEND};
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

/// Keeps new readers of a lock out for a while, because a writer waits; or lets them in again.
#[derive(Clone)]
pub(crate) struct Intend(Arc<Says>);

enum Says {
    Waits(ScriptCall),
    WaitsNoMore(Cmd),
}

impl Intend {
    /// `wait` is a token of this wait alone: a writer that goes must not let readers in while another one waits.
    pub(crate) fn new(key: &Resource, wait: &Token) -> Self {
        let mut by_hash = INTEND.by_hash(1);
        by_hash.arg(intent_key(key)).arg(wait.as_str()).arg(millis(INTENT_LASTS));
        Self(Arc::new(Says::Waits(ScriptCall::new(&INTEND, by_hash))))
    }

    /// The writer waits no more.
    pub(crate) fn no_more(key: &Resource, wait: &Token) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg("HDEL").arg(intent_key(key)).arg(wait.as_str());
        Self(Arc::new(Says::WaitsNoMore(cmd)))
    }
}

impl Command for Intend {
    type Reply = ();

    async fn send(self, connection: Wire) -> Result<(), NodeFailure> {
        let reply = match &*self.0 {
            Says::Waits(call) => call.run(connection).await,
            Says::WaitsNoMore(cmd) => single(&connection, cmd).await,
        };
        reply.map(drop).map_err(|error| failure::of_command(&error))
    }
}

#[cfg(all(test, unix))]
#[path = "shared_tests.rs"]
mod tests;
