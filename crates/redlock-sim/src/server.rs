//! A server and its connections.

use crate::commands::{self, Run};
use crate::connection::{Connection, ConnectionId};
use crate::errors::{
    LOADING, NO_AUTH, OUT_OF_MEMORY, READ_ONLY, TOO_MANY_CLIENTS, error, only_subscriber_commands,
    unknown_command,
};
use crate::reply::{Protocol, Reply};
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::state::{Call, State};
use crate::time::WallTime;

/// A simulated standalone server: a state machine over the bytes of its connections.
///
/// The caller says at each call what the server's wall clock shows, carries the bytes to and fro, and decides which
/// faults there are. The same calls have the same answers.
///
/// # Examples
///
/// ```
/// use redlock_sim::{Server, Settings, WallTime};
///
/// let now = WallTime(1_700_000_000_000_000);
/// let mut server = Server::new("a", Settings::default(), now);
/// let client = server.connect(now).expect("it is up");
/// server.receive(client, b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nPX\r\n$3\r\n100\r\n", now);
/// assert_eq!(server.take_output(client), b"+OK\r\n");
/// ```
#[derive(Debug)]
pub struct Server {
    pub(crate) state: State,
    pub(crate) scripts: Scripts,
    /// When it was killed, while it is down.
    pub(crate) crashed: Option<WallTime>,
}

impl Server {
    /// Starts a server without data. Servers of the same name have the same ids.
    #[must_use]
    pub fn new(name: &str, settings: Settings, now: WallTime) -> Self {
        let scripts = Scripts::new(settings.version);
        Self { state: State::new(name, settings, now), scripts, crashed: None }
    }

    /// Accepts a connection; `None` while the server is down. One too many is told so and closed.
    pub fn connect(&mut self, _now: WallTime) -> Option<ConnectionId> {
        if self.crashed.is_some() {
            return None;
        }
        self.state.connections_ever += 1;
        let id = ConnectionId(self.state.connections_ever);
        let mut connection = Connection::new(self.state.first_user());
        if self.state.connections.len() >= self.state.settings.max_clients {
            connection.send(&error(TOO_MANY_CLIENTS), self.state.settings.version);
            connection.is_closing = true;
        }
        self.state.connections.insert(id, connection);
        Some(id)
    }

    /// Takes bytes in and carries out every request that is whole now. Bytes of a connection that is gone are lost.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], now: WallTime) {
        let version = self.state.settings.version;
        if let Some(connection) = self.state.connections.get_mut(&id) {
            connection.receive(bytes);
        }
        while let Some(arguments) =
            self.state.connections.get_mut(&id).and_then(|connection| connection.next_request(version))
        {
            let reply = self.answer(&Call { caller: id, arguments: &arguments, now });
            let connection = self.state.connection(id);
            connection.send(&reply, version);
            connection.send_deferred(version);
        }
    }

    /// Takes what the server has to say on a connection.
    pub fn take_output(&mut self, id: ConnectionId) -> Vec<u8> {
        self.state.connections.get_mut(&id).map(Connection::take_output).unwrap_or_default()
    }

    /// The connections on which the server has something to say.
    pub fn with_output(&self) -> impl Iterator<Item = ConnectionId> {
        self.state.connections.iter().filter(|(_, connection)| connection.has_output()).map(|(id, _)| *id)
    }

    /// Whether the server still listens on a connection. One that it closes is closed behind its output.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.state.connections.get(&id).is_some_and(|connection| !connection.is_closing)
    }

    /// The client has gone.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.state.connections.remove(&id);
    }

    fn answer(&mut self, call: &Call<'_>) -> Reply {
        let Self { state, scripts, .. } = self;
        let version = state.settings.version;
        let Some(command) = commands::find(call.argument(0)) else {
            return unknown_command(call.arguments, version);
        };
        if let Err(reply) = command.check_arity(call, version) {
            return reply;
        }
        if state.user(call.caller).is_none() && !command.has('a') {
            return error(NO_AUTH);
        }
        if let Err(denied) = command.check_permission(state, call) {
            let name = state.user(call.caller).map_or("", |(name, _)| name);
            return denied.to_client(name, version);
        }
        // A replica leaves memory to its master.
        if command.has('w') && state.replication.is_replica {
            return error(READ_ONLY);
        }
        let needs_memory = command.has('m') || (command.name == "subscribe" && version.is_8_6());
        if needs_memory && state.is_full && !state.replication.is_replica {
            return error(OUT_OF_MEMORY);
        }
        let connection = state.connection(call.caller);
        if connection.protocol == Protocol::Resp2 && !connection.channels.is_empty() && !command.has('p') {
            return only_subscriber_commands(&command.full_name(call), version);
        }
        if state.is_loading && !command.has('l') {
            return error(LOADING);
        }
        match command.run {
            Run::Plain(run) => run(state, call),
            Run::Text => scripts.eval_text(state, call),
            Run::Hash => scripts.eval_hash(state, call),
            Run::Manage => scripts.manage(state, call),
        }
    }
}
