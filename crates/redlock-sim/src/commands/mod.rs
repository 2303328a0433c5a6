//! The commands that the library sends, by hand or from its scripts, and those that a test needs to look at a server.

mod connections;
mod hashes;
mod keys;
mod sets;
mod strings;
mod told;

use crate::errors::{Denied, arity, unknown_subcommand};
use crate::reply::Reply;
use crate::state::{Call, State};
use crate::version::Version;

/// A command and what has to be so before it runs.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// How many arguments it has, its name included; a negative number says how many at least.
    arity: i32,
    /// Letters: `w` writes, `m` needs memory, `s` not from scripts, `a` without a login, `l` while loading, `p` while
    /// subscribed.
    flags: &'static str,
    keys: Names,
    channels: Names,
    pub(crate) run: Run,
}

/// How it is run.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    Plain(fn(&mut State, &Call<'_>) -> Reply),
    /// `EVAL`: with the script itself.
    Text,
    /// `EVALSHA`.
    Hash,
    /// `SCRIPT`.
    Manage,
}

/// Which of the arguments are names of keys or channels.
#[derive(Clone, Copy)]
enum Names {
    None,
    First,
    All,
    /// As many as the second argument says, behind it.
    Counted,
}

use Names::{All, Counted, First, None as No};
use Run::Plain;

const fn command(
    name: &'static str,
    arity: i32,
    flags: &'static str,
    (keys, channels): (Names, Names),
    run: Run,
) -> Command {
    Command { name, arity, flags, keys, channels, run }
}

const COMMANDS: &[Command] = &[
    command("acl", -2, "sl", (No, No), Plain(connections::acl)),
    command("auth", -2, "sal", (No, No), Plain(connections::auth)),
    command("client", -2, "sl", (No, No), Plain(connections::client)),
    command("config", -2, "sl", (No, No), Plain(told::config)),
    command("dbsize", 1, "", (No, No), Plain(keys::dbsize)),
    command("del", -2, "w", (All, No), Plain(keys::del)),
    command("eval", -3, "s", (Counted, No), Run::Text),
    command("evalsha", -3, "s", (Counted, No), Run::Hash),
    command("exists", -2, "", (All, No), Plain(keys::exists)),
    command("flushall", -1, "w", (No, No), Plain(keys::flushall)),
    command("get", 2, "", (First, No), Plain(strings::get)),
    command("hdel", -3, "w", (First, No), Plain(hashes::hdel)),
    command("hello", -1, "sal", (No, No), Plain(connections::hello)),
    command("hget", 3, "", (First, No), Plain(hashes::hget)),
    command("hgetall", 2, "", (First, No), Plain(hashes::hgetall)),
    command("hmget", -3, "", (First, No), Plain(hashes::hmget)),
    command("hset", -4, "wm", (First, No), Plain(hashes::hset)),
    command("info", -1, "l", (No, No), Plain(told::info)),
    command("mget", -2, "", (All, No), Plain(strings::mget)),
    command("pexpire", -3, "w", (First, No), Plain(keys::pexpire)),
    command("pexpireat", -3, "w", (First, No), Plain(keys::pexpireat)),
    command("ping", -1, "p", (No, No), Plain(connections::ping)),
    command("pttl", 2, "", (First, No), Plain(keys::pttl)),
    command("publish", 3, "l", (No, First), Plain(connections::publish)),
    command("quit", -1, "salp", (No, No), Plain(connections::quit)),
    command("scan", -2, "", (No, No), Plain(keys::scan)),
    command("script", -2, "s", (No, No), Run::Manage),
    command("select", 2, "l", (No, No), Plain(connections::select)),
    command("set", -3, "wm", (First, No), Plain(strings::set)),
    command("subscribe", -2, "slp", (No, All), Plain(connections::subscribe)),
    command("time", 1, "l", (No, No), Plain(told::time)),
    command("type", 2, "", (First, No), Plain(keys::kind)),
    command("unsubscribe", -1, "slp", (No, No), Plain(connections::unsubscribe)),
    command("zadd", -4, "wm", (First, No), Plain(sets::zadd)),
    command("zcard", 2, "", (First, No), Plain(sets::zcard)),
    command("zcount", 4, "", (First, No), Plain(sets::zcount)),
    command("zrange", -4, "", (First, No), Plain(sets::zrange)),
    command("zrangebyscore", -4, "", (First, No), Plain(sets::zrangebyscore)),
    command("zrank", -3, "", (First, No), Plain(sets::zrank)),
    command("zrem", -3, "w", (First, No), Plain(sets::zrem)),
    command("zremrangebyscore", 4, "w", (First, No), Plain(sets::zremrangebyscore)),
    command("zrevrange", -4, "", (First, No), Plain(sets::zrevrange)),
    command("zscore", 3, "", (First, No), Plain(sets::zscore)),
];

/// Subcommands, and how many arguments they have.
const SUBCOMMANDS: &[(&str, &str, i32)] = &[
    ("acl", "whoami", 2),
    ("client", "id", 2),
    ("client", "setinfo", 4),
    ("client", "setname", 3),
    ("config", "get", -3),
    ("script", "exists", -3),
    ("script", "flush", -2),
    ("script", "load", 3),
];

/// The command of this name, in any letters.
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}

impl Command {
    pub(crate) fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// # Errors
    ///
    /// Too few arguments, or too many, or a subcommand that there is not. Redis 6.2 knows of subcommands only as it runs
    /// them.
    pub(crate) fn check_arity(&self, call: &Call<'_>, version: Version) -> Result<(), Reply> {
        let count = i32::try_from(call.arguments.len()).unwrap_or(i32::MAX);
        let fits = |wanted: i32| if wanted < 0 { count >= -wanted } else { count == wanted };
        if !fits(self.arity) {
            return Err(arity(self.name));
        }
        if version.is_6_2() || !self.has_subcommands() {
            return Ok(());
        }
        let subcommand = call.word(1);
        let is_known = |name: &str| name == subcommand && (name != "setinfo" || version.is_since_7_2());
        let known = SUBCOMMANDS.iter().find(|(command, name, _)| *command == self.name && is_known(name));
        match known {
            None => Err(unknown_subcommand(self.name, call.argument(1), version)),
            Some((.., wanted)) if !fits(*wanted) => Err(arity(&self.full_name(call))),
            Some(_) => Ok(()),
        }
    }

    /// With its subcommand: `script|load`.
    pub(crate) fn full_name(&self, call: &Call<'_>) -> String {
        if self.has_subcommands() { format!("{}|{}", self.name, call.word(1)) } else { self.name.to_owned() }
    }

    fn has_subcommands(&self) -> bool {
        SUBCOMMANDS.iter().any(|(command, ..)| *command == self.name)
    }

    /// # Errors
    ///
    /// The user may not run it, or not with these keys and channels.
    pub(crate) fn check_permission(&self, state: &State, call: &Call<'_>) -> Result<(), Denied> {
        let Some((_, user)) = state.user(call.caller) else { return Ok(()) };
        let subcommand = self.has_subcommands().then(|| call.word(1));
        if !user.may_run(self.name, subcommand.as_deref()) && !self.has('a') {
            return Err(Denied::Command(self.full_name(call)));
        }
        if !self.keys.of(call.arguments).iter().all(|key| user.may_use_key(key)) {
            return Err(Denied::Key);
        }
        if !self.channels.of(call.arguments).iter().all(|channel| user.may_use_channel(channel)) {
            return Err(Denied::Channel);
        }
        Ok(())
    }
}

impl Names {
    fn of(self, arguments: &[Vec<u8>]) -> &[Vec<u8>] {
        let rest = arguments.get(1..).unwrap_or_default();
        match self {
            No => &[],
            First => &rest[..rest.len().min(1)],
            All => rest,
            Counted => {
                // As C reads a number: as far as it goes.
                let digits = rest.get(1).map_or(&[][..], Vec::as_slice);
                let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
                let count = std::str::from_utf8(&digits[..end]).ok().and_then(|digits| digits.parse().ok());
                rest.get(2..).and_then(|names| names.get(..count.unwrap_or(0))).unwrap_or_default()
            }
        }
    }
}
