//! What goes wrong in scripts, in the words of each server.

use std::fmt;

use crate::version::Version;

/// An error of `redis.call`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// With its code.
    pub(super) text: String,
    pub(super) stage: Stage,
    /// Where the script calls.
    pub(super) line: Option<usize>,
}

/// How far the command came. Redis 6.2 tells the stages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The script may not run it.
    Refused,
    /// The same, in words that clients know, too.
    Shared,
    /// It ran, and answered an error.
    Replied,
}

impl Fault {
    /// `text` has no code.
    pub(super) fn refused(text: &str) -> Self {
        Self { text: format!("ERR {text}"), stage: Stage::Refused, line: None }
    }

    pub(super) fn shared(text: &str) -> Self {
        Self { text: text.to_owned(), stage: Stage::Shared, line: None }
    }

    /// What `redis.pcall` answers.
    pub(super) fn caught(&self, version: Version) -> String {
        match self.stage {
            Stage::Refused if version.is_6_2() => self.of_6_2(),
            Stage::Shared if version.is_6_2() => format!("{}\r\n", self.of_6_2()),
            Stage::Refused | Stage::Shared | Stage::Replied => self.text.clone(),
        }
    }

    fn of_6_2(&self) -> String {
        let Self { text, stage, line } = self;
        let line = line.unwrap_or(0);
        match stage {
            Stage::Refused => {
                format!("@user_script: {line}: {}", text.strip_prefix("ERR ").unwrap_or(text))
            }
            Stage::Shared => format!("@user_script: {line}: -{text}"),
            Stage::Replied => text.to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// What servers call the mistakes of scripts.
pub(super) struct Words {
    pub(super) arguments: &'static str,
    pub(super) arity: &'static str,
    pub(super) unknown: &'static str,
    pub(super) not_allowed: &'static str,
}

impl Words {
    pub(super) fn of(version: Version) -> Self {
        match version {
            Version::Redis6 => Self {
                arguments: "Lua redis() command arguments must be strings or integers",
                arity: "Wrong number of args calling Redis command From Lua script",
                unknown: "Unknown Redis command called from Lua script",
                not_allowed: "This Redis command is not allowed from scripts",
            },
            Version::Redis7 | Version::Redis8 | Version::Redis86 => Self {
                arguments: "Lua redis lib command arguments must be strings or integers",
                arity: "Wrong number of args calling Redis command from script",
                unknown: "Unknown Redis command called from script",
                not_allowed: "This Redis command is not allowed from script",
            },
            Version::Valkey8 => Self {
                arguments: "Command arguments must be strings or integers",
                arity: "Wrong number of args calling command from script",
                unknown: "Unknown command called from script",
                not_allowed: "This Redis command is not allowed from script",
            },
        }
    }
}

/// What the client of a script is told that ended with an error.
pub(super) fn describe(mistake: &mlua::Error, hash: &str, version: Version) -> String {
    let (text, told, line) = match of_call(mistake) {
        Some(fault) => (fault.text.clone(), fault.of_6_2(), fault.line),
        None => {
            let text = first_line(mistake);
            let line =
                text.strip_prefix("user_script:").and_then(|rest| rest.split(':').next()?.parse().ok());
            (format!("ERR {text}"), text, line)
        }
    };
    let line = line.unwrap_or(0);
    if version.is_6_2() {
        return format!("ERR Error running script (call to f_{hash}): @user_script:{line}: {told}");
    }
    format!("{text} script: {hash}, on @user_script:{line}.")
}

fn of_call(mistake: &mlua::Error) -> Option<&Fault> {
    if let mlua::Error::CallbackError { cause, .. } = mistake {
        return of_call(cause);
    }
    mistake.downcast_ref()
}

/// The message of Lua itself, without the trace behind it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not ours, and the others are never met")]
pub(super) fn first_line(mistake: &mlua::Error) -> String {
    let text = match mistake {
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// What `redis.error_reply` makes of a text: an error has a code, and no sign before it.
pub(super) fn error_reply(text: &str, version: Version) -> String {
    if version.is_6_2() {
        return text.to_owned();
    }
    let text = text.strip_prefix('-').unwrap_or(text);
    if text.contains(' ') { text.to_owned() } else { format!("ERR {text}") }
}
