//! Who a client is, and what it hears.

use crate::errors::{NOT_AN_INTEGER, SYNTAX, WRONG_PASSWORD, error, hello_without_login, unknown_subcommand};
use crate::reply::{Protocol, Reply};
use crate::request::number;
use crate::settings::DEFAULT_USER;
use crate::state::{Call, State};

pub(super) fn hello(state: &mut State, call: &Call<'_>) -> Reply {
    let version = state.settings.version;
    let protocol = match call.arguments.get(1).map(|protocol| number(protocol)) {
        None => state.connection(call.caller).protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return error("NOPROTO unsupported protocol version"),
        Some(None) => return error("ERR Protocol version is not an integer or out of range"),
    };
    let mut index = 2;
    while index < call.arguments.len() {
        match call.word(index).as_str() {
            "auth" if index + 2 < call.arguments.len() => {
                let [name, password] =
                    [index + 1, index + 2].map(|index| String::from_utf8_lossy(call.argument(index)));
                if state.log_in(call.caller, &name, &password).is_err() {
                    return error(WRONG_PASSWORD);
                }
                index += 3;
            }
            "setname" if index + 1 < call.arguments.len() => index += 2,
            _ => {
                let option = String::from_utf8_lossy(call.argument(index));
                return error(format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
    }
    if state.connection(call.caller).user.is_none() {
        return hello_without_login(version);
    }
    state.connection(call.caller).protocol = protocol;
    let role = if state.replication.is_replica { "replica" } else { "master" };
    let id = i64::try_from(call.caller.0).unwrap_or(i64::MAX);
    let fields = [
        ("server", Reply::text(version.program())),
        ("version", Reply::text(version.number())),
        ("proto", Reply::Int(if protocol == Protocol::Resp3 { 3 } else { 2 })),
        ("id", Reply::Int(id)),
        ("mode", Reply::text("standalone")),
        ("role", Reply::text(role)),
        ("modules", Reply::Array(vec![])),
    ];
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::text(name), value)).collect())
}

pub(super) fn auth(state: &mut State, call: &Call<'_>) -> Reply {
    let (name, password) = match call.arguments {
        [_, password] => {
            let default = state.settings.users.get(DEFAULT_USER);
            if default.is_some_and(|user| user.password.is_none()) {
                return error(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                );
            }
            (DEFAULT_USER.into(), String::from_utf8_lossy(password))
        }
        [_, name, password] => (String::from_utf8_lossy(name), String::from_utf8_lossy(password)),
        _ => return error(SYNTAX),
    };
    match state.log_in(call.caller, &name, &password) {
        Ok(()) => Reply::ok(),
        Err(()) => error(WRONG_PASSWORD),
    }
}

pub(super) fn acl(state: &mut State, call: &Call<'_>) -> Reply {
    match call.word(1).as_str() {
        "whoami" => Reply::text(state.user(call.caller).map_or(DEFAULT_USER, |(name, _)| name)),
        _ => unknown_subcommand("acl", call.argument(1), state.settings.version),
    }
}

pub(super) fn client(state: &mut State, call: &Call<'_>) -> Reply {
    match call.word(1).as_str() {
        "id" => Reply::Int(i64::try_from(call.caller.0).unwrap_or(i64::MAX)),
        "setname" => Reply::ok(),
        "setinfo" if state.settings.version.is_since_7_2() => match call.word(2).as_str() {
            "lib-name" | "lib-ver" => Reply::ok(),
            _ => error(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(call.argument(2)))),
        },
        _ => unknown_subcommand("client", call.argument(1), state.settings.version),
    }
}

pub(super) fn select(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(db) = number(call.argument(1)) else {
        return error(NOT_AN_INTEGER);
    };
    if i32::try_from(db).is_err() {
        return error("ERR value is out of range, value must between -2147483648 and 2147483647");
    }
    match usize::try_from(db) {
        Ok(db) if db < state.settings.databases => {
            state.connection(call.caller).db = db;
            Reply::ok()
        }
        Ok(_) | Err(_) => error("ERR DB index is out of range"),
    }
}

pub(super) fn ping(state: &mut State, call: &Call<'_>) -> Reply {
    let connection = state.connection(call.caller);
    if connection.protocol == Protocol::Resp2 && !connection.channels.is_empty() {
        return Reply::Array(vec![Reply::text("pong"), Reply::Bulk(call.argument(1).to_vec())]);
    }
    call.arguments.get(1).map_or(Reply::Status("PONG".into()), |word| Reply::Bulk(word.clone()))
}

pub(super) fn quit(state: &mut State, call: &Call<'_>) -> Reply {
    state.connection(call.caller).is_closing = true;
    Reply::ok()
}

pub(super) fn publish(state: &mut State, call: &Call<'_>) -> Reply {
    Reply::count(state.publish(call.caller, call.argument(1), call.argument(2)))
}

pub(super) fn subscribe(state: &mut State, call: &Call<'_>) -> Reply {
    let channels = &mut state.connection(call.caller).channels;
    let pushes = call.arguments[1..].iter().map(|channel| {
        channels.insert(channel.clone());
        subscription("subscribe", Reply::Bulk(channel.clone()), channels.len())
    });
    Reply::Several(pushes.collect())
}

/// From all channels, where none is named.
pub(super) fn unsubscribe(state: &mut State, call: &Call<'_>) -> Reply {
    let channels = &mut state.connection(call.caller).channels;
    let named = &call.arguments[1..];
    let left: Vec<_> = if named.is_empty() { channels.iter().cloned().collect() } else { named.to_vec() };
    if left.is_empty() {
        return subscription("unsubscribe", Reply::Nil, 0);
    }
    let pushes = left.into_iter().map(|channel| {
        channels.remove(&channel);
        subscription("unsubscribe", Reply::Bulk(channel), channels.len())
    });
    Reply::Several(pushes.collect())
}

fn subscription(kind: &str, channel: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::text(kind), channel, Reply::count(count)])
}
