//! What the processes do: take locks, hold, extend, release or drop them, or give up half way.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::RESOURCES;
use super::clients::World;
use super::oracle::{Holding, Process};
use crate::Redlock;
use crate::error::LockError;
use crate::lock::{Guard, Mutex};
use crate::protocol::Retry;

/// How many tasks of a process take locks.
const WORKERS: usize = 2;
/// How many locks each worker takes in the calm phase.
const CALM_LOCKS: usize = 6;

/// Works until no faults happen any more.
pub(super) async fn work(world: &World, process: &Process, redlock: &Redlock, random: &mut StdRng) {
    let workers = random.random_range(1..=WORKERS);
    let randoms: Vec<_> = (0..workers).map(|_| StdRng::seed_from_u64(random.random())).collect();
    let time = world.internet.time();
    let busy = random.random_range(20..600);
    join_all(randoms.into_iter().map(|mut random| async move {
        while time.now() < world.faults_end {
            section(world, process, redlock, &mut random).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..busy))).await;
        }
    }))
    .await;
}

/// Takes every lock once, after all was healed.
pub(super) async fn heal(world: &World, process: &Process, redlock: &Redlock) {
    for name in RESOURCES {
        let mutex = redlock.mutex(name).expect("a good name").max_wait(world.scale.patience);
        let wait = world.oracle.start_wait(name);
        match mutex.lock().await {
            Ok(guard) => world.oracle.handle_acquired(process, &wait, guard).release().await,
            Err(error) => {
                world
                    .oracle
                    .violation(&format!("{} got no {name} after all was healed: {error}", process.owner()));
            }
        }
    }
}

/// Contends for one lock while nothing is in the way. Many give up half way.
pub(super) async fn calm(world: &World, process: &Process, redlock: &Redlock, random: &mut StdRng) {
    let randoms: Vec<_> = (0..WORKERS).map(|_| StdRng::seed_from_u64(random.random())).collect();
    join_all(randoms.into_iter().map(|mut random| async move {
        let millis = |random: &mut StdRng, limit: u64| Duration::from_millis(random.random_range(0..limit));
        for _ in 0..CALM_LOCKS {
            let mutex = redlock.mutex(RESOURCES[0]).expect("a good name").max_wait(Duration::from_secs(10));
            let mutex = mutex.ttl(Duration::from_millis(world.scale.shortest_max_ttl()));
            let limit =
                if random.random_bool(0.4) { millis(&mut random, 60) } else { Duration::from_secs(20) };
            let wait = world.oracle.start_wait(RESOURCES[0]);
            if let Ok(locked) = tokio::time::timeout(limit, mutex.lock()).await {
                match locked {
                    Ok(guard) => {
                        let holding = world.oracle.handle_acquired(process, &wait, guard);
                        drop(wait);
                        tokio::time::sleep(millis(&mut random, 20)).await;
                        let_go(world, process, holding, &mut random).await;
                    }
                    Err(error) => world.oracle.violation(&format!("no lock while all is calm: {error}")),
                }
            }
            tokio::time::sleep(millis(&mut random, 40)).await;
        }
    }))
    .await;
}

/// One lock and what is done under it.
async fn section(world: &World, process: &Process, redlock: &Redlock, random: &mut StdRng) {
    let oracle = &world.oracle;
    let name = RESOURCES[random.random_range(0..RESOURCES.len())];
    let mutex = mutex(world, redlock, name, random);
    let patience = Duration::from_millis(random.random_range(0..5000));
    let wait = oracle.start_wait(name);
    let locked = if random.random_bool(0.2) {
        match tokio::time::timeout(patience, mutex.lock()).await {
            Ok(locked) => locked,
            Err(_) => return oracle.note(&format!("{} gives up", process.owner())),
        }
    } else {
        lock(&mutex, random).await
    };
    let mut holding = match locked {
        Ok(guard) => oracle.handle_acquired(process, &wait, guard),
        Err(error) => return oracle.handle_failed(process, &error.to_string()),
    };
    drop(wait);
    hold(world, process, &mut holding, random).await;
    let_go(world, process, holding, random).await;
}

fn mutex(world: &World, redlock: &Redlock, name: &str, random: &mut StdRng) -> Mutex {
    let mutex = redlock.mutex(name).expect("a good name");
    let mutex = mutex.max_wait(Duration::from_millis(random.random_range(0..4000)));
    let mutex = match random.random_range(0..8) {
        0 => mutex.retry(Retry::exponential(Duration::from_millis(10), Duration::from_millis(500))),
        1 => mutex.retry(Retry::fixed(5, Duration::from_millis(100))),
        _ => mutex,
    };
    if random.random_bool(0.3) {
        mutex.ttl(Duration::from_millis(world.scale.shortest_ttl))
    } else if random.random_bool(0.1) {
        mutex.max_hold(Duration::from_millis(random.random_range(10..world.scale.longest_hold)))
    } else {
        mutex
    }
}

async fn lock(mutex: &Mutex, random: &mut StdRng) -> Result<Guard, LockError> {
    if random.random_bool(0.1) { mutex.try_lock().await } else { mutex.lock().await }
}

/// Holds the lock for a while, and extends it now and then.
async fn hold(world: &World, process: &Process, holding: &mut Holding, random: &mut StdRng) {
    let extends = random.random_bool(0.5);
    let mut parts = if extends { random.random_range(1..8_u32) } else { 1 };
    let long = if random.random_bool(0.15) { 4 } else { 1 };
    let whole = Duration::from_millis(random.random_range(0..world.scale.longest_hold * long));
    let part = whole / parts;
    loop {
        if holding.is_lost_within(part).await {
            return world.oracle.note(&format!("{} has lost its lock", process.owner()));
        }
        parts -= 1;
        if parts == 0 {
            return;
        }
        let ttl = Duration::from_millis(random.random_range(10..=world.scale.shortest_ttl));
        let extended = holding.guard().extend(ttl).await;
        if extended.is_ok() && !holding.guard().is_valid() && !process.ambient.is_frozen() {
            world.oracle.violation(&format!("{} has extended a lease that is over", process.owner()));
        }
        world.oracle.note(&format!(
            "{} extends by {ttl:?}: {}",
            process.owner(),
            match extended {
                Ok(()) => "done".to_owned(),
                Err(error) => error.to_string(),
            }
        ));
    }
}

async fn let_go(world: &World, process: &Process, holding: Holding, random: &mut StdRng) {
    if random.random_bool(0.8) {
        holding.release().await;
    } else {
        world.oracle.note(&format!("{} drops its lock", process.owner()));
        drop(holding);
    }
}
