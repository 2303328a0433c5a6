//! What passes between replies and Lua. Scripts speak RESP2, whatever their client speaks.

use mlua::{Lua, MultiValue, Table, Value};

use crate::reply::{Reply, show, show_g17};
use crate::version::Version;

/// A reply as a script sees it: nil is `false`, scores are strings, maps are lists.
pub(super) fn to_lua(lua: &Lua, reply: &Reply, version: Version) -> mlua::Result<Value> {
    let string = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    let list = |items: &mut dyn Iterator<Item = &Reply>| {
        let table = lua.create_table()?;
        for item in items {
            table.raw_push(to_lua(lua, item, version)?)?;
        }
        Ok(Value::Table(table))
    };
    match reply {
        Reply::Nil => Ok(Value::Boolean(false)),
        #[expect(clippy::cast_precision_loss, reason = "Lua 5.1 has no other numbers")]
        Reply::Int(number) => Ok(Value::Number(*number as f64)),
        Reply::Bulk(bytes) => string(bytes),
        Reply::Verbatim(text) => string(text.as_bytes()),
        Reply::Double(number) => string(show(*number, version).as_bytes()),
        Reply::Status(text) => lua.create_table_from([("ok", text.as_str())]).map(Value::Table),
        Reply::Error(text) => lua.create_table_from([("err", text.as_str())]).map(Value::Table),
        Reply::Array(items) | Reply::Push(items) | Reply::Several(items) => list(&mut items.iter()),
        Reply::Map(fields) => list(&mut fields.iter().flat_map(|(name, value)| [name, value])),
        Reply::Scored(members) => {
            let score = |score: &f64| Reply::text(&show(*score, version));
            let items = members.iter().flat_map(|(member, s)| [Reply::Bulk(member.clone()), score(s)]);
            list(&mut items.collect::<Vec<_>>().iter())
        }
    }
}

/// What a script returns, as its client sees it: numbers lose their fraction, a list ends at the first nil.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Redis answers nil for all else, and the enum is not ours"
)]
pub(super) fn from_lua(value: &Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(number) => Reply::Int(*number),
        #[expect(clippy::cast_possible_truncation, reason = "that is what Redis does")]
        Value::Number(number) => Reply::Int(*number as i64),
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Table(table) => from_table(table)?,
        _ => Reply::Nil,
    })
}

fn from_table(table: &Table) -> mlua::Result<Reply> {
    if let Value::String(text) = table.raw_get("err")? {
        return Ok(Reply::Error(text.to_string_lossy()));
    }
    if let Value::String(text) = table.raw_get("ok")? {
        return Ok(Reply::Status(text.to_string_lossy()));
    }
    let items = (1..).map(|index| table.raw_get::<Value>(index));
    let items = items.take_while(|item| !matches!(item, Ok(Value::Nil)));
    Ok(Reply::Array(items.map(|item| from_lua(&item?)).collect::<mlua::Result<_>>()?))
}

/// The arguments of `redis.call`: strings, and numbers with all their digits. `None` where there is anything else.
pub(super) fn arguments(values: MultiValue) -> Option<Vec<Vec<u8>>> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is an argument")]
    let argument = |value| match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(show_g17(number).into_bytes()),
        _ => None,
    };
    let arguments: Vec<_> = values.into_iter().map(argument).collect::<Option<_>>()?;
    (!arguments.is_empty()).then_some(arguments)
}
