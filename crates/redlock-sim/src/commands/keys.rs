//! Commands about keys of any type.

use crate::errors::{NOT_AN_INTEGER, SYNTAX, error, expire_time, not_simulated};
use crate::keyspace::{Place, Value};
use crate::reply::Reply;
use crate::request::number;
use crate::state::{Call, State};

pub(super) fn del(state: &mut State, call: &Call<'_>) -> Reply {
    let removed = (1..call.arguments.len()).filter(|index| {
        let place = call.place(state, *index);
        state.keyspace.change(&place, call.now, |entry| entry.take().is_some())
    });
    Reply::count(removed.count())
}

pub(super) fn exists(state: &mut State, call: &Call<'_>) -> Reply {
    let found = (1..call.arguments.len()).filter(|index| {
        let place = call.place(state, *index);
        state.keyspace.get(&place, call.now).is_some()
    });
    Reply::count(found.count())
}

/// -2 of a key that is not there, -1 of one that does not expire.
pub(super) fn pttl(state: &mut State, call: &Call<'_>) -> Reply {
    let place = call.place(state, 1);
    Reply::Int(match state.keyspace.get(&place, call.now).map(|entry| entry.expires) {
        None => -2,
        Some(None) => -1,
        Some(Some(expires)) => (expires - call.now.millis()).max(0),
    })
}

pub(super) fn pexpire(state: &mut State, call: &Call<'_>) -> Reply {
    expire(state, call, "pexpire", call.now.millis())
}

pub(super) fn pexpireat(state: &mut State, call: &Call<'_>) -> Reply {
    expire(state, call, "pexpireat", 0)
}

/// A time that has passed removes the key.
fn expire(state: &mut State, call: &Call<'_>, command: &str, base: i64) -> Reply {
    let Some(time) = number(call.argument(2)) else { return error(NOT_AN_INTEGER) };
    if call.arguments.len() > 3 {
        return not_simulated("PEXPIRE with options");
    }
    let Some(expires) = time.checked_add(base) else { return expire_time(command, state.settings.version) };
    let place = call.place(state, 1);
    state.keyspace.change(&place, call.now, |slot| {
        let Some(entry) = slot else { return Reply::Int(0) };
        entry.expires = Some(expires);
        if expires <= call.now.millis() {
            *slot = None;
        }
        Reply::Int(1)
    })
}

pub(super) fn kind(state: &mut State, call: &Call<'_>) -> Reply {
    let place = call.place(state, 1);
    let kind = match state.keyspace.get(&place, call.now).map(|entry| &entry.value) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Sorted(_)) => "zset",
    };
    Reply::Status(kind.into())
}

pub(super) fn dbsize(state: &mut State, call: &Call<'_>) -> Reply {
    let db = state.connection(call.caller).db;
    Reply::count(state.keyspace.keys(db).count())
}

pub(super) fn flushall(state: &mut State, call: &Call<'_>) -> Reply {
    state.keyspace.clear(call.now);
    Reply::ok()
}

/// Keys in the order of a hash, so that a cursor stays good whatever is added or removed: it is the least hash that has
/// not been shown.
pub(super) fn scan(state: &mut State, call: &Call<'_>) -> Reply {
    let cursor = std::str::from_utf8(call.argument(1)).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    let Some(cursor) = cursor else { return error("ERR invalid cursor") };
    let count = match call.arguments.len() {
        2 => 10,
        4 if call.word(2) == "count" => match number(call.argument(3)) {
            Some(count) if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
            Some(_) => return error(SYNTAX),
            None => return error(NOT_AN_INTEGER),
        },
        _ => return not_simulated("SCAN with MATCH or TYPE"),
    };
    let db = state.connection(call.caller).db;
    let keys: Vec<_> = state.keyspace.keys(db).map(|key| (hash(key), key.clone())).collect();
    let mut keys: Vec<_> = keys.into_iter().filter(|(hash, _)| *hash >= cursor).collect();
    keys.sort_unstable();
    let next = keys.get(count).map_or(0, |(hash, _)| *hash);
    let page = keys.into_iter().filter(|(hash, _)| next == 0 || *hash < next);
    let page = page.filter(|(_, key)| {
        let place = Place { db, key: key.clone() };
        state.keyspace.get(&place, call.now).is_some()
    });
    let page = page.map(|(_, key)| Reply::Bulk(key)).collect();
    Reply::Array(vec![Reply::text(&next.to_string()), Reply::Array(page)])
}

/// FNV-1a; never 0, which is the cursor of the beginning and of the end.
fn hash(key: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    key.iter().fold(0xcbf2_9ce4_8422_2325, step) | 1
}
