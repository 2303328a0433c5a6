//! Interpreters with the scripts that they have compiled. Servers of one thread use them one after another: a script
//! leaves nothing behind in Lua, and setting up and compiling took a tenth of a simulation.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mlua::{ChunkMode, Function, Lua, LuaOptions, StdLib, Value};

use super::fault;
use crate::state::digest;
use crate::version::Version;

/// An interpreter that has compiled more scripts is not used again.
const SCRIPTS_MAX: usize = 64;
/// Interpreters that a thread keeps.
const IDLE_MAX: usize = 64;

/// Lua, and the scripts that it has compiled.
pub(super) struct Interpreter {
    version: Version,
    compiled: Option<Compiled>,
}

struct Compiled {
    lua: Lua,
    hashes: BTreeMap<Vec<u8>, String>,
    scripts: BTreeMap<String, Function>,
}

thread_local! {
    static IDLE: RefCell<Vec<(Version, Compiled)>> = const { RefCell::new(Vec::new()) };
}

impl Interpreter {
    /// One that is idle, or a new one.
    pub(super) fn of(version: Version) -> Self {
        let idle = IDLE.with_borrow_mut(|idle| {
            let place = idle.iter().position(|(its_version, _)| *its_version == version)?;
            Some(idle.swap_remove(place).1)
        });
        let compiled = idle.unwrap_or_else(|| Compiled {
            lua: lua(version).expect("an interpreter can be set up"),
            hashes: BTreeMap::new(),
            scripts: BTreeMap::new(),
        });
        Self { version, compiled: Some(compiled) }
    }

    /// Compiles a script, unless it has been, and returns its hash.
    pub(super) fn compile(&mut self, text: &[u8]) -> mlua::Result<String> {
        let Compiled { lua, hashes, scripts } = self.compiled.as_mut().expect("it is there until the drop");
        if let Some(hash) = hashes.get(text) {
            return Ok(hash.clone());
        }
        let script = lua.load(text).set_name("@user_script").set_mode(ChunkMode::Text).into_function()?;
        let hash = digest(text);
        hashes.insert(text.to_vec(), hash.clone());
        scripts.insert(hash.clone(), script);
        Ok(hash)
    }

    /// A script that was compiled.
    pub(super) fn script(&self, hash: &str) -> (&Lua, &Function) {
        let Compiled { lua, scripts, .. } = self.compiled.as_ref().expect("it is there until the drop");
        (lua, &scripts[hash])
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let Some(compiled) = self.compiled.take() else { return };
        if compiled.scripts.len() > SCRIPTS_MAX {
            return;
        }
        // At the end of the thread there is nobody to keep it for.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.len() < IDLE_MAX {
                idle.push((self.version, compiled));
            }
        });
    }
}

/// Lua with what scripts find there, and without global variables of their own.
fn lua(version: Version) -> mlua::Result<Lua> {
    let lua = Lua::new_with(StdLib::MATH | StdLib::STRING | StdLib::TABLE, LuaOptions::default())?;
    let redis = lua.create_table()?;
    // What is no text counts as an empty one.
    let sha1hex = |_: &Lua, text: Value| {
        let text = text.as_string().map(|text| text.as_bytes().to_vec());
        Ok(digest(&text.unwrap_or_default()))
    };
    redis.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    redis.raw_set(
        "status_reply",
        lua.create_function(|lua, text: mlua::String| lua.create_table_from([("ok", text)]))?,
    )?;
    let error_reply = move |lua: &Lua, text: mlua::String| {
        let text = fault::error_reply(&text.to_string_lossy(), version);
        lua.create_table_from([("err", text)])
    };
    redis.raw_set("error_reply", lua.create_function(error_reply)?)?;
    lua.globals().raw_set("redis", redis)?;
    // Random numbers of C would be those of the whole process.
    let guard = "
        math.random, math.randomseed = nil, nil
        setmetatable(_G, {
            __index = function(_, name)
                error('Script attempted to access nonexistent global variable \\'' .. tostring(name) .. '\\'', 2)
            end,
            __newindex = function() error('Attempt to modify a readonly table', 2) end,
        })";
    lua.load(guard).exec()?;
    Ok(lua)
}
