//! The commands that a node understands, and what it answers.

use std::sync::{Arc, LazyLock};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, Script, ServerErrorKind, Value};

use super::failure;
use crate::error::NodeFailure;
use crate::types::{Resource, Token, Ttl};

static RELEASE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/release.lua")));
static EXTEND: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/extend.lua")));

/// A node's answer, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

/// One command about one lock, built once and sent to every node.
#[derive(Clone)]
pub(crate) struct Command(Arc<Parts>);

struct Parts {
    kind: Kind,
    resource: Resource,
    token: Token,
    cmd: Cmd,
}

#[derive(Clone, Copy)]
enum Kind {
    Acquire,
    Extend(Ttl),
    Release,
}

impl Command {
    /// Yes if the key was free and is ours now.
    pub(crate) fn acquire(resource: &Resource, token: &Token, ttl: Ttl) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg("SET").arg(resource.as_str()).arg(token.as_str()).arg("NX").arg("PX").arg(ttl.as_millis());
        Self::new(Kind::Acquire, resource, token, cmd)
    }

    /// Yes if the key is ours and lives at least `ttl` from now on; no if it is not ours.
    pub(crate) fn extend(resource: &Resource, token: &Token, ttl: Ttl) -> Self {
        let mut cmd = EXTEND.by_hash(resource, token);
        cmd.arg(ttl.as_millis());
        Self::new(Kind::Extend(ttl), resource, token, cmd)
    }

    /// Yes if the key was ours and is gone now; no if it was not ours.
    pub(crate) fn release(resource: &Resource, token: &Token) -> Self {
        Self::new(Kind::Release, resource, token, RELEASE.by_hash(resource, token))
    }

    fn new(kind: Kind, resource: &Resource, token: &Token, cmd: Cmd) -> Self {
        Self(Arc::new(Parts { kind, resource: resource.clone(), token: token.clone(), cmd }))
    }

    /// Sends the command and awaits the answer, however long it takes.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll, nothing was sent. Dropped later, the command may or may not run.
    pub(super) async fn send(self, mut connection: MultiplexedConnection) -> Result<Answer, NodeFailure> {
        let mut reply = connection.send_packed_command(&self.0.cmd).await.and_then(Value::extract_error);
        if let Err(error) = &reply
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
            && let Some(cmd) = self.by_text()
        {
            // SCRIPT FLUSH, or a restart behind a proxy. EVAL puts the script back as well.
            reply = connection.send_packed_command(&cmd).await.and_then(Value::extract_error);
        }
        self.answer(reply)
    }

    fn by_text(&self) -> Option<Cmd> {
        let Parts { kind, resource, token, cmd: _ } = &*self.0;
        match kind {
            Kind::Acquire => None,
            Kind::Extend(ttl) => {
                let mut cmd = EXTEND.by_text(resource, token);
                cmd.arg(ttl.as_millis());
                Some(cmd)
            }
            Kind::Release => Some(RELEASE.by_text(resource, token)),
        }
    }

    fn answer(&self, reply: Result<Value, RedisError>) -> Result<Answer, NodeFailure> {
        match (self.0.kind, reply) {
            (_, Err(error)) => Err(failure::of_command(&error)),
            (Kind::Acquire, Ok(Value::Okay)) => Ok(Answer::Yes),
            (Kind::Acquire, Ok(Value::Nil)) => Ok(Answer::No),
            (Kind::Extend(_) | Kind::Release, Ok(Value::Int(1))) => Ok(Answer::Yes),
            (Kind::Extend(_) | Kind::Release, Ok(Value::Int(0))) => Ok(Answer::No),
            (Kind::Acquire, Ok(other)) => Err(failure::of_reply("SET", &other)),
            (Kind::Extend(_) | Kind::Release, Ok(other)) => Err(failure::of_reply("EVALSHA", &other)),
        }
    }
}

/// Loads every script; part of the handshake, so that the hot path never meets an unknown one.
pub(super) fn load_scripts() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for lua in [&RELEASE, &EXTEND] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(lua.text);
    }
    pipeline
}

struct Lua {
    text: &'static str,
    hash: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    fn by_hash(&self, resource: &Resource, token: &Token) -> Cmd {
        Self::call("EVALSHA", &self.hash, resource, token)
    }

    fn by_text(&self, resource: &Resource, token: &Token) -> Cmd {
        Self::call("EVAL", self.text, resource, token)
    }

    fn call(command: &str, script: &str, resource: &Resource, token: &Token) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg(command).arg(script).arg(1).arg(resource.as_str()).arg(token.as_str());
        cmd
    }
}
