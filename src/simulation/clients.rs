//! What the clients of a run do: take locks, hold them, release or drop them, or give up waiting half way.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::clock::ClientAmbient;
use super::faults::Size;
use super::network::ClientNetwork;
use super::oracle::{Oracle, Sharing};
use super::{Bug, MAX_TTL, PATIENCE};
use crate::Redlock;
use crate::error::LockError;
use crate::lock::{Guard, Multi, Mutex, RwLock};
use crate::types::Ambient;

const RESOURCES: [&str; 2] = ["r0", "r1"];

pub(super) async fn work(
    client: usize,
    ambient: Arc<ClientAmbient>,
    network: ClientNetwork,
    (size, bug): (Size, Option<Bug>),
    mut random: StdRng,
    oracle: Arc<Oracle>,
) {
    // Some come later than others.
    tokio::time::sleep(Duration::from_millis(
        random.random_range(0..5000) * u64::from(random.random_bool(0.5)),
    ))
    .await;
    let time = network.internet.time();
    let builder = Redlock::builder()
        .nodes((0..size.addresses).map(|address| format!("redis://n{address}")))
        .ttl(Duration::from_millis(random.random_range(300..2000)))
        .max_ttl(MAX_TTL)
        .owner(format!("client-{client}"))
        .keep_alive(random.random_bool(0.7));
    let builder = match bug {
        Some(Bug::NoQuarantine) => builder.dangerous_no_restart_guard(),
        Some(Bug::Planted(_)) | None => builder,
    };
    let settings = builder.validate().expect("the settings are good");
    let redlock =
        settings.connect_by(Arc::<ClientAmbient>::clone(&ambient) as Arc<dyn Ambient>, &network).await;
    oracle.note(&format!("client {client} is connected"));
    while time.now() < size.faults_end {
        let max_wait = Duration::from_millis(random.random_range(0..4000));
        let name = RESOURCES[random.random_range(0..2)];
        let rwlock = || redlock.rwlock(name).expect("a good name").max_wait(max_wait);
        let lock = match random.random_range(0..6) {
            0 => Lock::Multi(redlock.multi(RESOURCES).expect("good names").max_wait(max_wait)),
            1 | 2 => Lock::Reader(rwlock()),
            3 => Lock::Writer(rwlock()),
            _ => Lock::Mutex(redlock.mutex(name).expect("a good name").max_wait(max_wait)),
        };
        section(client, &ambient, &lock, &mut random, &oracle).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
    }
    tokio::time::sleep_until(time.at(size.faults_end + Duration::from_secs(1))).await;
    for name in RESOURCES {
        let mutex = redlock.mutex(name).expect("a good name").max_wait(PATIENCE);
        match mutex.lock().await {
            Ok(guard) => {
                let guard = Arc::new(guard);
                oracle.handle_acquired(client, &ambient, &guard, Sharing::Exclusive);
                release(client, guard, &oracle).await;
            }
            Err(error) => {
                oracle.violation(&format!("client {client} got no {name} after all was healed: {error}"));
            }
        }
    }
    redlock.shutdown().await;
}

/// One resource, or both at once, or readers and writers of one.
enum Lock {
    Mutex(Mutex),
    Multi(Multi),
    Reader(RwLock),
    Writer(RwLock),
}

impl Lock {
    async fn lock(&self) -> Result<Guard, LockError> {
        match self {
            Self::Mutex(mutex) => mutex.lock().await,
            Self::Multi(multi) => multi.lock().await,
            Self::Reader(rwlock) => rwlock.read().await,
            Self::Writer(rwlock) => rwlock.write().await.map(Guard::from),
        }
    }

    fn sharing(&self) -> Sharing {
        match self {
            Self::Mutex(_) | Self::Multi(_) | Self::Writer(_) => Sharing::Exclusive,
            Self::Reader(_) => Sharing::Shared,
        }
    }
}

/// One lock and what is done under it.
async fn section(
    client: usize,
    ambient: &Arc<ClientAmbient>,
    lock: &Lock,
    random: &mut StdRng,
    oracle: &Arc<Oracle>,
) {
    let patience = Duration::from_millis(random.random_range(0..5000));
    let is_cancelled = random.random_bool(0.2);
    let locked = if is_cancelled {
        match tokio::time::timeout(patience, lock.lock()).await {
            Ok(locked) => locked,
            Err(_) => return oracle.note(&format!("client {client} gives up")),
        }
    } else {
        lock.lock().await
    };
    let guard = match locked {
        Ok(guard) => Arc::new(guard),
        Err(error) => return oracle.handle_failed(client, &error.to_string()),
    };
    oracle.handle_acquired(client, ambient, &guard, lock.sharing());
    let hold = Duration::from_millis(random.random_range(0..3000));
    let lost = tokio::time::timeout(hold, guard.lost()).await;
    if lost.is_ok() {
        oracle.handle_lost(client, guard.resource());
    }
    if random.random_bool(0.8) {
        release(client, guard, oracle).await;
    } else {
        oracle.note(&format!("client {client} drops {}", guard.resource()));
        drop(guard);
    }
}

async fn release(client: usize, guard: Arc<Guard>, oracle: &Oracle) {
    let resource = guard.resource().to_owned();
    let guard = Arc::into_inner(guard).expect("nobody else keeps it");
    let released = guard.release().await;
    oracle.note(&format!("client {client} has released {resource}: {released:?}"));
}
