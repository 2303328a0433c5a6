//! The clients of a run: one process after another, until one lives to the end.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::clock::{ClientAmbient, Rate};
use super::locks::KEYS;
use super::members::{Members, Naming};
use super::network::{ClientNetwork, Internet};
use super::oracle::{Oracle, Process};
use super::sockets::Sockets;
use super::storms::Storms;
use super::work::{Kinds, Session, calm, heal, work};
use crate::Redlock;
use crate::config::RedlockBuilder;
use crate::types::{Ambient, Published};

/// How long nodes and connections need after the last fault and the longest lease before nothing is in the way any more: a
/// node that has forgotten locks is in quarantine until then, and a client does not wait on a node that hung for eight node
/// timeouts and longer.
const SETTLE: Duration = Duration::from_secs(4);
/// For how long a key may be there that belongs to nobody: a release is repeated every 8 s.
const STRAY_MAX: Duration = Duration::from_secs(10);
/// How often a spare server was declared new, too.
const SPARE_DECLARED_SHARE: f64 = 0.5;

/// What all clients share.
pub(super) struct World {
    pub(super) internet: Arc<Internet>,
    pub(super) oracle: Arc<Oracle>,
    pub(super) storms: Arc<Storms>,
    pub(super) scale: Scale,
    pub(super) faults_end: Duration,
    pub(super) kinds: Kinds,
    pub(super) all: Gathering,
    pub(super) members: Members,
    /// Since when the node list does not change any more.
    pub(super) unchanged_since: Published<Option<Duration>>,
}

/// Where all clients wait for one another, again and again.
pub(super) struct Gathering {
    clients: usize,
    arrived: Published<usize>,
}

/// Whether a client is the last to arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    Early,
    Last,
}

impl Gathering {
    pub(super) fn new(clients: usize) -> Self {
        Self { clients, arrived: Published::new(0) }
    }

    async fn wait(&self) -> Arrival {
        let arrived = self.arrived.change(|arrived| {
            *arrived += 1;
            *arrived
        });
        if arrived.is_multiple_of(self.clients) {
            return Arrival::Last;
        }
        self.arrived.wait_for(|now| *now >= arrived.next_multiple_of(self.clients)).await;
        Arrival::Early
    }
}

/// The lengths of leases in a run. Long ones show what is left behind; short ones find more in the same time.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// In milliseconds, as are all of these.
    pub(super) shortest_ttl: u64,
    pub(super) max_ttls: [u64; 3],
    /// How often a client has another `max_ttl` than the first.
    pub(super) differ: f64,
    pub(super) longer: Longer,
    pub(super) longest_hold: u64,
    /// How often a lock is taken for as long as it may be, and neither renewed nor released.
    pub(super) to_the_end: f64,
    /// How long a client waits for a lock once all is healed: two quarantines, and what clients need to reconnect.
    pub(super) patience: Duration,
    pub(super) faults_end: Range<Duration>,
    /// How far apart observations are at most; see [`Size`](super::faults::Size).
    pub(super) observed: Duration,
}

/// When processes come that have longer leases than the first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Longer {
    FromTheStart,
    /// Only processes that start later. Those that know the nodes already have to learn of them.
    Later,
}

impl Scale {
    /// What every client may ask for.
    pub(super) fn shortest_max_ttl(&self) -> u64 {
        self.max_ttls.into_iter().min().unwrap_or(self.shortest_ttl)
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_millis(self.max_ttls.into_iter().max().unwrap_or(self.shortest_ttl))
    }
}

/// A client: the machine that it runs on, and how faults reach its present process.
pub(super) struct Client {
    index: usize,
    ambient: Arc<ClientAmbient>,
    sockets: Mutex<Option<Sockets>>,
    kills: Published<u64>,
    sendings: Arc<Published<u64>>,
    /// How often its process was asked to end.
    requests: Published<u64>,
    /// What its next process is to name.
    wanted: Mutex<Naming>,
    /// What its present process names.
    names: Published<Option<Naming>>,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Killed,
    /// It gives up what it holds, and shuts down.
    Asked,
    WithTheRun,
}

impl Client {
    pub(super) fn new(index: usize, ambient: Arc<ClientAmbient>) -> Arc<Self> {
        Arc::new(Self {
            index,
            ambient,
            sockets: Mutex::new(None),
            kills: Published::new(0),
            sendings: Arc::new(Published::new(0)),
            requests: Published::new(0),
            wanted: Mutex::new(Naming::FIRST),
            names: Published::new(None),
        })
    }

    /// Returns when the client sends something.
    pub(super) async fn sends(&self) {
        self.sendings.changed_since(self.sendings.version()).await;
    }

    pub(super) fn ambient(&self) -> &ClientAmbient {
        &self.ambient
    }

    pub(super) fn reset(&self, address: usize) {
        if let Some(sockets) = &*self.sockets.lock().unwrap() {
            sockets.reset(address);
        }
    }

    pub(super) fn stall(&self, address: usize, lasts: Duration) {
        if let Some(sockets) = &*self.sockets.lock().unwrap() {
            sockets.stall(address, lasts);
        }
    }

    pub(super) fn kill(&self) {
        if let Some(sockets) = &*self.sockets.lock().unwrap() {
            sockets.kill();
        }
        self.kills.change(|kills| *kills += 1);
    }

    /// The next process is to name these nodes.
    pub(super) fn prepare(&self, naming: Naming) {
        *self.wanted.lock().unwrap() = naming;
    }

    /// Asks the process to end.
    pub(super) fn ask_to_end(&self) {
        self.requests.change(|requests| *requests += 1);
    }

    /// Returns when the present process names these nodes.
    pub(super) async fn until_it_names(&self, naming: Naming) {
        self.names.wait_for(|names| *names == Some(naming)).await;
    }

    pub(super) async fn live(self: Arc<Self>, world: Arc<World>, mut random: StdRng) {
        for number in 0.. {
            // Some come later than others.
            let late = random.random_range(0..5000) * u64::from(random.random_bool(0.5));
            tokio::time::sleep(Duration::from_millis(late)).await;
            let process =
                Process { client: self.index, number, ambient: Arc::<ClientAmbient>::clone(&self.ambient) };
            let network = ClientNetwork { internet: Arc::clone(&world.internet), client: self.index };
            let sockets = Sockets::new(network, Arc::clone(&world.storms), Arc::clone(&self.sendings));
            *self.sockets.lock().unwrap() = Some(sockets.clone());
            let kills = self.kills.version();
            let naming = *self.wanted.lock().unwrap();
            self.names.set(Some(naming));
            let ending = tokio::select! {
                biased;
                () = self.kills.changed_since(kills) => Ending::Killed,
                ending = self.ambient.work(self.run(&world, &process, naming, &sockets, &mut random)) => ending,
            };
            self.names.set(None);
            if ending == Ending::WithTheRun {
                return;
            }
            world.oracle.handle_gone(&process);
        }
    }

    /// One process, to its end.
    async fn run(
        &self,
        world: &World,
        process: &Process,
        naming: Naming,
        sockets: &Sockets,
        random: &mut StdRng,
    ) -> Ending {
        let World { internet, oracle, scale, members, .. } = world;
        let requests = self.requests.version();
        let time = internet.time();
        let others = match (process.number, scale.longer) {
            (0, Longer::Later) => 2..3,
            (0, Longer::FromTheStart) => 1..3,
            _ => 1..2,
        };
        let max_ttl =
            scale.max_ttls[if random.random_bool(scale.differ) { random.random_range(others) } else { 0 }];
        let ttl = random.random_range(scale.shortest_ttl..=max_ttl);
        let keep_alive = random.random_bool(0.6);
        let builder = lengths(members.builder(naming), scale, max_ttl).owner(process.owner());
        let settings = builder.validate().expect("the settings are good");
        let ambient = Arc::<ClientAmbient>::clone(&process.ambient) as Arc<dyn Ambient>;
        let redlock = settings.connect_by(ambient, sockets).await;
        oracle.note(&format!("{} is connected, max_ttl {max_ttl} ms", process.owner()));
        let counted = Counted { redlock, oracle };
        let redlock = &counted.redlock;
        let session = Session { world, process, redlock, naming, max_ttl, ttl, keep_alive };
        let working = async {
            work(&session, random).await;
            world.unchanged_since.wait_for(Option::is_some).await;
        };
        let ending = tokio::select! {
            biased;
            () = self.requests.changed_since(requests) => Ending::Asked,
            () = working => Ending::WithTheRun,
        };
        if ending == Ending::WithTheRun {
            tokio::time::sleep_until(time.at(world.faults_end + Duration::from_secs(1))).await;
            heal(&session, random).await;
            if world.all.wait().await == Arrival::Last {
                settle(world).await;
            }
            if world.all.wait().await == Arrival::Last {
                oracle.note("calm");
                oracle.begin_calm();
            }
            calm(&session, random).await;
            world.all.wait().await;
        }
        counted.redlock.shutdown().await;
        ending
    }
}

/// The operator declares the nodes new, before anybody else has met them, and some of the spare servers.
pub(super) async fn declare(world: &World, client: usize, random: &mut StdRng) {
    let World { internet, members, .. } = world;
    for spare in internet.addresses()..internet.servers().len() {
        if random.random_bool(SPARE_DECLARED_SHARE) {
            internet.lead(0, spare);
            declare_alone(world, client, 0).await;
            internet.lead(0, 0);
        }
    }
    for address in members.later() {
        declare_alone(world, client, address).await;
    }
    declare_all(world, client, members.builder(Naming::FIRST)).await;
}

async fn declare_alone(world: &World, client: usize, address: usize) {
    declare_all(world, client, Redlock::builder().nodes([format!("redis://n{address}")])).await;
}

/// Declares the servers new that these addresses lead to.
async fn declare_all(world: &World, client: usize, builder: RedlockBuilder) {
    let redlock = operator(world, client, builder).await;
    let declared = redlock.dangerous_declare_new().await;
    world.oracle.note(&format!("the operator: {declared:?}"));
    redlock.shutdown().await;
}

/// A client of the operator, on a machine that nothing is wrong with.
pub(super) async fn operator(world: &World, client: usize, builder: RedlockBuilder) -> Redlock {
    let network = ClientNetwork { internet: Arc::clone(&world.internet), client };
    let exact = Rate { rate: 1.0, wall_offset_micros: 0 };
    let ambient = ClientAmbient::new(world.internet.time(), exact, 0);
    let settings = lengths(builder, &world.scale, world.scale.max_ttls[0]).validate();
    settings.expect("the settings are good").connect_by(ambient, &network).await
}

fn lengths(builder: RedlockBuilder, scale: &Scale, max_ttl: u64) -> RedlockBuilder {
    builder.ttl(Duration::from_millis(scale.shortest_ttl)).max_ttl(Duration::from_millis(max_ttl))
}

/// Waits until the nodes have no locks any more. Nobody holds any now, so that all of them are left over.
async fn settle(world: &World) {
    let time = world.internet.time();
    let healed = time.now();
    let undisturbed = world.unchanged_since.with(|since| since.unwrap_or_default().max(world.faults_end));
    tokio::time::sleep_until(time.at(undisturbed + world.scale.longest() + SETTLE)).await;
    loop {
        let left = world.locks();
        let strays = left.iter().filter(|(_, _, owner)| !world.oracle.may_be_there(owner));
        if let Some((server, key, owner)) = strays.clone().next()
            && time.now() > healed + STRAY_MAX
        {
            world.oracle.violation(&format!("server {server} has {key} of {owner}, which nobody holds"));
            return;
        }
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

impl World {
    /// The locks on all servers: server, key and owner.
    pub(super) fn locks(&self) -> Vec<(usize, &'static str, String)> {
        let now = self.internet.time().now();
        let on = |(i, server): (usize, &Arc<super::network::SimServer>)| {
            let of =
                |key: &'static String| server.holders(key, now).into_iter().map(move |who| (i, &**key, who));
            KEYS.iter().flat_map(of).collect::<Vec<_>>()
        };
        self.internet.servers().iter().enumerate().flat_map(on).collect()
    }
}

/// Adds to the sum what a client has counted, also when its process is killed.
struct Counted<'a> {
    redlock: Redlock,
    oracle: &'a Oracle,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let stats = self.redlock.stats();
        let attempts = stats.attempts;
        self.oracle.with_outcome(|outcome| {
            outcome.attempts += attempts.won
                + attempts.contended
                + attempts.no_quorum
                + attempts.too_late
                + attempts.refused
                + attempts.cancelled;
            outcome.renewals += stats.nodes.iter().map(|node| node.renewals.granted).sum::<u64>();
        });
    }
}
