//! Lets faults happen, and heals them.

use std::sync::Arc;
use std::time::Duration;

use redlock_sim::{Data, Snapshot};

use super::CALM_WIRE;
use super::clients::Client;
use super::faults::{Begins, Fault, Loss, SENDING_MAX, What};
use super::locks::KEYS;
use super::network::{Internet, SimServer, WireState};
use super::oracle::Oracle;

/// How often keys are deleted.
const DELETE_EVERY: Duration = Duration::from_millis(40);

/// What faults are played on.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) internet: Arc<Internet>,
    pub(super) clients: Vec<Arc<Client>>,
    pub(super) oracle: Arc<Oracle>,
    /// See [`Size`](super::faults::Size).
    pub(super) observed: Duration,
}

/// What healing a fault needs to know.
enum Begun {
    Plainly,
    With(Snapshot),
    /// The address led there before.
    From(usize),
    /// The replica is there.
    Copied(usize),
    NotAtAll,
}

impl Stage {
    pub(super) async fn play(self, fault: Fault) {
        let time = self.internet.time();
        tokio::time::sleep_until(time.at(fault.at)).await;
        if let Begins::AfterSending { client, pause } = fault.begins {
            let sent = tokio::time::timeout(SENDING_MAX, self.clients[client].sends()).await;
            tokio::time::sleep(if sent.is_ok() { pause } else { Duration::ZERO }).await;
        }
        self.oracle.handle_fault(fault.what.kind(), &fault.what.to_string());
        let begun = self.begin(fault.what, fault.lasts);
        self.go_on(fault.what, fault.lasts).await;
        self.oracle.note(&format!("healed: {}", fault.what));
        self.heal(fault.what, begun);
    }

    fn begin(&self, what: What, lasts: Duration) -> Begun {
        let now = self.internet.time().now();
        match what {
            What::Cut { client, address, directions: [up, down] } => {
                self.set(client, address, |state| state.is_open = [!up, !down]);
            }
            What::Slow { client, address, longest } => self.slow(client, address, longest, Duration::ZERO),
            What::SlowClient { client, longest, back } => {
                (0..self.internet.addresses()).for_each(|address| self.slow(client, address, longest, back));
            }
            What::Stall { client, address } => self.clients[client].stall(address, lasts),
            What::Reset { client, address } => self.clients[client].reset(address),
            What::Disconnect(server) => self.server(server).drop_connections(),
            What::Pause(server) => self.server(server).pause(true),
            What::Crash(server, _) => self.server(server).crash(now),
            What::Restore(server) => {
                return Begun::With(self.server(server).with(|server| server.snapshot()));
            }
            What::Full(server) => self.server(server).with(|server| server.set_full(true)),
            What::Evict(server) => self.set_policy(server, 100_000_000, "allkeys-lru"),
            What::Replica(server) => {
                let server = self.server(server);
                // Only what the master tells of its replica matters.
                server.with(|master| drop(master.attach_replica("of nobody", server.wall(now))));
            }
            What::Failover { address, .. } => return self.copy(address, Duration::ZERO),
            What::Revoke(server, command) => self.server(server).with(|server| {
                server.settings_mut().users.values_mut().for_each(|user| {
                    user.denied.insert(command.to_owned());
                });
            }),
            What::Freeze(client) => {
                self.clients[client].ambient().freeze();
                self.open_wires(client, false);
            }
            What::Kill(client) => self.clients[client].kill(),
            What::Swap(address) => {
                let Some(spare) = self.internet.spare() else { return Begun::NotAtAll };
                let before = self.internet.leads_to(address);
                self.lead(address, spare);
                return Begun::From(before);
            }
            What::StepClock(server, by) => self.server(server).step_clock(by),
            What::Delete => {}
        }
        Begun::Plainly
    }

    async fn go_on(&self, what: What, lasts: Duration) {
        let time = self.internet.time();
        if let What::Evict(server) = what {
            let first = self.observed.min(lasts);
            tokio::time::sleep(first).await;
            let server = self.server(server);
            self.oracle.note("the locks are evicted");
            for key in &*KEYS {
                server.with(|state| state.evict(0, key.as_bytes(), server.wall(time.now())));
            }
            tokio::time::sleep(lasts - first).await;
        } else if what == What::Delete {
            let end = time.now() + lasts;
            while time.now() < end {
                self.internet.servers().iter().for_each(|server| server.delete(&KEYS, time.now()));
                tokio::time::sleep(DELETE_EVERY).await;
            }
        } else {
            tokio::time::sleep(lasts).await;
        }
    }

    fn heal(&self, what: What, begun: Begun) {
        let now = self.internet.time().now();
        match what {
            What::Cut { client, address, .. } => {
                self.set(client, address, |state| state.is_open = CALM_WIRE.is_open);
            }
            What::Slow { client, address, .. } => {
                self.slow(client, address, CALM_WIRE.longest, CALM_WIRE.back);
            }
            What::SlowClient { client, .. } => {
                (0..self.internet.addresses())
                    .for_each(|address| self.slow(client, address, CALM_WIRE.longest, CALM_WIRE.back));
            }
            What::Stall { .. }
            | What::Reset { .. }
            | What::Disconnect(_)
            | What::Kill(_)
            | What::StepClock(..)
            | What::Delete => {}
            What::Pause(server) => self.server(server).pause(false),
            What::Crash(server, loss) => {
                let server = self.server(server);
                let data = match loss {
                    Loss::Nothing => Data::Kept,
                    Loss::LastSecond => server.lost_second(),
                    Loss::Everything => Data::Wiped,
                };
                server.restart(now, data);
                self.excuse(server);
            }
            What::Restore(server) => {
                if let Begun::With(snapshot) = begun {
                    self.server(server).crash(now);
                    self.server(server).restart(now, Data::Saved(snapshot));
                    self.excuse(self.server(server));
                }
            }
            What::Full(server) => self.server(server).with(|server| server.set_full(false)),
            What::Evict(server) => self.set_policy(server, 0, "noeviction"),
            What::Replica(server) => self.server(server).with(redlock_sim::Server::detach_replica),
            What::Failover { address, lag } => self.promote(address, lag, &begun),
            What::Revoke(server, command) => self.server(server).with(|server| {
                server.settings_mut().users.values_mut().for_each(|user| {
                    user.denied.remove(command);
                });
            }),
            What::Freeze(client) => {
                self.clients[client].ambient().thaw();
                self.open_wires(client, true);
                // The answers that have come meanwhile are read before or after the work goes on.
                let (client, early) = (Arc::clone(&self.clients[client]), now.as_micros() % 2);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(2 * u64::from(early == 0))).await;
                    client.ambient().wake();
                });
            }
            What::Swap(address) => {
                if let Begun::From(before) = begun
                    && self.internet.is_free(before)
                    && !self.internet.is_replica(before)
                {
                    self.lead(address, before);
                }
            }
        }
    }

    /// Makes a spare server a replica of the one at the address.
    fn copy(&self, address: usize, lag: Duration) -> Begun {
        let Some(spare) = self.internet.spare() else { return Begun::NotAtAll };
        let (master, replica) = (self.internet.server_at(address), self.server(spare));
        let now = self.internet.time().now();
        if !replica.with(|replica| replica.is_up()) || !master.with(|master| master.is_up()) {
            return Begun::NotAtAll;
        }
        master.with(|server| drop(server.attach_replica("of nobody", master.wall(now))));
        replica.follow(master, lag, now);
        Begun::Copied(spare)
    }

    /// The master dies, and its replica takes its place. The master comes back later as a server that nobody uses.
    fn promote(&self, address: usize, lag: Duration, begun: &Begun) {
        let Begun::Copied(replica) = *begun else { return };
        let (now, master) = (self.internet.time().now(), self.internet.leads_to(address));
        let is_there = self.server(replica).with(|replica| replica.is_up() && replica.is_replica());
        if !is_there || !self.internet.is_free(replica) {
            return;
        }
        self.server(replica).follow(self.server(master), lag, now);
        self.server(master).crash(now);
        self.server(replica).with(redlock_sim::Server::promote);
        self.lead(address, replica);
        self.server(master).restart(now, Data::Kept);
    }

    fn lead(&self, address: usize, server: usize) {
        // A release that is under way goes to the wrong server.
        self.excuse(self.internet.server_at(address));
        self.internet.lead(address, server);
        self.excuse(self.server(server));
    }

    /// A server has a lock that was released, or will be, and nobody can know: its data is from before the release, or the
    /// release goes to another server. The lock lasts for its TTL.
    fn excuse(&self, server: &SimServer) {
        let now = self.internet.time().now();
        KEYS.iter().flat_map(|key| server.holders(key, now)).for_each(|holder| self.oracle.excuse(holder));
    }

    fn server(&self, server: usize) -> &Arc<SimServer> {
        &self.internet.servers()[server]
    }

    fn set(&self, client: usize, address: usize, change: impl FnOnce(&mut WireState)) {
        self.internet.wire(client, address).change(change);
    }

    fn slow(&self, client: usize, address: usize, longest: Duration, back: Duration) {
        self.set(client, address, |state| (state.longest, state.back) = (longest, back));
    }

    fn open_wires(&self, client: usize, is_open: bool) {
        for address in 0..self.internet.addresses() {
            self.set(client, address, |state| state.is_open = [is_open; 2]);
        }
    }

    fn set_policy(&self, server: usize, max_memory: u64, policy: &str) {
        self.server(server).with(|server| {
            let settings = server.settings_mut();
            settings.max_memory = max_memory;
            policy.clone_into(&mut settings.max_memory_policy);
        });
    }
}
