//! A simulated Redis server, for tests that have to be the same twice.
//!
//! A [`Server`] is a standalone master as the library meets it: requests in RESP come in as bytes, replies and messages
//! go out as bytes. It does no IO, starts no threads, and reads neither a clock nor random numbers: [`WallTime`] is an
//! argument of each call. Lua scripts run as they are, in an embedded Lua 5.1.
//!
//! The commands are those that the library and its scripts send; others are unknown. An option that is not simulated
//! answers `ERR not simulated`, so that it is never mistaken for a refusal. `tests/differential` holds all of it to real
//! servers.

mod commands;
mod connection;
mod errors;
mod faults;
mod keyspace;
mod reply;
mod request;
mod scripts;
mod server;
mod settings;
mod sorted_set;
mod state;
mod time;
mod version;

pub use connection::ConnectionId;
pub use faults::Data;
pub use keyspace::Snapshot;
pub use server::Server;
pub use settings::{Persistence, Settings, User};
pub use time::WallTime;
pub use version::Version;
