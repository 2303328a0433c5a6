//! Hashes. Their fields are in the order of their names; a real server has another one.

use crate::errors::{WRONG_TYPE, arity, error};
use crate::keyspace::{Entry, Fields, Value};
use crate::reply::Reply;
use crate::state::{Call, State};

pub(super) fn hget(state: &mut State, call: &Call<'_>) -> Reply {
    read(state, call, |fields| Reply::of(fields.get(call.argument(2))))
}

pub(super) fn hmget(state: &mut State, call: &Call<'_>) -> Reply {
    read(state, call, |fields| {
        let values = call.arguments[2..].iter().map(|name| Reply::of(fields.get(&name[..])));
        Reply::Array(values.collect())
    })
}

pub(super) fn hgetall(state: &mut State, call: &Call<'_>) -> Reply {
    read(state, call, |fields| {
        let pairs = fields.iter().map(|(name, value)| (Reply::of(Some(name)), Reply::of(Some(value))));
        Reply::Map(pairs.collect())
    })
}

pub(super) fn hset(state: &mut State, call: &Call<'_>) -> Reply {
    let pairs = call.arguments[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return arity("hset");
    }
    write(state, call, |fields| {
        let new = pairs.filter(|pair| fields.insert(pair[0][..].into(), pair[1][..].into()).is_none());
        new.count()
    })
}

pub(super) fn hdel(state: &mut State, call: &Call<'_>) -> Reply {
    write(state, call, |fields| {
        let removed = call.arguments[2..].iter().filter(|name| fields.remove(&name[..]).is_some());
        removed.count()
    })
}

fn read(state: &mut State, call: &Call<'_>, read: impl FnOnce(&Fields) -> Reply) -> Reply {
    let place = call.place(state, 1);
    match state.keyspace.get(&place, call.now).map(|entry| &entry.value) {
        None => read(&Fields::new()),
        Some(Value::Hash(fields)) => read(fields),
        Some(Value::Text(_) | Value::Sorted(_)) => error(WRONG_TYPE),
    }
}

fn write(state: &mut State, call: &Call<'_>, write: impl FnOnce(&mut Fields) -> usize) -> Reply {
    let place = call.place(state, 1);
    state.keyspace.change(&place, call.now, |entry| {
        let entry = entry.get_or_insert_with(|| Entry { value: Value::Hash(Fields::new()), expires: None });
        match &mut entry.value {
            Value::Hash(fields) => Reply::count(write(fields)),
            Value::Text(_) | Value::Sorted(_) => error(WRONG_TYPE),
        }
    })
}
