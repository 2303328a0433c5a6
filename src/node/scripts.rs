//! The Lua scripts, each in a file of its own whose head says what it takes and answers.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, Script};

pub(super) static RELEASE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/release.lua")));
pub(super) static EXTEND: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/extend.lua")));
pub(super) static TRIM: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/trim.lua")));

/// Loads every script; part of the handshake, so that the hot path never meets an unknown one.
pub(super) fn load_all(pipeline: &mut Pipeline) {
    for lua in [&RELEASE, &EXTEND, &TRIM] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(lua.text);
    }
}

/// A script on one key.
pub(super) struct Lua {
    text: &'static str,
    hash: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn by_hash(&self, key: &str, args: &[String]) -> Cmd {
        Self::call("EVALSHA", &self.hash, key, args)
    }

    pub(super) fn by_text(&self, key: &str, args: &[String]) -> Cmd {
        Self::call("EVAL", self.text, key, args)
    }

    fn call(command: &str, script: &str, key: &str, args: &[String]) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg(command).arg(script).arg(1).arg(key).arg(args);
        cmd
    }
}
