//! What the processes do: take locks, hold, extend, release or drop them, or give up half way.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::RESOURCES;
use super::clients::World;
use super::locks::{Kind, Lock, Terms};
use super::members::Naming;
use super::oracle::{Holding, Process};
use crate::Redlock;
use crate::protocol::Retry;

/// How many tasks of a process take locks.
const WORKERS: usize = 2;
/// How many locks each worker takes in the calm phase.
const CALM_LOCKS: usize = 6;

/// Which kinds of locks a run has. Locks of different kinds share the names of their resources.
pub(super) struct Kinds {
    work: Vec<Kind>,
    /// In the calm phase, for one and the same lock.
    calm: Vec<Kind>,
}

/// The same as [`Scale::to_the_end`](super::clients::Scale) for a process that has started again with longer leases, of which
/// the others have to learn.
const NEW_TO_THE_END: f64 = 0.6;
/// How often a run has a kind of locks.
const KIND_SHARE: f64 = 0.5;

impl Kinds {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let mut work: Vec<_> = Kind::ALL.into_iter().filter(|_| random.random_bool(KIND_SHARE)).collect();
        if work.is_empty() {
            work.push(Kind::Mutex);
        }
        // Who waits for all resources waits for another lock than who waits for one of them.
        let (several, one): (Vec<_>, Vec<_>) = work.iter().partition(|kind| **kind == Kind::Multi);
        let calm =
            if one.is_empty() || !several.is_empty() && random.random_bool(0.5) { several } else { one };
        Self { work, calm }
    }
}

/// A process at work.
pub(super) struct Session<'a> {
    pub(super) world: &'a World,
    pub(super) process: &'a Process,
    pub(super) redlock: &'a Redlock,
    pub(super) naming: Naming,
    /// In milliseconds, as the next.
    pub(super) max_ttl: u64,
    pub(super) ttl: u64,
    pub(super) keep_alive: bool,
}

/// Works until no faults happen any more, and the process need not be restarted.
pub(super) async fn work(session: &Session<'_>, random: &mut StdRng) {
    let workers = random.random_range(1..=WORKERS);
    let randoms: Vec<_> = (0..workers).map(|_| StdRng::seed_from_u64(random.random())).collect();
    let World { internet, faults_end, members, .. } = session.world;
    let goes_on = || internet.time().now() < *faults_end || session.naming != members.last();
    let busy = random.random_range(20..600);
    join_all(randoms.into_iter().map(|mut random| async move {
        while goes_on() {
            section(session, &mut random).await;
            tokio::time::sleep(millis(&mut random, busy)).await;
        }
    }))
    .await;
}

/// Takes every lock once, after all was healed.
pub(super) async fn heal(session: &Session<'_>, random: &mut StdRng) {
    let Session { world, process, redlock, .. } = session;
    let oracle = &world.oracle;
    for name in RESOURCES {
        let kind = one_of(&world.kinds.work, random);
        let terms = Terms { max_wait: world.scale.patience, ..session.terms(session.ttl) };
        let wait = oracle.start_wait(kind, name);
        match Lock::new(redlock, kind, name, terms).lock().await {
            Ok(locked) => oracle.handle_acquired(process, kind, &wait, locked).release().await,
            Err(error) => {
                let owner = process.owner();
                oracle.violation(&format!("{owner} got no {name} ({kind:?}) after all was healed: {error}"));
            }
        }
    }
}

/// Contends for one lock while nothing is in the way. Many give up half way.
pub(super) async fn calm(session: &Session<'_>, random: &mut StdRng) {
    let randoms: Vec<_> = (0..WORKERS).map(|_| StdRng::seed_from_u64(random.random())).collect();
    join_all(randoms.into_iter().map(|mut random| async move {
        for _ in 0..CALM_LOCKS {
            calm_section(session, &mut random).await;
            tokio::time::sleep(millis(&mut random, 40)).await;
        }
    }))
    .await;
}

async fn calm_section(session: &Session<'_>, random: &mut StdRng) {
    let Session { world, process, redlock, .. } = session;
    let kind = one_of(&world.kinds.calm, random);
    let terms = session.terms(world.scale.shortest_max_ttl());
    let lock = Lock::new(redlock, kind, RESOURCES[0], Terms { max_wait: Duration::from_secs(10), ..terms });
    let limit = if random.random_bool(0.4) { millis(random, 60) } else { Duration::from_secs(20) };
    let wait = world.oracle.start_wait(kind, RESOURCES[0]);
    match tokio::time::timeout(limit, lock.lock()).await {
        Ok(Ok(locked)) => {
            let holding = world.oracle.handle_acquired(process, kind, &wait, locked);
            drop(wait);
            tokio::time::sleep(millis(random, 20)).await;
            let_go(session, holding, random).await;
        }
        Ok(Err(error)) => world.oracle.violation(&format!("no {kind:?} while all is calm: {error}")),
        Err(_) => {}
    }
}

/// One lock and what is done under it.
async fn section(session: &Session<'_>, random: &mut StdRng) {
    let Session { world, process, redlock, .. } = session;
    let oracle = &world.oracle;
    let name = RESOURCES[random.random_range(0..RESOURCES.len())];
    let kind = one_of(&world.kinds.work, random);
    let style = Style::draw(session, random);
    let lock = Lock::new(redlock, kind, name, style.terms(session, random));
    let patience = millis(random, 5000);
    let wait = oracle.start_wait(kind, name);
    let locked = if random.random_bool(0.2) {
        match tokio::time::timeout(patience, lock.lock()).await {
            Ok(locked) => locked,
            Err(_) => return oracle.note(&format!("{} gives up", process.owner())),
        }
    } else if random.random_bool(0.1) {
        lock.try_lock().await
    } else {
        lock.lock().await
    };
    let mut holding = match locked {
        Ok(locked) => oracle.handle_acquired(process, kind, &wait, locked),
        Err(error) => return oracle.handle_failed(process, kind, &error.to_string()),
    };
    drop(wait);
    hold(session, &mut holding, style, random).await;
    if kind == Kind::Writer && random.random_bool(0.3) {
        oracle.note(&format!("{} goes on reading", process.owner()));
        holding.downgrade().await;
        hold(session, &mut holding, style, random).await;
    }
    let_go(session, holding, random).await;
}

/// How a lock is held.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// Until its work is done; extended by up to this long now and then.
    AtWork { longest_extension: u64 },
    /// For as long as a lease may be, to its end, without renewals.
    ToTheEnd,
}

impl Style {
    fn draw(Session { world, process, max_ttl, .. }: &Session<'_>, random: &mut StdRng) -> Self {
        let is_new = process.number > 0 && *max_ttl > world.scale.max_ttls[0];
        if random.random_bool(if is_new { NEW_TO_THE_END } else { world.scale.to_the_end }) {
            return Self::ToTheEnd;
        }
        let longest_extension = if random.random_bool(0.5) { world.scale.shortest_ttl } else { *max_ttl };
        Self::AtWork { longest_extension }
    }

    fn terms(self, session: &Session<'_>, random: &mut StdRng) -> Terms {
        let Session { world, max_ttl, ttl, .. } = session;
        let retry = match random.random_range(0..8) {
            0 => Some(Retry::exponential(Duration::from_millis(10), Duration::from_millis(500))),
            1 => Some(Retry::fixed(5, Duration::from_millis(100))),
            _ => None,
        };
        let max_wait = millis(random, 4000);
        let is_short = random.random_bool(0.3);
        let max_hold = random.random_bool(0.1).then(|| millis(random, world.scale.longest_hold));
        let terms = session.terms(if is_short { world.scale.shortest_ttl } else { *ttl });
        let max_hold = max_hold.map(|hold| hold.max(Duration::from_millis(10)));
        match self {
            Self::AtWork { .. } => Terms { max_wait, retry, max_hold, ..terms },
            Self::ToTheEnd => Terms { max_wait, retry, keep_alive: false, ..session.terms(*max_ttl) },
        }
    }
}

impl Session<'_> {
    /// Ordinary terms with a TTL in milliseconds.
    fn terms(&self, ttl: u64) -> Terms {
        Terms {
            max_wait: Duration::ZERO,
            ttl: Duration::from_millis(ttl),
            keep_alive: self.keep_alive,
            retry: None,
            max_hold: None,
        }
    }
}

fn millis(random: &mut StdRng, limit: u64) -> Duration {
    Duration::from_millis(random.random_range(0..limit))
}

fn one_of(kinds: &[Kind], random: &mut StdRng) -> Kind {
    kinds[random.random_range(0..kinds.len())]
}

/// Holds the lock for a while, and extends it now and then.
async fn hold(session: &Session<'_>, holding: &mut Holding, style: Style, random: &mut StdRng) {
    let Session { world, process, max_ttl, .. } = session;
    let longest_extension = match style {
        Style::AtWork { longest_extension } => longest_extension,
        Style::ToTheEnd => {
            let is_lost = holding.is_lost_within(Duration::from_millis(2 * max_ttl)).await;
            return world.oracle.note(&format!("{} held its lock to the end: {is_lost}", process.owner()));
        }
    };
    let extends = random.random_bool(0.5);
    let mut parts = if extends { random.random_range(1..8_u32) } else { 1 };
    let long = if random.random_bool(0.15) { 4 } else { 1 };
    let part = millis(random, world.scale.longest_hold * long) / parts;
    loop {
        if holding.is_lost_within(part).await {
            return world.oracle.note(&format!("{} has lost its lock", process.owner()));
        }
        parts -= 1;
        if parts == 0 {
            return;
        }
        extend(session, holding, Duration::from_millis(random.random_range(10..=longest_extension))).await;
    }
}

async fn extend(Session { world, process, .. }: &Session<'_>, holding: &mut Holding, ttl: Duration) {
    let extended = holding.guard().extend(ttl).await;
    if extended.is_ok() && !holding.guard().is_valid() && !process.ambient.is_frozen() {
        world.oracle.violation(&format!("{} has extended a lease that is over", process.owner()));
    }
    let result = extended.map_or_else(|error| error.to_string(), |()| "done".to_owned());
    world.oracle.note(&format!("{} extends by {ttl:?}: {result}", process.owner()));
}

async fn let_go(Session { world, process, .. }: &Session<'_>, holding: Holding, random: &mut StdRng) {
    if random.random_bool(0.8) {
        holding.release().await;
    } else {
        world.oracle.note(&format!("{} drops its lock", process.owner()));
        drop(holding);
    }
}
