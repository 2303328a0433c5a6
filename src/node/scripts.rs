//! The Lua scripts, each in a file whose head comment documents its arguments and its answer.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Pipeline, Script};

use crate::planted::{self, Fault};

/// `release.lua` comes first: it returns when nobody waits, before the functions of `notify.lua` are made, because
/// making them takes a server longer than the release.
pub(super) const RELEASE_TEXT: &str = concat!(
    include_str!("scripts/release.lua"),
    include_str!("scripts/notify.lua"),
    include_str!("scripts/release_notify.lua")
);
pub(super) const RELEASE_MANY_TEXT: &str =
    concat!(include_str!("scripts/notify.lua"), include_str!("scripts/release_many.lua"));
pub(super) const REGISTER_TEXT: &str =
    concat!(include_str!("scripts/notify.lua"), include_str!("scripts/register.lua"));
const EXTEND_TEXT: &str = include_str!("scripts/extend.lua");
pub(super) const LEAVE_TEXT: &str =
    concat!(include_str!("scripts/notify.lua"), include_str!("scripts/leave.lua"));

pub(super) static RELEASE: LazyLock<Lua> = LazyLock::new(|| Lua::new(RELEASE_TEXT));
/// `release.lua`, and in tests its deliberate bug.
pub(super) fn release() -> &'static Lua {
    if planted::is(Fault::PlainDel) {
        return &RELEASE_OF_ANYBODY;
    }
    &RELEASE
}

/// `extend.lua`, and in tests its deliberate bug.
pub(super) fn extend() -> &'static Lua {
    if planted::is(Fault::RevivedKey) {
        return &EXTEND_OR_SET;
    }
    &EXTEND
}

static RELEASE_OF_ANYBODY: LazyLock<Lua> =
    LazyLock::new(|| patched(RELEASE_TEXT, "if value == ARGV[1] then", "if value then"));

static EXTEND_OR_SET: LazyLock<Lua> = LazyLock::new(|| {
    let at = "for i, key in ipairs(KEYS) do\n";
    patched(
        EXTEND_TEXT,
        at,
        &format!("{at}redis.call('SET', key, ARGV[2 * i - 1], 'NX', 'PX', ARGV[2 * i])\n"),
    )
});

fn patched(text: &str, correct: &str, wrong: &str) -> Lua {
    assert!(text.contains(correct), "the planted bug has lost its place in the script");
    Lua::new(text.replacen(correct, wrong, 1).leak())
}

pub(super) static RELEASE_MANY: LazyLock<Lua> = LazyLock::new(|| Lua::new(RELEASE_MANY_TEXT));
pub(super) static REGISTER: LazyLock<Lua> = LazyLock::new(|| Lua::new(REGISTER_TEXT));
pub(super) static LEAVE: LazyLock<Lua> = LazyLock::new(|| Lua::new(LEAVE_TEXT));
pub(super) static EXTEND: LazyLock<Lua> = LazyLock::new(|| Lua::new(EXTEND_TEXT));
pub(super) static WRITE_RECORD: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/write_record.lua")));
pub(super) static DECLARE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/declare.lua")));
pub(super) const RELEASE_SHARED_TEXT: &str =
    concat!(include_str!("scripts/notify.lua"), include_str!("scripts/release_shared.lua"));
pub(super) static RELEASE_SHARED: LazyLock<Lua> = LazyLock::new(|| Lua::new(RELEASE_SHARED_TEXT));
pub(super) static EXTEND_SHARED: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/extend_shared.lua")));
pub(super) static INTEND: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/intend.lua")));
/// The script is sent as text; `many.rs` says why.
pub(super) static ACQUIRE_SHARED: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/acquire_shared.lua")));
/// The script is sent as text; `many.rs` says why.
pub(super) static ACQUIRE_SLOT: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/acquire_slot.lua")));
/// The script is sent as text; `many.rs` says why.
pub(super) static ACQUIRE_MANY: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/acquire_many.lua")));
pub(super) static TRIM: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/trim.lua")));
/// The script is sent as text at each connect; its head comment says why.
pub(super) static PERMISSIONS: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/permissions.lua")));

/// Loads every script that is called by its hash during the handshake, so that no later command meets an unknown script.
pub(super) fn load_all(pipeline: &mut Pipeline) {
    for lua in [
        &RELEASE,
        &RELEASE_MANY,
        &RELEASE_SHARED,
        &REGISTER,
        &LEAVE,
        &EXTEND,
        &EXTEND_SHARED,
        &INTEND,
        &TRIM,
        &WRITE_RECORD,
        &DECLARE,
    ] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(lua.text);
    }
}

/// A command with room for the usual arguments. A buffer that grows step by step is copied five times before it holds
/// a release.
pub(super) fn roomy_command() -> Cmd {
    Cmd::with_capacity(8, 256)
}

/// One script.
pub(super) struct Lua {
    text: &'static str,
    hash: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// A call of the script with this number of keys. The caller adds the keys and the other arguments.
    pub(super) fn by_hash(&self, keys: usize) -> Cmd {
        let mut cmd = roomy_command();
        cmd.arg("EVALSHA").arg(&self.hash).arg(keys);
        cmd
    }

    /// The same call with the script's text, for a node that has forgotten the script.
    pub(super) fn by_text(&self, by_hash: &Cmd) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg("EVAL").arg(self.text);
        for arg in by_hash.args_iter().skip(2) {
            // The other kind of argument, a cursor, is only used by SCAN.
            if let Arg::Simple(bytes) = arg {
                cmd.arg(bytes);
            }
        }
        cmd
    }
}
