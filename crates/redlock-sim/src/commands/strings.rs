//! `SET`, `GET`, `MGET`.

use crate::errors::{NOT_AN_INTEGER, SYNTAX, WRONG_TYPE, error, expire_time, not_simulated};
use crate::keyspace::{Entry, Value};
use crate::reply::Reply;
use crate::request::number;
use crate::state::{Call, State};

pub(super) fn get(state: &mut State, call: &Call<'_>) -> Reply {
    let place = call.place(state, 1);
    match state.keyspace.get(&place, call.now).map(|entry| &entry.value) {
        None => Reply::Nil,
        Some(Value::Text(text)) => Reply::Bulk(text.clone()),
        Some(Value::Hash(_) | Value::Sorted(_)) => error(WRONG_TYPE),
    }
}

pub(super) fn mget(state: &mut State, call: &Call<'_>) -> Reply {
    let values = (1..call.arguments.len()).map(|index| {
        let place = call.place(state, index);
        match state.keyspace.get(&place, call.now).map(|entry| &entry.value) {
            Some(Value::Text(text)) => Reply::Bulk(text.clone()),
            None | Some(Value::Hash(_) | Value::Sorted(_)) => Reply::Nil,
        }
    });
    Reply::Array(values.collect())
}

/// What `SET` has behind the value.
#[derive(Default)]
struct Options {
    only_new: bool,
    only_known: bool,
    keeps_ttl: bool,
    expires: Option<i64>,
}

pub(super) fn set(state: &mut State, call: &Call<'_>) -> Reply {
    let options = match options(state, call) {
        Ok(options) => options,
        Err(reply) => return reply,
    };
    let Options { only_new, only_known, keeps_ttl, expires } = options;
    let (place, value) = (call.place(state, 1), Value::Text(call.argument(2).to_vec()));
    state.keyspace.change(&place, call.now, |entry| {
        if (only_new && entry.is_some()) || (only_known && entry.is_none()) {
            return Reply::Nil;
        }
        let kept = entry.as_ref().and_then(|entry| entry.expires).filter(|_| keeps_ttl);
        *entry = Some(Entry { value, expires: expires.or(kept) });
        Reply::ok()
    })
}

fn options(state: &State, call: &Call<'_>) -> Result<Options, Reply> {
    let mut options = Options::default();
    let mut ttl = None;
    let mut index = 3;
    while index < call.arguments.len() {
        match call.word(index).as_str() {
            "nx" if !options.only_known => options.only_new = true,
            "xx" if !options.only_new => options.only_known = true,
            "keepttl" if ttl.is_none() => options.keeps_ttl = true,
            unit @ ("px" | "ex")
                if ttl.is_none() && !options.keeps_ttl && index + 1 < call.arguments.len() =>
            {
                index += 1;
                ttl = Some((call.argument(index), if unit == "px" { 1 } else { 1000 }));
            }
            "get" | "pxat" | "exat" => return Err(not_simulated("SET with GET, PXAT or EXAT")),
            _ => return Err(error(SYNTAX)),
        }
        index += 1;
    }
    if let Some((ttl, unit)) = ttl {
        let ttl = number(ttl).ok_or_else(|| error(NOT_AN_INTEGER))?;
        let expires = ttl.checked_mul(unit).and_then(|ttl| ttl.checked_add(call.now.millis()));
        let expires = expires.filter(|_| ttl > 0);
        options.expires = Some(expires.ok_or_else(|| expire_time("set", state.settings.version))?);
    }
    Ok(options)
}
