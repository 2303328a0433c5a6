//! What goes wrong in a run, and when: drawn from the seed. Each seed switches whole classes of faults on and off, because
//! faults of one kind alone find other things than all of them together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use redlock_sim::Data;

use super::clock::ClientAmbient;
use super::network::{Internet, WireState};
use super::oracle::Oracle;

/// One fault: it begins, lasts, and is healed.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Bytes between a client and an address wait; in one direction or in both.
    Cut {
        client: usize,
        address: usize,
        directions: [bool; 2],
    },
    Slow {
        client: usize,
        address: usize,
    },
    /// The server stands still.
    Pause(usize),
    /// The server is killed, and starts again when the fault is healed.
    Crash(usize, Loss),
    /// The server has no memory left.
    Full(usize),
    /// The process of a client stands still.
    Freeze(usize),
    /// The address leads to a spare server, and back when the fault is healed.
    Swap {
        address: usize,
        spare: usize,
    },
}

/// What a crash loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    LastSecond,
    Everything,
}

/// Of which size the world is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) clients: usize,
    pub(super) addresses: usize,
    /// Servers that no address leads to at first.
    pub(super) spares: usize,
    /// When the last fault is healed.
    pub(super) faults_end: Duration,
}

const CLASSES: usize = 7;

/// Draws the faults of a run.
pub(super) fn draw(random: &mut StdRng, size: Size) -> Vec<Fault> {
    let classes: Vec<usize> = (0..CLASSES).filter(|_| random.random_bool(0.5)).collect();
    if classes.is_empty() {
        return Vec::new();
    }
    let mean = random.random_range(200..3000_u64);
    let mut at = Duration::from_millis(random.random_range(0..3000));
    let mut faults = Vec::new();
    while at < size.faults_end {
        let class = classes[random.random_range(0..classes.len())];
        let lasts = Duration::from_millis(random.random_range(1..5000)).min(size.faults_end - at);
        faults.push(Fault { at, lasts, what: what(random, size, class) });
        at += Duration::from_millis(random.random_range(1..2 * mean));
    }
    faults
}

fn what(random: &mut StdRng, size: Size, class: usize) -> What {
    let Size { clients, addresses, spares, faults_end: _ } = size;
    let (client, address) = (random.random_range(0..clients), random.random_range(0..addresses));
    match class {
        0 => {
            let directions = [[true, true], [true, false], [false, true]][random.random_range(0..3)];
            What::Cut { client, address, directions }
        }
        1 => What::Slow { client, address },
        2 => What::Pause(address),
        3 => {
            let loss = [Loss::Nothing, Loss::LastSecond, Loss::Everything][random.random_range(0..3)];
            What::Crash(random.random_range(0..addresses + spares), loss)
        }
        4 => What::Full(address),
        5 => What::Freeze(client),
        _ => What::Swap { address, spare: addresses + random.random_range(0..spares.max(1)) % spares.max(1) },
    }
}

impl What {
    fn kind(self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut off",
            Self::Slow { .. } => "slow",
            Self::Pause(_) => "node paused",
            Self::Crash(_, Loss::Nothing) => "killed",
            Self::Crash(_, Loss::LastSecond) => "killed, last second lost",
            Self::Crash(_, Loss::Everything) => "killed, wiped",
            Self::Full(_) => "memory full",
            Self::Freeze(_) => "client paused",
            Self::Swap { .. } => "another server",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { client, address, directions: [up, down] } => {
                let way = match (up, down) {
                    (true, true) => "both ways",
                    (true, false) => "on the way there",
                    (false, _) => "on the way back",
                };
                write!(f, "client {client} and node {address} are cut off, {way}")
            }
            Self::Slow { client, address } => write!(f, "client {client} and node {address} are slow"),
            Self::Pause(server) => write!(f, "node {server} stands still"),
            Self::Crash(server, Loss::Nothing) => write!(f, "server {server} is killed"),
            Self::Crash(server, Loss::LastSecond) => {
                write!(f, "server {server} is killed and loses a second")
            }
            Self::Crash(server, Loss::Everything) => {
                write!(f, "server {server} is killed and loses its data")
            }
            Self::Full(server) => write!(f, "node {server} is out of memory"),
            Self::Freeze(client) => write!(f, "client {client} stands still"),
            Self::Swap { address, spare } => {
                write!(f, "the address of node {address} leads to server {spare}")
            }
        }
    }
}

/// Lets one fault happen.
pub(super) async fn play(
    fault: Fault,
    internet: Arc<Internet>,
    clients: Vec<Arc<ClientAmbient>>,
    oracle: Arc<Oracle>,
) {
    let time = internet.time();
    tokio::time::sleep_until(time.at(fault.at)).await;
    oracle.handle_fault(fault.what.kind(), &fault.what.to_string());
    let set = |client: usize, address: usize, change: &dyn Fn(&mut WireState)| {
        internet.wire(client, address).change(|state| change(state));
    };
    let each = |client: usize, is_open: bool| {
        for address in 0..internet.addresses() {
            set(client, address, &|state| state.is_open = [is_open; 2]);
        }
    };
    match fault.what {
        What::Cut { client, address, directions: [up, down] } => {
            set(client, address, &|state| state.is_open = [!up, !down]);
        }
        What::Slow { client, address } => set(client, address, &|state| {
            (state.shortest, state.longest) = (Duration::from_millis(1), Duration::from_millis(400));
        }),
        What::Pause(address) => internet.servers()[address].pause(true),
        What::Crash(server, _) => internet.servers()[server].crash(time.now()),
        What::Full(address) => internet.servers()[address].with(|server| server.set_full(true)),
        What::Freeze(client) => {
            clients[client].freeze();
            each(client, false);
        }
        What::Swap { address, spare } => internet.lead(address, spare),
    }
    tokio::time::sleep(fault.lasts).await;
    oracle.note(&format!("healed: {}", fault.what));
    match fault.what {
        What::Cut { client, address, .. } => set(client, address, &|state| state.is_open = [true; 2]),
        What::Slow { client, address } => set(client, address, &|state| {
            (state.shortest, state.longest) = (Duration::ZERO, Duration::from_millis(3));
        }),
        What::Pause(address) => internet.servers()[address].pause(false),
        What::Crash(server, loss) => internet.servers()[server].restart(
            time.now(),
            match loss {
                Loss::Nothing => Data::Kept,
                Loss::LastSecond => internet.servers()[server].lost_second(),
                Loss::Everything => Data::Wiped,
            },
        ),
        What::Full(address) => internet.servers()[address].with(|server| server.set_full(false)),
        What::Freeze(client) => {
            clients[client].thaw();
            each(client, true);
        }
        What::Swap { address, .. } => internet.lead(address, address),
    }
}
