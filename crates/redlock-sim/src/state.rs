//! What a server knows, without its scripts.

use std::collections::BTreeMap;

use sha1_smol::Sha1;

use crate::connection::{Connection, ConnectionId};
use crate::keyspace::{Keyspace, Place};
use crate::reply::Reply;
use crate::settings::{DEFAULT_USER, Settings, User};
use crate::time::WallTime;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) keyspace: Keyspace,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) connections_ever: u64,
    pub(crate) process: Process,
    pub(crate) replication: Replication,
    pub(crate) is_full: bool,
    pub(crate) is_loading: bool,
    pub(crate) fails_to_append: bool,
}

/// One run of the server program.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// How many there have been.
    pub(crate) number: u64,
    pub(crate) run_id: String,
    pub(crate) started: WallTime,
    pub(crate) evicted_keys: u64,
    pub(crate) is_rewriting: bool,
    pub(crate) was_rewritten: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Replication {
    pub(crate) is_replica: bool,
    pub(crate) id: String,
    /// The id before the last promotion.
    pub(crate) second_id: Option<String>,
    pub(crate) replicas: u64,
    /// Whether a replica was ever attached to this process.
    pub(crate) has_backlog: bool,
}

/// One command with its arguments, the name first.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) caller: ConnectionId,
    pub(crate) arguments: &'a [Vec<u8>],
    pub(crate) now: WallTime,
}

impl State {
    pub(crate) fn new(name: &str, settings: Settings, now: WallTime) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            keyspace: Keyspace::default(),
            connections: BTreeMap::new(),
            connections_ever: 0,
            process: Process::new(name, 1, now),
            replication: Replication::new(name, 1),
            is_full: false,
            is_loading: false,
            fails_to_append: false,
        }
    }

    pub(crate) fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        self.connections.get_mut(&id).expect("whoever is answered is connected")
    }

    pub(crate) fn user(&self, id: ConnectionId) -> Option<(&str, &User)> {
        let name = self.connections.get(&id)?.user.as_deref()?;
        Some((name, self.settings.users.get(name)?))
    }

    /// Logs somebody in.
    pub(crate) fn log_in(&mut self, id: ConnectionId, name: &str, password: &str) -> Result<(), ()> {
        let user = self.settings.users.get(name).ok_or(())?;
        if user.password.as_deref().is_some_and(|wanted| wanted != password) {
            return Err(());
        }
        self.connection(id).user = Some(name.to_owned());
        Ok(())
    }

    /// Who a new connection is.
    pub(crate) fn first_user(&self) -> Option<String> {
        let user = self.settings.users.get(DEFAULT_USER)?;
        user.password.is_none().then(|| DEFAULT_USER.to_owned())
    }

    /// Sends a message to all subscribers of a channel, and answers how many there are.
    pub(crate) fn publish(&mut self, from: ConnectionId, channel: &[u8], message: &[u8]) -> usize {
        let version = self.settings.version;
        let mut heard = 0;
        for (id, connection) in &mut self.connections {
            if !connection.channels.contains(channel) {
                continue;
            }
            heard += 1;
            let parts = [b"message".as_slice(), channel, message];
            let push = Reply::Push(parts.map(|part| Reply::Bulk(part.to_vec())).into());
            if *id == from && version.is_since_7_2() {
                connection.defer(push);
            } else {
                connection.send(&push, version);
            }
        }
        heard
    }
}

impl Process {
    pub(crate) fn new(name: &str, number: u64, started: WallTime) -> Self {
        Self {
            number,
            run_id: digest(format!("{name} run {number}").as_bytes()),
            started,
            evicted_keys: 0,
            is_rewriting: false,
            was_rewritten: false,
        }
    }
}

impl Replication {
    pub(crate) fn new(name: &str, number: u64) -> Self {
        Self {
            is_replica: false,
            id: digest(format!("{name} replication {number}").as_bytes()),
            second_id: None,
            replicas: 0,
            has_backlog: false,
        }
    }
}

impl Call<'_> {
    pub(crate) fn argument(&self, index: usize) -> &[u8] {
        self.arguments.get(index).map_or(&[], Vec::as_slice)
    }

    /// The argument in small letters.
    pub(crate) fn word(&self, index: usize) -> String {
        String::from_utf8_lossy(self.argument(index)).to_lowercase()
    }

    pub(crate) fn place(&self, state: &State, index: usize) -> Place {
        let db = state.connections.get(&self.caller).map_or(0, |connection| connection.db);
        Place { db, key: self.argument(index).to_vec() }
    }
}

/// SHA-1 in forty digits: what scripts are called by, and ids that look random and are always the same.
pub(crate) fn digest(of: &[u8]) -> String {
    Sha1::from(of).digest().to_string()
}
