//! The library's scripts as they are, and others about what Lua and Redis make of each other's values.

use std::sync::LazyLock;

use sha1_smol::Sha1;

/// Which of them. The variant says what its arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Script {
    AcquireMany,
    AcquireShared,
    AcquireSlot,
    ExtendShared,
    ReleaseShared,
    Release,
    ReleaseMany,
    Register,
    Leave,
    Extend,
    Intend,
    Trim,
    WriteRecord,
    Declare,
    Permissions,
    /// Returns values of all kinds.
    Words,
    /// One of [`MISTAKES`].
    Mistake(usize),
}

use Script::{
    AcquireMany, AcquireShared, AcquireSlot, Declare, Extend, ExtendShared, Intend, Leave, Mistake,
    Permissions, Register, Release, ReleaseMany, ReleaseShared, Trim, Words, WriteRecord,
};

/// Those that matter most stand here more than once.
pub(crate) const SCRIPTS: [Script; 36] = [
    AcquireSlot,
    AcquireSlot,
    AcquireShared,
    AcquireShared,
    ExtendShared,
    ReleaseShared,
    ReleaseShared,
    AcquireMany,
    AcquireMany,
    Release,
    Release,
    ReleaseMany,
    ReleaseMany,
    Register,
    Register,
    Register,
    Leave,
    Extend,
    Extend,
    Intend,
    Trim,
    WriteRecord,
    WriteRecord,
    Declare,
    Permissions,
    Words,
    Mistake(0),
    Mistake(1),
    Mistake(2),
    Mistake(3),
    Mistake(4),
    Mistake(5),
    Mistake(6),
    Mistake(7),
    Mistake(8),
    Mistake(9),
];

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../../../src/node/scripts/", $name, ".lua"))
    };
}

const NOTIFY: &str = lua!("notify");

const VALUES: &str = "
    local list = { 1, -7.9, 'text', true, false, { 'in', 2 }, redis.sha1hex(ARGV[2]), nil, 'never' }
    list[#list + 1] = 'end'
    local known = redis.pcall('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'WITHSCORES')
    local hash = redis.pcall('HMGET', KEYS[2], 'id', 'none')
    return { list, known, hash, tostring(tonumber(ARGV[1])), #KEYS, #ARGV, redis.pcall('GET', KEYS[1]),
        redis.status_reply('FINE'), redis.pcall('TYPE', KEYS[2]), redis.pcall('PTTL', KEYS[1]) == -2 }
";

/// What goes wrong, or nearly.
const MISTAKES: [&str; 10] = [
    "redis.call('HGET', KEYS[1], 'id')\nreturn redis.call('ZADD', KEYS[1], 3, ARGV[2])",
    "\n\nlocal none\nreturn none.field",
    "redis.call('DEL', KEYS[1])\nredis.call('SET', KEYS[1], ARGV[2])\nreturn redis.call('PUBLISH', ARGV[1], 'x')",
    "return redis.error_reply('MY mistake')",
    "local reply = redis.pcall('SET', KEYS[1], ARGV[2])\nreturn { reply.ok or '', reply.err or '' }",
    "return redis.call('GET', KEYS[1], 'more')",
    "return redis.call('NOTHING', KEYS[1])",
    "return redis.call('SUBSCRIBE', ARGV[1])",
    "undefined = 1",
    "error('said by the script')",
];

static ALL: LazyLock<Vec<(Script, String, String)>> = LazyLock::new(|| {
    let mut scripts = SCRIPTS.to_vec();
    scripts.sort();
    scripts.dedup();
    let with_hash = |script: Script| {
        let text = script.source();
        let hash = Sha1::from(&text).digest().to_string();
        (script, text, hash)
    };
    scripts.into_iter().map(with_hash).collect()
});

impl Script {
    pub(crate) fn text(self) -> &'static str {
        &self.known().1
    }

    pub(crate) fn hash(self) -> &'static str {
        &self.known().2
    }

    /// The script of this text or hash.
    pub(crate) fn named(word: &[u8]) -> Option<Self> {
        let is_it = |text: &str, hash: &str| word == text.as_bytes() || word == hash.as_bytes();
        ALL.iter().find(|(_, text, hash)| is_it(text, hash)).map(|(script, ..)| *script)
    }

    fn known(self) -> &'static (Script, String, String) {
        ALL.iter().find(|(script, ..)| *script == self).expect("all are there")
    }

    fn source(self) -> String {
        match self {
            AcquireMany => lua!("acquire_many").into(),
            AcquireShared => lua!("acquire_shared").into(),
            AcquireSlot => lua!("acquire_slot").into(),
            ExtendShared => lua!("extend_shared").into(),
            ReleaseShared => [NOTIFY, lua!("release_shared")].concat(),
            Release => [lua!("release"), NOTIFY, lua!("release_notify")].concat(),
            ReleaseMany => [NOTIFY, lua!("release_many")].concat(),
            Register => [NOTIFY, lua!("register")].concat(),
            Leave => [NOTIFY, lua!("leave")].concat(),
            Extend => lua!("extend").into(),
            Intend => lua!("intend").into(),
            Trim => lua!("trim").into(),
            WriteRecord => lua!("write_record").into(),
            Declare => lua!("declare").into(),
            Permissions => lua!("permissions").into(),
            Words => VALUES.into(),
            Mistake(index) => MISTAKES[index].into(),
        }
    }
}
