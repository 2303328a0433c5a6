//! Deterministic simulation: the library as it is shipped, redis-rs included, against simulated servers and a simulated
//! network, on tokio's paused time in one thread. Every random number comes from the seed, so that a seed is the same run
//! to the byte. That holds as long as nothing on the way draws numbers of its own: `select!` without `biased`, tokio's
//! `watch` (see [`Published`](crate::types::Published)), or the order of a hash map.
//!
//! A run has three phases. First come faults. Then all is healed, and every client must get each lock. Then, while nothing
//! is in the way, the clients contend for one lock, and a free lock must be taken at once. Times are true times; the
//! clocks of clients and servers run at rates of their own, within the drift that the library allows.

mod clients;
mod clock;
mod faults;
mod locks;
mod members;
mod network;
mod oracle;
mod outcome;
mod play;
mod revivals;
mod sequels;
mod shrink;
mod sockets;
mod storms;
mod sum;
mod tests;
mod waits;
mod wiretap;
mod work;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redlock_sim::{Persistence, Settings, Version};

use crate::planted;
use crate::types::Published;
use clients::{Client, Gathering, Longer, Scale, World};
use clock::{ClientAmbient, Rate, TrueTime};
use faults::{Faults, Size};
use members::{Members, Operation, Operator};
use network::{Internet, WireState};
use oracle::Oracle;
use outcome::Outcome;
use play::Stage;
use revivals::Revivals;
use storms::Storms;
use work::Kinds;

/// When the last fault is healed: most runs are short, because many short runs find more than few long ones.
const FAULTS_END: Range<Duration> = Duration::from_secs(1)..Duration::from_secs(15);
/// How often leases are long.
const LONG_SHARE: f64 = 0.12;
/// The same where leases are long.
const LONG_FAULTS_END: Range<Duration> = Duration::from_secs(10)..Duration::from_secs(50);
/// After a shutdown no lock is left for longer.
const LAST_RELEASES: Duration = Duration::from_secs(1);
/// After a shutdown nothing is left for longer: a wait queue lives for ten seconds.
const LEFTOVERS: Duration = Duration::from_secs(15);
/// How often the nodes of a seed are declared new, so that they have a vote from the beginning.
const DECLARED_SHARE: f64 = 0.75;
/// How often the oracle looks at all leases.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The keys on the servers are looked at each such number of times.
const LOOKS_AT_KEYS: u64 = 10;
/// The locks.
const RESOURCES: [&str; 2] = ["r0", "r1"];
/// A wire that nothing is wrong with.
const CALM_WIRE: WireState = WireState {
    shortest: Duration::ZERO,
    longest: Duration::from_millis(3),
    back: Duration::ZERO,
    is_open: [true; 2],
};

/// What is run.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    bug: Option<planted::Fault>,
    kept: Kept,
}

/// Which of the faults of a seed happen.
#[derive(Clone, Debug)]
enum Kept {
    All,
    Only(Vec<usize>),
}

/// Runs one seed.
fn run(plan: &Plan) -> Outcome {
    planted::plant(plan.bug);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(simulate(plan))
}

async fn simulate(plan: &Plan) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let time = TrueTime::start();
    let scale = scale(&mut random);
    let clients = random.random_range(2..=4);
    // The numbers of a generator of its own, so that seeds without a change stay as they were.
    let mut changes = StdRng::seed_from_u64(plan.seed ^ 1 << 63);
    let members = Members::draw(&mut changes, if random.random_bool(0.25) { 5 } else { 3 });
    let size = Size {
        seed: plan.seed,
        clients,
        addresses: members.addresses(),
        minority: members.minority(),
        spares: random.random_range(1..=3),
        faults_end: faults::any_length(&mut random, &scale.faults_end)
            + members.prolongs(&mut changes, &scale),
        observed: scale.observed,
    };
    let spread = if random.random_bool(0.5) { Spread::Edges } else { Spread::Between };
    let versions = random.random_bool(0.5);
    let servers = (0..size.addresses + size.spares)
        .map(|_| (settings(&mut random, versions), rate(&mut random, spread)))
        .collect();
    // One more is for the operator.
    let wires = vec![vec![CALM_WIRE; size.addresses]; size.clients + 1];
    let internet = Internet::new(time, servers, size.addresses, wires, random.random());
    let Faults { mut list, exclusion } = faults::draw(&mut random, size);
    list.retain(|fault| members.operation == Operation::Careful || !fault.what.loses_data());
    let oracle = Oracle::new(time, exclusion);
    let clients: Vec<_> = (0..size.clients)
        .map(|i| Client::new(i, ClientAmbient::new(time, rate(&mut random, spread), random.random())))
        .collect();
    let world = Arc::new(World {
        internet: Arc::clone(&internet),
        oracle: Arc::clone(&oracle),
        storms: Arc::new(Storms::default()),
        scale,
        faults_end: size.faults_end,
        kinds: Kinds::draw(&mut random),
        all: Gathering::new(size.clients),
        members,
        unchanged_since: Published::new(None),
    });
    let stage =
        Stage { internet, clients: clients.clone(), oracle: Arc::clone(&oracle), observed: size.observed };
    oracle.with_outcome(|outcome| {
        outcome.planned = list.iter().map(|fault| format!("{:?} {}", fault.at, fault.what)).collect();
    });
    for (i, fault) in list.into_iter().enumerate() {
        let is_kept = match &plan.kept {
            Kept::All => true,
            Kept::Only(kept) => kept.contains(&i),
        };
        if is_kept {
            tokio::spawn(stage.clone().play(fault));
        }
    }
    let looking = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let mut revivals = Revivals::default();
            for look in 1_u64.. {
                tokio::time::sleep(LOOK_EVERY).await;
                world.oracle.look();
                if look % LOOKS_AT_KEYS == 0 {
                    world.internet.take_late().into_iter().for_each(|owner| world.oracle.excuse(owner));
                    // A replica copies what its master had.
                    let is_master =
                        |i: usize| !world.internet.servers()[i].with(|server| server.is_replica());
                    let keys = world.locks().into_iter().filter(|(server, ..)| is_master(*server)).collect();
                    let back = revivals.handle_look(keys, |owner| world.oracle.may_be_there(owner));
                    back.iter().for_each(|text| world.oracle.violation(text));
                }
            }
        }
    });
    if random.random_bool(DECLARED_SHARE) {
        clients::declare(&world, size.clients, &mut random).await;
    }
    let operator = Operator::new(Arc::clone(&world), clients.clone(), changes);
    let mut lives = vec![tokio::spawn(operator.work())];
    let processes = clients.into_iter().map(|client| {
        let random = StdRng::seed_from_u64(random.random());
        tokio::spawn(client.live(Arc::clone(&world), random))
    });
    lives.extend(processes);
    for life in lives {
        if let Err(error) = life.await {
            oracle.violation(&format!("a client or the operator panicked: {error}"));
        }
    }
    looking.abort();
    oracle.note(&format!("{} pieces arrived", world.internet.arrived()));
    tell_leftovers(&world).await;
    let (most, storms) = world.storms.take();
    storms.iter().for_each(|storm| oracle.violation(storm));
    Outcome { most, lasted: time.now(), ..oracle.outcome() }
}

/// What must be gone after all clients are shut down: locks at once, then wait queues and tasks.
async fn tell_leftovers(world: &World) {
    tokio::time::sleep(LAST_RELEASES).await;
    for (server, key, owner) in world.locks() {
        if !world.oracle.may_be_there(&owner) {
            world.oracle.violation(&format!("server {server} still has {key} of {owner}"));
        }
    }
    tokio::time::sleep(LEFTOVERS.max(world.scale.longest())).await;
    let now = world.internet.time().now();
    for (i, server) in world.internet.servers().iter().enumerate() {
        let left: Vec<_> = server.keys(now).into_iter().filter(|key| !is_kept(key)).collect();
        if !left.is_empty() {
            world.oracle.violation(&format!("server {i} still has {left:?}"));
        }
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        world.oracle.violation(&format!("{tasks} tasks are left"));
    }
}

/// What nodes keep for good: their records, and the fencing tokens.
fn is_kept(key: &str) -> bool {
    key == "redlock-quorum:node" || key == "redlock-quorum:fences"
}

fn scale(random: &mut StdRng) -> Scale {
    let differ = f64::from(u8::from(random.random_bool(0.5))) * 0.5;
    let longer = if random.random_bool(0.5) { Longer::Later } else { Longer::FromTheStart };
    let to_the_end = [0.0, 0.05, 0.4][random.random_range(0..3)];
    if random.random_bool(LONG_SHARE) {
        Scale {
            shortest_ttl: 2_000,
            max_ttls: [20_000, 30_000, 10_000],
            differ,
            longer,
            longest_hold: 10_000,
            to_the_end,
            patience: Duration::from_secs(150),
            faults_end: LONG_FAULTS_END,
            observed: Duration::from_secs(7),
        }
    } else {
        Scale {
            shortest_ttl: 300,
            max_ttls: [2_000, 8_000, 1_000],
            differ,
            longer,
            longest_hold: 3_000,
            to_the_end,
            patience: Duration::from_secs(60),
            faults_end: FAULTS_END,
            observed: Duration::from_millis(2_500),
        }
    }
}

fn settings(random: &mut StdRng, versions: bool) -> Settings {
    let persistence = match random.random_range(0..4) {
        0 => Persistence::None,
        1 => Persistence::EverySec,
        _ => Persistence::Always,
    };
    let all = [Version::Redis6, Version::Redis7, Version::Redis8, Version::Redis86, Version::Valkey8];
    let version = if versions { all[random.random_range(0..all.len())] } else { Version::Redis7 };
    Settings { persistence, version, ..Settings::default() }
}

/// How the rates of clocks are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Between,
    /// As far apart as they may be, because a deadline that is a little too late shows only there.
    Edges,
}

/// Two clocks differ by less than the drift factor of 0.01.
fn rate(random: &mut StdRng, spread: Spread) -> Rate {
    let rate = match spread {
        Spread::Between => random.random_range(-0.004..0.004),
        Spread::Edges if random.random_bool(0.5) => 0.00495,
        Spread::Edges => -0.00495,
    };
    Rate { rate: 1.0 + rate, wall_offset_micros: random.random_range(-1_000_000..1_000_000) }
}
