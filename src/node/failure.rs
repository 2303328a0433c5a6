//! Translates errors of redis-rs and of the server into [`NodeFailure`].

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::error::NodeFailure;

/// The number of characters of a server's text that an error repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// Translates the error of a command on a connection that had been up.
pub(crate) fn of_command(error: &RedisError) -> NodeFailure {
    match of_server(error) {
        Some(failure) => failure,
        None => NodeFailure::ConnectionLost { detail: detail(&error.to_string()) },
    }
}

/// Translates the error of a handshake.
pub(crate) fn of_connect(error: &RedisError) -> NodeFailure {
    match of_server(error) {
        Some(failure) => failure,
        None => NodeFailure::Unreachable { detail: detail(&error.to_string()) },
    }
}

/// Translates the error of opening the socket.
pub(crate) fn of_open(error: &std::io::Error) -> NodeFailure {
    match of_tls(error) {
        Some(failure) => failure,
        None => NodeFailure::Unreachable { detail: detail(&error.to_string()) },
    }
}

/// Translates a TLS error; `None` for any other error.
#[cfg(feature = "tls")]
pub(super) fn of_tls(error: &std::io::Error) -> Option<NodeFailure> {
    super::tls::of_error(error)
}

#[cfg(not(feature = "tls"))]
pub(super) fn of_tls(_: &std::io::Error) -> Option<NodeFailure> {
    None
}

pub(crate) fn of_connect_timeout(after: Duration) -> NodeFailure {
    NodeFailure::Unreachable { detail: format!("the server did not answer within {after:?} of connecting") }
}

pub(crate) fn of_hung_connection(after: Duration) -> NodeFailure {
    NodeFailure::ConnectionLost {
        detail: format!("the server stopped answering for {after:?}; reconnecting"),
    }
}

pub(crate) fn of_reply(command: &str, reply: &Value) -> NodeFailure {
    NodeFailure::Unexpected { detail: detail(&format!("{command} answered {reply:?}")) }
}

/// Translates the server's own answer; `None` if the connection failed instead.
#[expect(clippy::wildcard_enum_match_arm, reason = "redis-rs's enum grows; the code tells the rest apart")]
fn of_server(error: &RedisError) -> Option<NodeFailure> {
    let said = || detail(&error.to_string());
    let failure = match error.kind() {
        ErrorKind::AuthenticationFailed => NodeFailure::Authentication { detail: said() },
        ErrorKind::Server(ServerErrorKind::NoPerm) => NodeFailure::Permission { detail: said() },
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
            NodeFailure::ReadOnly { detail: said() }
        }
        ErrorKind::Server(ServerErrorKind::BusyLoading) => NodeFailure::Loading,
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => NodeFailure::Unexpected { detail: said() },
        // Codes without a variant in redis-rs arrive as extensions.
        _ => match error.code()? {
            "ERR" => of_plain_error(&error.to_string()),
            code => of_code(code, said()),
        },
    };
    Some(failure)
}

/// Translates error codes that redis-rs does not know by name, or that stand inside a script's error.
fn of_code(code: &str, said: String) -> NodeFailure {
    match code {
        "NOAUTH" | "WRONGPASS" => NodeFailure::Authentication { detail: said },
        "NOPERM" => NodeFailure::Permission { detail: said },
        "READONLY" | "MASTERDOWN" | "NOREPLICAS" => NodeFailure::ReadOnly { detail: said },
        "OOM" => NodeFailure::OutOfMemory,
        "LOADING" => NodeFailure::Loading,
        _ => NodeFailure::Refused { detail: said },
    }
}

/// Translates an error without a code of its own, which only its text tells apart.
fn of_plain_error(said: &str) -> NodeFailure {
    if is_full(said) {
        return NodeFailure::TooManyClients;
    }
    // The server reports the refusal to the script, and the script to us. The first text is used up to
    // 7.0, the second from 7.2 on.
    if said.contains("The user executing the script") || said.contains("ACL failure in script") {
        return NodeFailure::Permission { detail: detail(said) };
    }
    of_code(code_within(said).unwrap_or_default(), detail(said))
}

/// Whether the text says that the server accepts no more connections.
pub(super) fn is_full(said: &str) -> bool {
    // The longer form of the text comes from nodes of a cluster, where links between nodes count as well.
    said.contains("max number of clients")
}

/// Finds the code of an inner error. Redis 6.2 wraps the error of a command into the error of its script: `ERR Error
/// running script (call to f_...): @user_script:7: @user_script: 7: -OOM command not allowed ...`.
fn code_within(said: &str) -> Option<&str> {
    let (_, within) = said.split_once("Error running script")?;
    let (_, told) = within.split_once(": -")?;
    told.split(' ').next().filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase()))
}

pub(super) fn detail(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of real servers. The first words are how redis-rs displays an error without a code of its own.
    #[test]
    fn errors_without_a_code_are_told_apart_by_their_text() {
        let told = |said: &str| of_plain_error(said).kind();
        let table = [
            ("max number of clients reached", "too many clients"),
            ("max number of clients + cluster connections reached", "too many clients"),
            (
                "Error running script (call to f_ab): @user_script:1: @user_script: 1: The user executing the script \
                 can't run this command or subcommand",
                "permission missing",
            ),
            (
                "The user executing the script can't run this command or subcommand script: ab",
                "permission missing",
            ),
            (
                "ACL failure in script: User locks has no permissions to run the 'pttl' command script: ab, on \
                 @user_script:1.",
                "permission missing",
            ),
            (
                "Error running script (call to f_ab): @user_script:17: @user_script: 17: -OOM command not allowed when \
                 used memory > 'maxmemory'.",
                "out of memory",
            ),
            (
                "Error running script (call to f_ab): @user_script:1: @user_script: 1: -READONLY You can't write \
                 against a read only replica.",
                "read-only",
            ),
            (
                "Error running script (call to f_ab): @user_script:1: @user_script: 1: -NOREPLICAS Not enough good \
                 replicas to write.",
                "read-only",
            ),
            (
                "Error running script (call to f_ab): @user_script:1: attempt to index - a nil value",
                "refused",
            ),
            ("unknown command 'EVAL', with args beginning with: ", "refused"),
        ];
        for (said, kind) in table {
            assert_eq!(told(said), kind, "{said}");
        }
    }
}
