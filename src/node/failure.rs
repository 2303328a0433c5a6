//! What redis-rs and the server say, in our words.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::error::NodeFailure;

/// How much of a server's text an error repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// A command failed on a connection that had been up.
pub(crate) fn of_command(error: &RedisError) -> NodeFailure {
    match of_server(error) {
        Some(failure) => failure,
        None => NodeFailure::ConnectionLost { detail: detail(&error.to_string()) },
    }
}

/// The connection could not be made usable.
pub(crate) fn of_connect(error: &RedisError) -> NodeFailure {
    match of_server(error) {
        Some(failure) => failure,
        None => NodeFailure::Unreachable { detail: detail(&error.to_string()) },
    }
}

/// The socket could not be opened.
pub(crate) fn of_open(error: &std::io::Error) -> NodeFailure {
    match of_tls(error) {
        Some(failure) => failure,
        None => NodeFailure::Unreachable { detail: detail(&error.to_string()) },
    }
}

/// What went wrong with TLS, if it was that.
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

/// What the server itself answered; `None` when it was the connection that failed.
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
        // Codes that redis-rs does not know by name come as extensions.
        _ => match error.code()? {
            "NOAUTH" | "WRONGPASS" => NodeFailure::Authentication { detail: said() },
            "OOM" => NodeFailure::OutOfMemory,
            // Redis tells a script so, and not us: its own code is ERR.
            "ERR" if said().contains("The user executing the script can't") => {
                NodeFailure::Permission { detail: said() }
            }
            "NOREPLICAS" => NodeFailure::ReadOnly { detail: said() },
            _ => NodeFailure::Refused { detail: said() },
        },
    };
    Some(failure)
}

pub(super) fn detail(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}
