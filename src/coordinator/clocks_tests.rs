//! A client whose own clock stands still, as on a machine that its host has frozen.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Machine, Sleeper};
use crate::testing::LocalCluster;
use crate::types::{Ambient, Moment, Timer};
use crate::{Guard, Redlock, RedlockBuilder};

const TTL: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_secs(15);

/// The machine's clock, which can be stopped and goes on from there.
#[derive(Clone, Default)]
struct Stoppable(Arc<Mutex<Stops>>);

#[derive(Clone, Copy, Default)]
struct Stops {
    since: Option<Moment>,
    in_all: Duration,
}

impl Stoppable {
    fn stop(&self) {
        self.0.lock().unwrap().since = Some(Machine.now());
    }

    fn go_on(&self) {
        let mut stops = self.0.lock().unwrap();
        let since = stops.since.take().unwrap();
        stops.in_all += since.until(Machine.now());
    }
}

impl Ambient for Stoppable {
    fn now(&self) -> Moment {
        let Stops { since, in_all } = *self.0.lock().unwrap();
        since.unwrap_or_else(|| Machine.now()).ago(in_all)
    }

    fn wall_micros(&self) -> u64 {
        Machine.wall_micros()
    }

    fn random(&self) -> u128 {
        Machine.random()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(Sleeper::new(Arc::new(self.clone())))
    }
}

fn builder(cluster: &LocalCluster) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .ttl(TTL)
        .max_ttl(TTL)
        .node_timeout(TTL * 3 / 4)
        .connect_timeout(LIMIT)
        .keep_alive(false)
}

/// A client acquires a lock, and the machine is frozen until the lock's keys have expired. Nothing reaches the client
/// meanwhile, because the nodes stand still, too.
async fn frozen(cluster: &LocalCluster, builder: RedlockBuilder) -> Guard {
    let clock = Stoppable::default();
    let redlock = builder.connect_with(Arc::new(clock.clone())).await.unwrap();
    let guard = redlock.mutex("job").unwrap().lock().await.unwrap();
    (0..3).for_each(|node| cluster.pause(node).unwrap());
    clock.stop();
    tokio::time::sleep(TTL).await;
    clock.go_on();
    (0..3).for_each(|node| cluster.resume(node).unwrap());
    guard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_clock_stood_still_learns_from_the_nodes_that_its_lock_is_lost() {
    let cluster = LocalCluster::start(3).unwrap();
    let guard = frozen(&cluster, builder(&cluster)).await;
    let before = Machine.now();
    tokio::time::timeout(LIMIT, guard.lost()).await.expect("it is told of the loss");
    assert!(before.until(Machine.now()) < TTL / 2, "lost by its own clock only");
    assert!(!guard.is_valid());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_clock_guard_it_believes_its_clock_while_another_has_the_lock() {
    let cluster = LocalCluster::start(3).unwrap();
    let guard = frozen(&cluster, builder(&cluster).dangerous_no_clock_guard()).await;
    let other = builder(&cluster).connect().await.unwrap();
    let second = other.mutex("job").unwrap().lock().await;
    assert!(second.is_ok() && guard.is_valid(), "two holders");
}
