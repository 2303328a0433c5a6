//! What servers say when they refuse; the texts are those of real ones.

use crate::reply::Reply;
use crate::version::Version;

pub(crate) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
pub(crate) const SYNTAX: &str = "ERR syntax error";
pub(crate) const LOADING: &str = "LOADING Redis is loading the dataset in memory";
pub(crate) const NO_AUTH: &str = "NOAUTH Authentication required.";
pub(crate) const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(crate) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
pub(crate) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
pub(crate) const TOO_MANY_CLIENTS: &str = "ERR max number of clients reached";

pub(crate) fn error(text: impl Into<String>) -> Reply {
    Reply::Error(text.into())
}

/// What the simulation lacks is never mistaken for what a server refuses.
pub(crate) fn not_simulated(what: &str) -> Reply {
    error(format!("ERR not simulated: {what}"))
}

pub(crate) fn arity(command: &str) -> Reply {
    error(format!("ERR wrong number of arguments for '{command}' command"))
}

/// How much of a request is repeated.
const REPEATED_MAX: usize = 128;

pub(crate) fn unknown_command(arguments: &[Vec<u8>], version: Version) -> Reply {
    let quoted = |word: &[u8], limit: usize| {
        let word = String::from_utf8_lossy(&word[..word.len().min(limit)]).into_owned();
        if version.is_6_2() { format!("`{word}`, ") } else { format!("'{word}' ") }
    };
    let (name, rest) = arguments.split_first().map_or((&[][..], &[][..]), |(name, rest)| (&name[..], rest));
    let mut repeated = String::new();
    for word in rest {
        if repeated.len() >= REPEATED_MAX {
            break;
        }
        repeated += &quoted(word, REPEATED_MAX - repeated.len());
    }
    let name = quoted(name, REPEATED_MAX);
    let name = name.trim_end_matches([' ', ',']);
    if repeated.is_empty() && version.is_8_6() {
        return error(format!("ERR unknown command {name}"));
    }
    error(format!("ERR unknown command {name}, with args beginning with: {repeated}"))
}

pub(crate) fn unknown_subcommand(command: &str, subcommand: &[u8], version: Version) -> Reply {
    let (command, subcommand) = (command.to_uppercase(), String::from_utf8_lossy(subcommand));
    error(if version.is_6_2() {
        format!("ERR Unknown subcommand or wrong number of arguments for '{subcommand}'. Try {command} HELP.")
    } else {
        format!("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")
    })
}

pub(crate) fn expire_time(command: &str, version: Version) -> Reply {
    error(if version.is_6_2() {
        format!("ERR invalid expire time in {command}")
    } else {
        format!("ERR invalid expire time in '{command}' command")
    })
}

pub(crate) fn no_script(version: Version) -> Reply {
    let advice = if version.is_valkey() { "" } else { " Please use EVAL." };
    error(format!("NOSCRIPT No matching script.{advice}"))
}

pub(crate) fn hello_without_login(version: Version) -> Reply {
    let how = if version.is_since_7_2() { "HELLO <proto> AUTH" } else { "HELLO AUTH" };
    error(format!(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the {how} <user> <pass> option \
         can be used to authenticate the client and select the RESP protocol version at the same time"
    ))
}

pub(crate) fn only_subscriber_commands(command: &str, version: Version) -> Reply {
    let command = known_name(command, version);
    let subscribe =
        if version.is_6_2() { "(P)SUBSCRIBE / (P)UNSUBSCRIBE" } else { "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE" };
    error(format!(
        "ERR Can't execute '{command}': only {subscribe} / PING / QUIT / RESET are allowed in this context"
    ))
}

/// Redis 6.2 does not name subcommands.
fn known_name(command: &str, version: Version) -> &str {
    match command.split_once('|') {
        Some((command, _)) if version.is_6_2() => command,
        Some(_) | None => command,
    }
}

/// A permission that a user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// With the name of the command.
    Command(String),
    Key,
    Channel,
}

impl Denied {
    /// What a client is told.
    pub(crate) fn to_client(&self, user: &str, version: Version) -> Reply {
        if version.is_since_7_2() {
            return error(format!("NOPERM {}", self.in_new_words(user)));
        }
        error(match self {
            Self::Command(command) => {
                let rest = if version.is_6_2() { " command or its subcommand" } else { " command" };
                let command = known_name(command, version);
                format!("NOPERM this user has no permissions to run the '{command}'{rest}")
            }
            Self::Key => {
                "NOPERM this user has no permissions to access one of the keys used as arguments".into()
            }
            Self::Channel => {
                "NOPERM this user has no permissions to access one of the channels used as arguments".into()
            }
        })
    }

    /// What a script is told, without a code.
    pub(crate) fn to_script(&self, user: &str, version: Version) -> String {
        if version.is_since_7_2() {
            return format!("ACL failure in script: {}", self.in_new_words(user));
        }
        let what = match self {
            Self::Command(_) => "run this command or subcommand",
            Self::Key => "access at least one of the keys mentioned in the command arguments",
            Self::Channel => "publish to the channel mentioned in the command",
        };
        format!("The user executing the script can't {what}")
    }

    fn in_new_words(&self, user: &str) -> String {
        match self {
            Self::Command(command) => {
                format!("User {user} has no permissions to run the '{command}' command")
            }
            Self::Key => "No permissions to access a key".into(),
            Self::Channel => "No permissions to access a channel".into(),
        }
    }
}
