//! Deterministic simulation: the library as it is shipped, redis-rs included, against simulated servers and a simulated
//! network, on tokio's paused time in one thread. Every random number comes from the seed, so that a seed is the same run
//! to the byte. That holds as long as nothing on the way draws numbers of its own: `select!` without `biased`, tokio's
//! `watch` (see [`Published`](crate::types::Published)), or the order of a hash map.
//!
//! First come faults, then a phase in which all is healed and every client must get each lock. Times are true times; the
//! clocks of clients and servers run at rates of their own, within the drift that the library allows.

mod clients;
mod clock;
mod faults;
mod network;
mod oracle;
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redlock_sim::{Persistence, Settings};

use crate::planted;
use clock::{ClientAmbient, Rate, TrueTime};
use faults::Size;
use network::{ClientNetwork, Internet, WireState};
use oracle::{Oracle, Outcome};

/// When the last fault is healed: most runs are short, because many short runs find more than few long ones.
const FAULTS_END: std::ops::Range<u64> = 1_000..15_000;
/// The longest lease of any client.
const MAX_TTL: Duration = Duration::from_secs(2);
/// By when every client has had each lock after that. A quarantine lasts for the longest lease and 2 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a shutdown the nodes keep nothing of it for longer: the longest lease, or a wait queue's ten seconds.
const LEFTOVERS: Duration = Duration::from_secs(15);

/// A deliberate bug that the simulation has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Nodes that may have forgotten locks vote at once.
    NoQuarantine,
    Planted(planted::Fault),
}

/// Runs one seed.
fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    planted::plant(match bug {
        Some(Bug::Planted(fault)) => Some(fault),
        Some(Bug::NoQuarantine) | None => None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(simulate(seed, bug))
}

async fn simulate(seed: u64, bug: Option<Bug>) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let time = TrueTime::start();
    let oracle = Oracle::new(time);
    let size = Size {
        clients: random.random_range(2..=4),
        addresses: if random.random_bool(0.25) { 5 } else { 3 },
        spares: 1,
        faults_end: Duration::from_millis(random.random_range(FAULTS_END)),
    };
    let servers =
        (0..size.addresses + size.spares).map(|_| (settings(&mut random), rate(&mut random))).collect();
    let wire = WireState { shortest: Duration::ZERO, longest: Duration::from_millis(3), is_open: [true; 2] };
    let wires = vec![vec![wire; size.addresses]; size.clients];
    let internet = Internet::new(time, servers, size.addresses, wires, random.random());
    let ambients: Vec<_> =
        (0..size.clients).map(|_| ClientAmbient::new(time, rate(&mut random), random.random())).collect();
    let faults = faults::draw(&mut random, size);
    for fault in faults {
        tokio::spawn(faults::play(fault, Arc::clone(&internet), ambients.clone(), Arc::clone(&oracle)));
    }
    let clients: Vec<_> = ambients
        .iter()
        .enumerate()
        .map(|(client, ambient)| {
            let network = ClientNetwork { internet: Arc::clone(&internet), client };
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(clients::work(
                client,
                Arc::clone(ambient),
                network,
                (size, bug),
                random,
                Arc::clone(&oracle),
            ))
        })
        .collect();
    for client in clients {
        if let Err(error) = client.await {
            oracle.violation(&format!("a client panicked: {error}"));
        }
    }
    tokio::time::sleep(LEFTOVERS).await;
    for (i, server) in internet.servers().iter().enumerate() {
        let left: Vec<_> = server.keys(time.now()).into_iter().filter(|key| !is_kept(key)).collect();
        if !left.is_empty() {
            oracle.violation(&format!("server {i} still has {left:?}"));
        }
    }
    oracle.note(&format!("{} pieces arrived", internet.arrived()));
    oracle.outcome()
}

/// What nodes keep for good: their records, and the fencing tokens.
fn is_kept(key: &str) -> bool {
    key == "redlock-quorum:node" || key == "redlock-quorum:fences"
}

fn settings(random: &mut StdRng) -> Settings {
    let persistence = match random.random_range(0..4) {
        0 => Persistence::None,
        1 => Persistence::EverySec,
        _ => Persistence::Always,
    };
    Settings { persistence, ..Settings::default() }
}

/// Two clocks differ by less than the drift factor of 0.01.
fn rate(random: &mut StdRng) -> Rate {
    Rate {
        rate: 1.0 + random.random_range(-0.004..0.004),
        wall_offset_micros: random.random_range(-1_000_000..1_000_000),
    }
}
