//! Nodes that have forgotten locks, by whatever event. No sequence of events ends with two holders.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redlock_quorum::testing::{Data, Durability, LocalCluster};
use redlock_quorum::{Guard, NodeFailure, NodeOptions, QuarantineCause, Redlock};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::support::{NODE_TIMEOUT, SLACK, eventually, now, plant};

const KEY: &str = "job";
/// Longer than a node takes to restart, to be wiped, and to restart again.
const TTL: Duration = Duration::from_secs(8);
/// A TTL whose renewals come in time although the machine stands still for a while.
const MOVING_TTL: Duration = Duration::from_secs(6);
/// The TTL of earlier clients; shorter than a test takes to play its events.
const SHORT: Duration = Duration::from_secs(1);

async fn client<I>(urls: I, max_ttl: Duration) -> Redlock
where
    I: IntoIterator,
    I::Item: Into<NodeOptions>,
{
    let builder = Redlock::builder().nodes(urls).ttl(max_ttl).max_ttl(max_ttl);
    let builder = builder.node_timeout(max_ttl / 2).connect_timeout(NODE_TIMEOUT);
    builder.min_validity(Duration::ZERO).connect().await.unwrap()
}

/// A lock on the first two of three nodes only.
async fn hold_on_two(cluster: &LocalCluster, redlock: &Redlock) -> Guard {
    plant(cluster, 2, KEY);
    let guard = redlock.mutex(KEY).unwrap().keep_alive(false).lock().await.unwrap();
    cluster.command(2, &["DEL", KEY]).unwrap();
    guard
}

fn cause(redlock: &Redlock, node: usize) -> Option<QuarantineCause> {
    match redlock.nodes()[node].failure() {
        Some(NodeFailure::Quarantined { cause, .. }) => Some(*cause),
        _ => None,
    }
}

/// Tries to acquire the lock until the first guard's lease is over.
async fn nobody_else_gets_it(guard: &Guard, other: &Redlock) {
    let mutex = other.mutex(KEY).unwrap();
    let mut tries = 0;
    while guard.is_valid() {
        let second = mutex.try_lock().await;
        assert!(second.is_err() || !guard.is_valid(), "two holders, {:?} before the end", guard.remaining());
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tries > 5, "the lease was over after {tries} tries");
}

/// Happens in any crash loop. The record that was written after the wipe is older than the process after the next
/// restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_that_restarts_once_more_helps_nobody() {
    let cluster = LocalCluster::start(3).unwrap();
    let guard = hold_on_two(&cluster, &client(cluster.urls(), TTL).await).await;
    cluster.restart(1, Data::Lost).unwrap();
    drop(client(cluster.urls(), TTL).await);
    for _ in 0..2 {
        cluster.restart(1, Data::Kept).unwrap();
    }
    let other = client(cluster.urls(), TTL).await;
    assert!(cause(&other, 1).is_some(), "{other:?}");
    nobody_else_gets_it(&guard, &other).await;
}

/// The replication id of a master changes when its first replica attaches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_that_gets_a_replica_helps_nobody() {
    let cluster = LocalCluster::start(3).unwrap();
    let replica = LocalCluster::builder().nodes(1).undeclared().start().unwrap();
    cluster.command(1, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).unwrap();
    let guard = hold_on_two(&cluster, &client(cluster.urls(), TTL).await).await;
    cluster.restart(1, Data::Lost).unwrap();
    cluster.command(1, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).unwrap();
    drop(client(cluster.urls(), TTL).await);
    replica.command(0, &["REPLICAOF", "127.0.0.1", &cluster.port(1).to_string()]).unwrap();
    let info = || replica.command(0, &["INFO", "replication"]).unwrap();
    eventually(SLACK, "it is a replica", || info().text().unwrap().contains("link_status:up")).await;
    let other = client(cluster.urls(), TTL).await;
    assert!(cause(&other, 1).is_some(), "{other:?}");
    nobody_else_gets_it(&guard, &other).await;
}

/// An address that can lead to another server from one moment to the next, like a host name or a virtual IP.
struct Address {
    port: u16,
    target: Arc<AtomicU16>,
    listening: AbortHandle,
}

/// The fate of existing connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Existing {
    Cut,
    Kept,
}

impl Address {
    async fn of(target: u16) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(target));
        let to = Arc::clone(&target);
        let listening = tokio::spawn(async move {
            let mut pipes = tokio::task::JoinSet::new();
            let mut last = to.load(Ordering::SeqCst);
            loop {
                let Ok((mut near, _)) = listener.accept().await else { return };
                let port = to.load(Ordering::SeqCst);
                if std::mem::replace(&mut last, port) != port {
                    while pipes.try_join_next().is_some() {}
                }
                pipes.spawn(async move {
                    let Ok(mut far) = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await else {
                        return;
                    };
                    // An error only means that the connection has ended.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { port, target, listening: listening.abort_handle() }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A port on which nothing listens.
fn nowhere() -> u16 {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A server that was part of another cluster for long: declared new, and older than any lease.
async fn stranger() -> LocalCluster {
    let stranger = LocalCluster::start(1).unwrap();
    drop(client(stranger.urls(), SHORT).await);
    let old = || {
        let info = stranger.command(0, &["INFO", "server"]).unwrap();
        let uptime = info.text().unwrap().lines().find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        uptime.unwrap().parse::<u64>().unwrap() > MOVING_TTL.as_secs() + 2
    };
    eventually(Duration::from_secs(20), "it is old", old).await;
    stranger
}

async fn another_server_at_the_address_helps_nobody(existing: Existing, keep_alive: bool) {
    let ttl = MOVING_TTL;
    let cluster = LocalCluster::start(3).unwrap();
    let stranger = stranger().await;
    let address = Address::of(cluster.port(1)).await;
    let urls = || [cluster.url(0), address.url(), cluster.url(2)];
    let redlock = client(urls(), ttl).await;
    plant(&cluster, 2, KEY);
    let guard = redlock.mutex(KEY).unwrap().keep_alive(keep_alive).lock().await.unwrap();
    // Ensures that the lease rests on the two other nodes only, whether it is renewed or not.
    if keep_alive {
        cluster.kill(0).unwrap();
        cluster.restart(0, Data::Kept).unwrap();
    }
    address.lead_to(stranger.port(0));
    match existing {
        Existing::Kept => {}
        Existing::Cut => cluster.kill(1).unwrap(),
    }
    cluster.command(2, &["DEL", KEY]).unwrap();
    let other = client(urls(), ttl).await;
    let started = now();
    let mutex = other.mutex(KEY).unwrap();
    // Longer than a quarantine, for a lease that is renewed all the time.
    while started.elapsed() < ttl + Duration::from_secs(4) {
        // The holder's quorum must suffice without the third node, which must not get the key again.
        cluster.command(2, &["DEL", KEY]).unwrap();
        let second = mutex.try_lock().await;
        assert!(second.is_err() || !guard.is_valid(), "two holders after {:?}", started.elapsed());
        if second.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(guard.is_valid(), keep_alive && existing == Existing::Kept, "{existing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_at_the_address_helps_nobody_after_the_old_one_is_gone() {
    another_server_at_the_address_helps_nobody(Existing::Cut, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_at_the_address_helps_nobody_while_the_old_one_is_in_use() {
    another_server_at_the_address_helps_nobody(Existing::Kept, true).await;
}

/// A connected client learns of the longer lease before it counts the vote of a node that may have forgotten it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_max_ttl_of_a_later_client_counts() {
    let cluster = LocalCluster::builder().durability(Durability::Volatile).start().unwrap();
    let early = client(cluster.urls(), SHORT).await;
    // The later client does not return to the node. Otherwise other clients would learn of it from the node's record.
    let address = Address::of(cluster.port(1)).await;
    let later = client([cluster.url(0), address.url(), cluster.url(2)], TTL).await;
    let guard = hold_on_two(&cluster, &later).await;
    address.lead_to(nowhere());
    cluster.restart(1, Data::Lost).unwrap();
    nobody_else_gets_it(&guard, &early).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_has_met_is_not_believed_for_its_uptime() {
    let cluster = LocalCluster::builder().nodes(1).undeclared().start().unwrap();
    let old = || {
        let info = cluster.command(0, &["INFO", "server"]).unwrap();
        let uptime = info.text().unwrap().lines().find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        uptime.unwrap().parse::<u64>().unwrap() >= 5
    };
    eventually(Duration::from_secs(20), "it is older than any lease", old).await;
    let redlock = client(cluster.urls(), SHORT).await;
    assert_eq!(cause(&redlock, 0), Some(QuarantineCause::NewOrWiped));
}

/// Each fact that costs a node its vote is checked again while the connection lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eviction_that_is_switched_on_later_costs_the_vote() {
    let cluster = LocalCluster::builder().nodes(1).directive("maxmemory", "100mb").start().unwrap();
    let redlock = client(cluster.urls(), TTL).await;
    assert_eq!(redlock.nodes()[0].failure(), None);
    let policy = |policy| cluster.command(0, &["CONFIG", "SET", "maxmemory-policy", policy]).unwrap();
    policy("allkeys-lru");
    let refused = || matches!(redlock.nodes()[0].failure(), Some(NodeFailure::MayEvict { .. }));
    eventually(SLACK, "it has no vote", refused).await;
    policy("noeviction");
    eventually(SLACK, "nothing was evicted, so it votes again", || redlock.nodes()[0].failure().is_none())
        .await;
    // Now the node has a key to evict.
    policy("allkeys-lru");
    plant(&cluster, 0, "something");
    cluster.command(0, &["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let _ = cluster.command(0, &["SET", "more", "1"]).unwrap();
    let evicted = || {
        let info = cluster.command(0, &["INFO", "stats"]).unwrap();
        !info.text().unwrap().contains("evicted_keys:0\r")
    };
    eventually(SLACK, "something is evicted", evicted).await;
    cluster.command(0, &["CONFIG", "SET", "maxmemory", "100mb"]).unwrap();
    policy("noeviction");
    let eviction = || cause(&redlock, 0).is_some();
    eventually(SLACK, "it is in quarantine", eviction).await;
}

/// The bug: nothing was written down of a node that might evict, and its count of evictions ended with its process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_evicted_and_restarts_helps_nobody() {
    let cluster = LocalCluster::builder().nodes(3).directive("maxmemory", "100mb").start().unwrap();
    let redlock = client(cluster.urls(), TTL).await;
    let guard = hold_on_two(&cluster, &redlock).await;
    // The record has no TTL and stays. Neither setting outlives the process.
    for (name, value) in [("maxmemory-policy", "volatile-lru"), ("maxmemory", "1")] {
        cluster.command(1, &["CONFIG", "SET", name, value]).unwrap();
    }
    let _ = cluster.command(1, &["SET", "more", "1"]).unwrap();
    eventually(SLACK, "the key is evicted", || crate::support::value(&cluster, 1, KEY).is_none()).await;
    let refused = || matches!(redlock.nodes()[1].failure(), Some(NodeFailure::MayEvict { .. }));
    eventually(SLACK, "it has no vote", refused).await;
    cluster.restart(1, Data::Kept).unwrap();
    let other = client(cluster.urls(), TTL).await;
    assert!(cause(&other, 1).is_some(), "{other:?}");
    nobody_else_gets_it(&guard, &other).await;
}

/// The old file is loaded although the node has run without it. The record of that run is lost with the locks of that
/// run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_loads_an_old_file_helps_nobody() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls(), TTL).await;
    cluster.command(1, &["CONFIG", "SET", "appendonly", "no"]).unwrap();
    let field = |node, field: &str| {
        let value = cluster.command(node, &["HGET", "redlock-quorum:node", field]).unwrap();
        value.text().unwrap_or_default().to_owned()
    };
    let noted = || field(1, "durable").is_empty();
    eventually(SLACK, "clients have seen that it does not keep every write", noted).await;
    let (id, sequence) = (field(1, "id"), field(1, "sequence").parse::<u64>().unwrap());
    let told = |node| field(node, &format!("met:{id}")).rsplit(':').next().unwrap().parse::<u64>().unwrap();
    eventually(SLACK, "they have told the others", || [0, 2].iter().all(|node| told(*node) >= sequence))
        .await;
    let guard = hold_on_two(&cluster, &redlock).await;
    cluster.restart(1, Data::Kept).unwrap();
    let other = client(cluster.urls(), TTL).await;
    assert_eq!(cause(&other, 1), Some(QuarantineCause::RolledBack), "{other:?}");
    nobody_else_gets_it(&guard, &other).await;
}
