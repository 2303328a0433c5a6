//! What happens to a server: crashes, restarts, replicas, memory, and what a test looks at.

use std::time::Duration;

use crate::keyspace::{Entry, Keyspace, Place, Snapshot, Value};
use crate::scripts::Scripts;
use crate::server::Server;
use crate::settings::{Persistence, Settings};
use crate::state::{Process, Replication, State, digest};
use crate::time::WallTime;

/// What a server finds when it is started again.
#[derive(Clone, Debug)]
pub enum Data {
    /// All that a killed process leaves on its disk: everything, or nothing with [`Persistence::None`].
    Kept,
    /// The same without the changes of the last second before the crash. With [`Persistence::Always`] the disk has lied.
    LostLastSecond,
    /// Nothing.
    Wiped,
    /// What was there once.
    Saved(Snapshot),
}

/// What the last second is.
const SECOND: Duration = Duration::from_secs(1);

impl Server {
    /// Kills the process: its connections, its scripts and all that is not on the disk are gone.
    pub fn crash(&mut self, now: WallTime) {
        self.state.connections.clear();
        self.crashed = Some(now);
    }

    /// Starts a process again, with a run id of its own. One that runs is killed first.
    pub fn restart(&mut self, now: WallTime, data: Data) {
        if self.crashed.is_none() {
            self.crash(now);
        }
        let crashed = self.crashed.take().unwrap_or(now);
        let state = &mut self.state;
        let is_persistent = state.settings.persistence != Persistence::None;
        match data {
            Data::Kept if is_persistent => {}
            Data::LostLastSecond if is_persistent => state.keyspace.undo_after(crashed.before(SECOND)),
            Data::Kept | Data::LostLastSecond | Data::Wiped => state.keyspace = Keyspace::default(),
            Data::Saved(snapshot) => state.keyspace.load(snapshot),
        }
        let number = state.process.number + 1;
        state.process = Process::new(&state.name, number, now);
        let is_replica = state.replication.is_replica;
        state.replication = Replication { is_replica, ..Replication::new(&state.name, number) };
        (state.is_full, state.is_loading, state.fails_to_append) = (false, false, false);
        self.scripts = Scripts::new(state.settings.version);
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.crashed.is_none()
    }

    /// All that it holds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.keyspace.snapshot()
    }

    /// Starts a server that copies this one, and is as it is configured. The first replica of a process gives it another
    /// replication id, as real servers do when they begin to keep a backlog.
    #[must_use]
    pub fn attach_replica(&mut self, name: &str, now: WallTime) -> Self {
        let State { name: own, process, replication, .. } = &mut self.state;
        replication.replicas += 1;
        if !std::mem::replace(&mut replication.has_backlog, true) {
            replication.id = digest(format!("{own} backlog of run {}", process.number).as_bytes());
            replication.second_id = None;
        }
        let mut replica = Self::new(name, self.state.settings.clone(), now);
        let Replication { id, .. } = &self.state.replication;
        replica.state.replication =
            Replication { is_replica: true, id: id.clone(), second_id: None, replicas: 0, has_backlog: true };
        replica.state.keyspace = self.state.keyspace.clone();
        replica
    }

    /// A replica has gone.
    pub fn detach_replica(&mut self) {
        self.state.replication.replicas = self.state.replication.replicas.saturating_sub(1);
    }

    /// Copies a master once more, as it was some time ago by its own clock.
    pub fn follow(&mut self, master: &Self, behind: Duration, master_now: WallTime) {
        self.state.keyspace = master.state.keyspace.clone();
        self.state.keyspace.undo_after(master_now.before(behind));
        let Replication { id, .. } = &master.state.replication;
        self.state.replication =
            Replication { is_replica: true, id: id.clone(), second_id: None, replicas: 0, has_backlog: true };
    }

    /// Makes a master of a replica. It remembers under which id it has copied.
    pub fn promote(&mut self) {
        let State { name, process, replication, .. } = &mut self.state;
        let new =
            digest(format!("{name} promoted from {} in run {}", replication.id, process.number).as_bytes());
        let old = std::mem::replace(&mut replication.id, new);
        replication.second_id = Some(old);
        replication.is_replica = false;
    }

    /// Makes a replica of a master; it refuses writes from now on. Clients stay connected.
    pub fn demote(&mut self) {
        self.state.replication.is_replica = true;
    }

    /// Whether memory is full: then nothing that needs more is done.
    pub fn set_full(&mut self, is_full: bool) {
        self.state.is_full = is_full;
    }

    /// Whether it still loads its data and answers hardly anything.
    pub fn set_loading(&mut self, is_loading: bool) {
        self.state.is_loading = is_loading;
    }

    /// Whether its append-only file cannot be written, as `INFO` tells.
    pub fn set_fails_to_append(&mut self, fails: bool) {
        self.state.fails_to_append = fails;
    }

    /// Begins or ends a rewrite of the append-only file.
    pub fn set_rewriting(&mut self, is_rewriting: bool) {
        let process = &mut self.state.process;
        process.was_rewritten |= process.is_rewriting && !is_rewriting;
        process.is_rewriting = is_rewriting;
    }

    /// Evicts a key, if it is there.
    pub fn evict(&mut self, db: usize, key: &[u8], now: WallTime) {
        let place = Place { db, key: key.to_vec() };
        if self.state.keyspace.change(&place, now, |entry| entry.take().is_some()) {
            self.state.process.evicted_keys += 1;
        }
    }

    /// Removes what has expired, as servers do it now and then by themselves. Without it keys expire when they are looked
    /// at, so a clock that is set back may find them alive.
    pub fn expire(&mut self, now: WallTime) {
        self.state.keyspace.expire(now);
    }

    /// Forgets all scripts, as `SCRIPT FLUSH` does.
    pub fn forget_scripts(&mut self) {
        self.scripts = Scripts::new(self.state.settings.version);
    }

    /// The configuration, to be changed while it runs; the version and the users of open connections stay.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.state.settings
    }

    /// The keys of a database that are alive.
    pub fn keys(&mut self, db: usize, now: WallTime) -> Vec<Vec<u8>> {
        self.state.keyspace.expire(now);
        self.state.keyspace.keys(db).cloned().collect()
    }

    /// The value of a string that is alive.
    pub fn text(&mut self, db: usize, key: &[u8], now: WallTime) -> Option<Vec<u8>> {
        match self.state.keyspace.get(&Place { db, key: key.to_vec() }, now) {
            Some(Entry { value: Value::Text(text), .. }) => Some(text.clone()),
            Some(Entry { value: Value::Hash(_) | Value::Sorted(_), .. }) | None => None,
        }
    }

    /// The members of a sorted set that is alive whose scores are milliseconds in the future.
    #[expect(clippy::cast_precision_loss, reason = "scores are such numbers")]
    pub fn members_alive(&mut self, db: usize, key: &[u8], now: WallTime) -> Vec<Vec<u8>> {
        match self.state.keyspace.get(&Place { db, key: key.to_vec() }, now) {
            Some(Entry { value: Value::Sorted(set), .. }) => {
                let members = set.iter().filter(|(_, score)| *score > now.millis() as f64);
                members.map(|(member, _)| member.to_vec()).collect()
            }
            Some(Entry { value: Value::Text(_) | Value::Hash(_), .. }) | None => Vec::new(),
        }
    }

    /// Whether it is a replica of another server.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.state.replication.is_replica
    }

    /// The random name of its process.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.state.process.run_id
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.len()
    }
}
