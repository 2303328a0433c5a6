//! Lua scripts, run as they are in Lua 5.1, the language of Redis.
//!
//! One thing differs from a real server: an error of `redis.call` that a script catches by Lua's own `pcall` is not a
//! table. By `redis.pcall` it is.

mod fault;
mod interpreter;
mod values;

use std::cell::RefCell;
use std::collections::BTreeSet;

use mlua::{Lua, MultiValue, Table, Value};

use crate::commands::{self, Command, Run};
use crate::errors::{
    NOT_AN_INTEGER, OUT_OF_MEMORY, READ_ONLY, error, no_script, not_simulated, unknown_subcommand,
};
use crate::reply::Reply;
use crate::request::number;
use crate::state::{Call, State};
use crate::version::Version;
use fault::{Fault, Stage, Words, describe};
use interpreter::Interpreter;

/// The scripts that a server process has been told, ready to be run.
pub(crate) struct Scripts {
    interpreter: Interpreter,
    known: BTreeSet<String>,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Scripts {
    pub(crate) fn new(version: Version) -> Self {
        Self { interpreter: Interpreter::of(version), known: BTreeSet::new() }
    }

    /// `EVAL`.
    pub(crate) fn eval_text(&mut self, state: &mut State, call: &Call<'_>) -> Reply {
        if let Err(reply) = counted(call) {
            return reply;
        }
        match self.load(call.argument(1)) {
            Ok(hash) => self.run(&hash, state, call),
            Err(reply) => reply,
        }
    }

    /// `EVALSHA`.
    pub(crate) fn eval_hash(&mut self, state: &mut State, call: &Call<'_>) -> Reply {
        if let Err(reply) = counted(call) {
            return reply;
        }
        self.run(&call.word(1), state, call)
    }

    /// `SCRIPT`.
    pub(crate) fn manage(&mut self, state: &State, call: &Call<'_>) -> Reply {
        match (call.word(1).as_str(), call.arguments.len()) {
            ("load", 3) => self.load(call.argument(2)).map_or_else(|reply| reply, |hash| Reply::text(&hash)),
            ("exists", _) => {
                let known = (2..call.arguments.len()).map(|index| self.known.contains(&call.word(index)));
                Reply::Array(known.map(|known| Reply::Int(known.into())).collect())
            }
            ("flush", 3..) if !["sync", "async"].contains(&call.word(2).as_str()) => {
                error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
            }
            ("flush", _) => {
                self.known.clear();
                Reply::ok()
            }
            _ => unknown_subcommand("script", call.argument(1), state.settings.version),
        }
    }

    fn load(&mut self, text: &[u8]) -> Result<String, Reply> {
        let hash = self.interpreter.compile(text).map_err(|mistake| {
            error(format!("ERR Error compiling script (new function): {}", fault::first_line(&mistake)))
        })?;
        self.known.insert(hash.clone());
        Ok(hash)
    }

    fn run(&self, hash: &str, state: &mut State, call: &Call<'_>) -> Reply {
        let version = state.settings.version;
        if !self.known.contains(hash) {
            return no_script(version);
        }
        let (lua, script) = self.interpreter.script(hash);
        let state = RefCell::new(Running { state, has_written: false });
        let answer = lua.scope(|scope| {
            set_arguments(lua, call)?;
            let redis: Table = lua.globals().raw_get("redis")?;
            let call_back = |lua: &Lua, arguments: MultiValue| {
                let line = lua.inspect_stack(1, |frame| frame.current_line()).flatten();
                let mut running = state.borrow_mut();
                let reply = match values::arguments(arguments) {
                    Some(arguments) => running.command(&Call { arguments: &arguments, ..*call }),
                    None => Err(Fault::refused(Words::of(version).arguments)),
                };
                reply.map_err(|fault| Fault { line, ..fault })
            };
            let plain = scope.create_function(move |lua, arguments| {
                let reply = call_back(lua, arguments).map_err(mlua::Error::external)?;
                values::to_lua(lua, &reply, version)
            })?;
            redis.raw_set("call", plain)?;
            let caught = scope.create_function(move |lua, arguments| match call_back(lua, arguments) {
                Ok(reply) => values::to_lua(lua, &reply, version),
                Err(fault) => values::to_lua(lua, &Reply::Error(fault.caught(version)), version),
            })?;
            redis.raw_set("pcall", caught)?;
            script.call::<Value>(())
        });
        match answer.and_then(|answer| values::from_lua(&answer)) {
            Ok(reply) => reply,
            Err(mistake) => error(describe(&mistake, hash, version)),
        }
    }
}

fn set_arguments(lua: &Lua, call: &Call<'_>) -> mlua::Result<()> {
    let rest = &call.arguments[3..];
    let count = number(call.argument(2)).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let (keys, others) = rest.split_at(count.min(rest.len()));
    for (name, words) in [("KEYS", keys), ("ARGV", others)] {
        let table = lua.create_table_with_capacity(words.len(), 0)?;
        for word in words {
            table.raw_push(lua.create_string(word)?)?;
        }
        lua.globals().raw_set(name, table)?;
    }
    Ok(())
}

/// A script under way.
struct Running<'a> {
    state: &'a mut State,
    /// Then memory is no matter any more: a script is not stopped half way.
    has_written: bool,
}

impl Running<'_> {
    fn command(&mut self, call: &Call<'_>) -> Result<Reply, Fault> {
        let version = self.state.settings.version;
        let words = Words::of(version);
        let Some(command) = commands::find(call.argument(0)) else {
            return Err(Fault::refused(words.unknown));
        };
        if command.check_arity(call, version).is_err() {
            return Err(Fault::refused(words.arity));
        }
        if command.has('s') {
            return Err(Fault::refused(words.not_allowed));
        }
        if let Err(denied) = command.check_permission(self.state, call) {
            let name = self.state.user(call.caller).map_or("", |(name, _)| name);
            return Err(Fault::refused(&denied.to_script(name, version)));
        }
        if command.has('w') && self.state.replication.is_replica {
            return Err(Fault::shared(READ_ONLY));
        }
        if command.has('m') && self.state.is_full && !self.has_written {
            return Err(Fault::shared(OUT_OF_MEMORY));
        }
        self.has_written |= command.has('w');
        let reply = run(command, self.state, call);
        if let Reply::Error(text) = reply {
            return Err(Fault { text, stage: Stage::Replied, line: None });
        }
        Ok(reply)
    }
}

fn run(command: &Command, state: &mut State, call: &Call<'_>) -> Reply {
    match command.run {
        Run::Plain(run) => run(state, call),
        Run::Text | Run::Hash | Run::Manage => not_simulated("a script that runs scripts"),
    }
}

/// Whether there are as many arguments as the number of keys says.
fn counted(call: &Call<'_>) -> Result<(), Reply> {
    let count = number(call.argument(2)).ok_or_else(|| error(NOT_AN_INTEGER))?;
    let Ok(count) = usize::try_from(count) else {
        return Err(error("ERR Number of keys can't be negative"));
    };
    if count > call.arguments.len() - 3 {
        return Err(error("ERR Number of keys can't be greater than number of args"));
    }
    Ok(())
}
