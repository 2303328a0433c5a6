//! What goes wrong in a run, and when: drawn from the seed. Each seed switches whole classes of faults on and off, because
//! faults of one kind alone find other things than all of them together. `play.rs` lets them happen.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::oracle::Exclusion;
use super::sequels;

/// One fault: it begins, lasts, and is healed.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: Duration,
    pub(super) begins: Begins,
    pub(super) lasts: Duration,
    pub(super) what: What,
}

/// When a fault begins, once its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    AtOnce,
    /// This long after this client sends something, so that the fault hits what is under way.
    AfterSending {
        client: usize,
        pause: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Bytes between a client and an address wait; in one direction or in both.
    Cut { client: usize, address: usize, directions: [bool; 2] },
    /// Every piece between a client and an address takes up to this long.
    Slow { client: usize, address: usize, longest: Duration },
    /// The same between a client and all addresses.
    /// The way back takes longer by `back`.
    SlowClient { client: usize, longest: Duration, back: Duration },
    /// What a client says on its present connections to an address is held back, and delivered when the fault is healed,
    /// even if they are closed by then. New connections work.
    Stall { client: usize, address: usize },
    /// The connections of a client to an address are reset. What it has sent arrives all the same.
    Reset { client: usize, address: usize },
    /// The server closes all its connections.
    Disconnect(usize),
    /// The server stands still.
    Pause(usize),
    /// The server is killed, and starts again when the fault is healed.
    Crash(usize, Loss),
    /// The server runs on, is then killed, and starts with what it had when the fault began.
    Restore(usize),
    /// The server has no memory left.
    Full(usize),
    /// The server may evict, and some seconds later evicts all locks.
    Evict(usize),
    /// The server has a replica.
    Replica(usize),
    /// The address leads to a replica, which is promoted when the fault is healed and lacks the last writes.
    Failover { address: usize, lag: Duration },
    /// The clients may not run this command.
    Revoke(usize, &'static str),
    /// The process of a client stands still.
    Freeze(usize),
    /// The process of a client is killed. The next one starts when the fault is healed.
    Kill(usize),
    /// The address leads to a spare server, and back when the fault is healed.
    Swap(usize),
    /// The server's clock is stepped ahead.
    StepClock(usize, Duration),
    /// Somebody deletes the keys of all locks, again and again.
    Delete,
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
    pub(super) seed: u64,
    pub(super) clients: usize,
    pub(super) addresses: usize,
    /// How many nodes are no majority, whichever list clients name.
    pub(super) minority: usize,
    /// Servers that no address leads to at first.
    pub(super) spares: usize,
    /// When the last fault is healed.
    pub(super) faults_end: Duration,
    /// How far apart the observations of a node by a client may be, and the clients' time to act on them. Evictions,
    /// backups and promotions within that time nobody can notice: see SAFETY.md.
    pub(super) observed: Duration,
}

/// The faults of a run.
pub(super) struct Faults {
    pub(super) list: Vec<Fault>,
    pub(super) exclusion: Exclusion,
}

/// Classes of faults inside the assumptions of SAFETY.md.
const CLASSES: usize = 18;
/// How often a seed has a class of faults: some seeds have few classes, others most of them.
const CLASS_SHARES: [f64; 3] = [0.15, 0.35, 0.6];
/// How often a fault hits another target as well, at about the same time.
const TWIN_SHARE: f64 = 0.25;
const TWIN_WITHIN_MS: u64 = 300;
/// How often a seed has favourite targets, and how often a fault of such a seed hits one. Many bugs need several faults
/// of a few nodes, and a client that stays as it is.
const FAVOURITES_SHARE: f64 = 0.5;
const FAVOURED_SHARE: f64 = 0.8;
/// How often a fault begins while something is under way, and how long after it was sent: bytes travel for up to 3 ms.
const AFTER_SENDING_SHARE: f64 = 0.3;
const AFTER_SENDING_MS: u64 = 9;
/// How long a fault waits at most until its client sends something.
pub(super) const SENDING_MAX: Duration = Duration::from_millis(400);
/// How long a fault lasts: most are short, and some outlast the longest quarantine of short leases.
const LASTS: Range<Duration> = Duration::from_millis(5)..Duration::from_secs(12);
/// How far a replica is behind its master.
const LAG: Range<Duration> = Duration::from_millis(10)..Duration::from_secs(4);
/// How often a seed has faults in which nobody promises exclusion; fencing tokens are in order all the same.
const OUTSIDE_SHARE: f64 = 0.06;
/// How often a seed has clocks that are stepped.
const CLOCKS_SHARE: f64 = 0.3;

/// Draws the faults of a run.
pub(super) fn draw(random: &mut StdRng, size: Size) -> Faults {
    let share = CLASS_SHARES[random.random_range(0..CLASS_SHARES.len())];
    let mut classes: Vec<usize> = (0..CLASSES).filter(|_| random.random_bool(share)).collect();
    let exclusion = if random.random_bool(OUTSIDE_SHARE) {
        classes.extend([CLASSES, CLASSES]);
        Exclusion::NotPromised
    } else {
        Exclusion::Promised
    };
    let mean = random.random_range(200..3000_u64);
    let mut at = Duration::from_millis(random.random_range(200..3000));
    let favourites = Favourites::draw(random, size);
    let mut list: Vec<Fault> = Vec::new();
    while at < size.faults_end && !classes.is_empty() {
        let class = classes[random.random_range(0..classes.len())];
        let mut add = |fault: Option<Fault>| {
            list.extend(fault.filter(|fault| list.iter().all(|earlier| !fault.overlaps(earlier))));
        };
        let first = fault(random, size, favourites, class, at);
        if random.random_bool(TWIN_SHARE) {
            let at = at + Duration::from_millis(random.random_range(0..TWIN_WITHIN_MS));
            let twin = fault(random, size, favourites, class, at);
            let is_healed_along = random.random_bool(0.5);
            let lasts = first.as_ref().filter(|_| is_healed_along).map(|first| first.lasts);
            add(twin.map(|twin| Fault { lasts: lasts.unwrap_or(twin.lasts), ..twin }));
        }
        add(first);
        at += Duration::from_millis(random.random_range(1..2 * mean));
    }
    // The numbers of generators of their own, so that the other faults of a seed stay as they were.
    sequels::add(
        &mut StdRng::seed_from_u64(size.seed.rotate_left(32)),
        size,
        &favourites.nodes(size),
        &mut list,
    );
    step_clocks(&mut StdRng::seed_from_u64(!size.seed), size, &mut list);
    Faults { list, exclusion }
}

impl Fault {
    /// Whether it is the same fault as one that is not healed by then: healing the first would end the second half way,
    /// and what clients had to observe would be gone before they have.
    pub(super) fn overlaps(&self, earlier: &Self) -> bool {
        self.what == earlier.what && self.at <= earlier.at + earlier.lasts + SENDING_MAX * 2
    }
}

/// Steps the clocks of a minority of the servers ahead, in some seeds. Not where a replica takes over: it gets the times at
/// which keys end from its master's clock, and would keep them for as long as that clock is ahead.
fn step_clocks(random: &mut StdRng, size: Size, list: &mut Vec<Fault>) {
    let has_replica = list.iter().any(|fault| matches!(fault.what, What::Failover { .. }));
    if has_replica || !random.random_bool(CLOCKS_SHARE) {
        return;
    }
    let first = random.random_range(0..size.addresses);
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(random.random_range(200..4000));
        if at >= size.faults_end {
            return;
        }
        let server = (first + random.random_range(0..size.minority)) % size.addresses;
        let by = Duration::from_millis(random.random_range(100..3000) * [1, 10][random.random_range(0..2)]);
        list.push(Fault {
            at,
            begins: Begins::AtOnce,
            lasts: Duration::ZERO,
            what: What::StepClock(server, by),
        });
    }
}

/// A duration of the range: a short one is as likely as one that is ten times as long.
pub(super) fn any_length(random: &mut StdRng, range: &Range<Duration>) -> Duration {
    let longest = range.end.as_secs_f64() / range.start.as_secs_f64();
    range.start.mul_f64(longest.powf(random.random_range(0.0..1.0)))
}

/// One client and as many neighbouring nodes as are a quorum.
#[derive(Clone, Copy)]
struct Favourites {
    /// How often a fault hits them.
    share: f64,
    client: usize,
    first: usize,
}

impl Favourites {
    fn draw(random: &mut StdRng, size: Size) -> Self {
        Self {
            share: if random.random_bool(FAVOURITES_SHARE) { FAVOURED_SHARE } else { 0.0 },
            client: random.random_range(0..size.clients),
            first: random.random_range(0..size.addresses),
        }
    }

    fn client(self, random: &mut StdRng, size: Size) -> usize {
        if random.random_bool(self.share) { self.client } else { random.random_range(0..size.clients) }
    }

    fn address(self, random: &mut StdRng, size: Size) -> usize {
        if random.random_bool(self.share) {
            self.nodes(size)[random.random_range(0..=size.addresses / 2)]
        } else {
            random.random_range(0..size.addresses)
        }
    }

    fn nodes(self, size: Size) -> Vec<usize> {
        (0..=size.addresses / 2).map(|i| (self.first + i) % size.addresses).collect()
    }

    /// At first each address leads to the server of its number.
    fn server(self, random: &mut StdRng, size: Size) -> usize {
        if random.random_bool(self.share) {
            self.address(random, size)
        } else {
            random.random_range(0..size.addresses + size.spares)
        }
    }
}

fn fault(
    random: &mut StdRng,
    size: Size,
    favourites: Favourites,
    class: usize,
    at: Duration,
) -> Option<Fault> {
    let what = what(random, size, favourites, class);
    let begins = if random.random_bool(AFTER_SENDING_SHARE) {
        let client = favourites.client(random, size);
        let pause = Duration::from_millis(random.random_range(0..AFTER_SENDING_MS));
        Begins::AfterSending { client, pause }
    } else {
        Begins::AtOnce
    };
    let shortest = if what.has_to_be_observed() { size.observed } else { Duration::ZERO };
    let lasts = any_length(random, &LASTS) + shortest;
    let left = size.faults_end.saturating_sub(at);
    (shortest < left).then(|| Fault { at, begins, lasts: lasts.min(left), what })
}

fn what(random: &mut StdRng, size: Size, favourites: Favourites, class: usize) -> What {
    let (client, address) = (favourites.client(random, size), favourites.address(random, size));
    let server = favourites.server(random, size);
    match class {
        0 => {
            let directions = [[true, true], [true, false], [false, true]][random.random_range(0..3)];
            What::Cut { client, address, directions }
        }
        1 => {
            let longest = Duration::from_millis([30, 100, 400][random.random_range(0..3)]);
            if random.random_bool(0.5) {
                What::Slow { client, address, longest }
            } else {
                let back = Duration::from_millis([0, 150][random.random_range(0..2)]);
                What::SlowClient { client, longest, back }
            }
        }
        2 => What::Pause(server),
        3 => What::Crash(server, Loss::Nothing),
        4 => What::Crash(server, Loss::LastSecond),
        5 => What::Crash(server, Loss::Everything),
        6 => What::Full(server),
        7 => What::Freeze(client),
        8 => What::Swap(address),
        9 => What::Reset { client, address },
        10 => What::Disconnect(server),
        11 => What::Restore(server),
        12 => What::Evict(server),
        13 => What::Replica(server),
        17 => What::Failover { address, lag: any_length(random, &LAG) },
        14 => What::Revoke(server, COMMANDS[random.random_range(0..COMMANDS.len())]),
        15 => What::Kill(client),
        16 => What::Stall { client, address },
        _ => What::Delete,
    }
}

/// What users may be forbidden to do. `publish` is not among them: a client that connects meanwhile goes by timers until
/// it connects again.
const COMMANDS: [&str; 8] = ["set", "zadd", "get", "pexpire", "evalsha", "info", "config", "hset"];

impl What {
    /// Whether a node may forget what clients have announced to it.
    pub(super) fn loses_data(self) -> bool {
        matches!(
            self,
            Self::Crash(_, Loss::LastSecond | Loss::Everything)
                | Self::Restore(_)
                | Self::Swap(_)
                | Self::Failover { .. }
        )
    }

    fn has_to_be_observed(self) -> bool {
        matches!(self, Self::Evict(_) | Self::Restore(_) | Self::Failover { .. })
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut off",
            Self::Slow { .. } | Self::SlowClient { .. } => "slow",
            Self::Stall { .. } => "connection stalled",
            Self::Reset { .. } => "connection reset",
            Self::Disconnect(_) => "connections closed",
            Self::Pause(_) => "node paused",
            Self::Crash(_, Loss::Nothing) => "killed",
            Self::Crash(_, Loss::LastSecond) => "killed, last second lost",
            Self::Crash(_, Loss::Everything) => "killed, wiped",
            Self::Restore(_) => "backup restored",
            Self::Full(_) => "memory full",
            Self::Evict(_) => "evicts",
            Self::Replica(_) => "replica attached",
            Self::Failover { .. } => "replica promoted",
            Self::Revoke(..) => "permission revoked",
            Self::Freeze(_) => "client paused",
            Self::Kill(_) => "client killed",
            Self::Swap(_) => "another server",
            Self::StepClock(..) => "clock stepped",
            Self::Delete => "keys deleted",
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
            Self::Slow { client, address, longest } => {
                write!(f, "client {client} and node {address} are {longest:?} apart")
            }
            Self::SlowClient { client, longest, back } => {
                write!(
                    f,
                    "client {client} is {longest:?} apart from all nodes, {back:?} more on the way back"
                )
            }
            Self::Stall { client, address } => {
                write!(f, "the connections of client {client} to node {address} are held back")
            }
            Self::Reset { client, address } => {
                write!(f, "the connections of client {client} to node {address} are reset")
            }
            Self::Disconnect(server) => write!(f, "server {server} closes its connections"),
            Self::Pause(server) => write!(f, "server {server} stands still"),
            Self::Crash(server, Loss::Nothing) => write!(f, "server {server} is killed"),
            Self::Crash(server, Loss::LastSecond) => {
                write!(f, "server {server} is killed and loses a second")
            }
            Self::Crash(server, Loss::Everything) => {
                write!(f, "server {server} is killed and loses its data")
            }
            Self::Restore(server) => write!(f, "a backup is made of server {server}, and restored later"),
            Self::Full(server) => write!(f, "server {server} is out of memory"),
            Self::Evict(server) => write!(f, "server {server} may evict"),
            Self::Replica(server) => write!(f, "server {server} has a replica"),
            Self::Failover { address, lag } => {
                write!(f, "node {address} has a replica, which is promoted later and lacks {lag:?}")
            }
            Self::Revoke(server, command) => write!(f, "server {server} does not permit {command}"),
            Self::Freeze(client) => write!(f, "client {client} stands still"),
            Self::Kill(client) => write!(f, "client {client} is killed"),
            Self::Swap(address) => write!(f, "the address of node {address} leads to another server"),
            Self::StepClock(server, by) => write!(f, "the clock of server {server} is stepped by {by:?}"),
            Self::Delete => write!(f, "the keys of all locks are deleted again and again"),
        }
    }
}
