//! Limits on a client's activity: reconnections, repeated releases, and log lines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redlock_quorum::NodeOptions;
use redlock_quorum::testing::{Clients, Link, Linked, LocalCluster, Reply};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{LONG, SLACK, builder, calls, eventually, now};

const WATCHED_FOR: Duration = Duration::from_secs(10);
/// A client makes fewer connections than this within [`WATCHED_FOR`].
const CONNECTIONS_MAX: usize = 12;
const LINES_MAX: usize = 20;

/// Counts the log lines for people.
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("redlock_quorum") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// When a peer closes a connection.
#[derive(Clone, Copy, Debug)]
enum Closes {
    /// At the first bytes.
    AtOnce,
    /// After a real server has answered the whole handshake.
    Greeted,
    /// At the first command after the handshake.
    Asked,
}

/// A peer in front of `server` that counts its connections. The peer ends with the process.
fn peer(server: SocketAddr, closes: Closes) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
            let client = client.unwrap();
            // Either side may be gone at any time.
            thread::spawn(move || drop(serve(client, server, closes)));
        }
    });
    (address, count)
}

fn serve(mut client: TcpStream, server: SocketAddr, closes: Closes) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let mut buffer = [0; 65536];
    let mut answers = server.try_clone()?;
    let mut back = client.try_clone()?;
    thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let mut greeted = false;
    loop {
        let length = client.read(&mut buffer)?;
        let ends = match closes {
            Closes::AtOnce => true,
            Closes::Greeted => false,
            Closes::Asked => greeted,
        };
        if ends || length == 0 {
            return client.shutdown(std::net::Shutdown::Both);
        }
        server.write_all(&buffer[..length])?;
        // The last command of the handshake.
        greeted |= buffer[..length].windows(7).any(|word| word == b"PUBLISH");
        if greeted && matches!(closes, Closes::Greeted) {
            // The command's answer and the message itself. Later answers are not waited for.
            client.set_read_timeout(Some(Duration::from_millis(50)))?;
            let _ = client.read(&mut buffer);
            return client.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn address(cluster: &LocalCluster, node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster.port(node)))
}

fn connections(cluster: &LocalCluster, node: usize) -> usize {
    let Reply::Bulk(text) = cluster.command(node, &["INFO", "stats"]).unwrap() else { panic!() };
    let line = text.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    line.parse().unwrap()
}

/// The bug: the client reconnected at once to a peer that accepts, greets and closes: 1,586 times in 5 s with 3,405 log
/// lines.
#[tokio::test]
async fn a_node_that_comes_and_goes_is_met_ever_more_rarely_and_told_of_once() {
    let lines = Arc::new(AtomicUsize::new(0));
    let _guard = tracing::subscriber::set_default(Lines(Arc::clone(&lines)));
    // Two subscribers, because with a single one tracing disables an event for all if another test's thread reaches it
    // first.
    let _second = tracing::Dispatch::new(Lines(Arc::default()));
    let cluster = LocalCluster::start(5).unwrap();
    let peers = [Closes::AtOnce, Closes::Greeted, Closes::Asked];
    let peers: Vec<_> =
        (0..3).map(|node| (peers[node], peer(address(&cluster, node), peers[node]))).collect();
    // One node refuses the handshake after `SCRIPT LOAD`; another takes no writes although it is a master.
    cluster.command(3, &["ACL", "SETUSER", "default", "-evalsha"]).unwrap();
    cluster.command(4, &["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
    let before = [3, 4].map(|node| connections(&cluster, node));
    let started = now();
    let clients = peers.iter().map(|(_, (address, _))| format!("redis://{address}"));
    let mut held = Vec::new();
    for url in clients.chain([cluster.url(3), cluster.url(4)]) {
        held.push(builder([url]).connect().await.unwrap());
    }
    while started.elapsed() < WATCHED_FOR {
        for redlock in &held {
            // Uses the connections, if there are any. The result does not matter.
            let _ = redlock.mutex("job").unwrap().try_lock().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (closes, (_, count)) in &peers {
        let count = count.load(Ordering::Relaxed);
        assert!((3..CONNECTIONS_MAX).contains(&count), "{closes:?}: {count} connections");
    }
    for (node, before) in [3, 4].into_iter().zip(before) {
        // One more connection is ours, which asks for the number.
        let count = connections(&cluster, node) - before - 1;
        assert!((3..CONNECTIONS_MAX).contains(&count), "node {node}: {count} connections");
    }
    let lines = lines.load(Ordering::Relaxed);
    println!("{lines} lines, {peers:?}");
    assert!((5..LINES_MAX).contains(&lines), "{lines} lines for five nodes");
}

pub(crate) fn kill_connections(cluster: &LocalCluster, node: usize) {
    // A subscribed client counts as another type.
    for kind in ["normal", "pubsub"] {
        cluster.command(node, &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).unwrap();
    }
}

/// All commands that a server has executed, including those in scripts.
fn executed(cluster: &LocalCluster, node: usize) -> u64 {
    let Reply::Bulk(text) = cluster.command(node, &["INFO", "commandstats"]).unwrap() else { panic!() };
    let count = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse::<u64>().ok();
    text.lines().filter_map(count).sum()
}

/// The bug: each command that might still arrive from an abandoned connection was released by a command of its own,
/// every second for a whole TTL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stray_releases_are_few_commands() {
    const LOCKS: u64 = 11_600;
    const PART: usize = 2_900;
    const PARTS_MAX: usize = 8;
    let linked = Linked::new(LocalCluster::start(3).unwrap(), 1).unwrap();
    let cluster = linked.nodes();
    // A long node timeout, so that the connection is not abandoned before it is broken.
    let redlock = builder(linked.urls(0)).ttl(LONG * 2).node_timeout(SLACK * 4).connect().await.unwrap();
    let pending = || redlock.stats().nodes[0].releases_pending;
    let is_up = || redlock.nodes()[0].failure().is_none();
    // In parts, because the kernel drops a connection that makes no progress for five seconds. If the machine stands still,
    // a connection may be dropped nevertheless, and there are more parts.
    for part in 0..PARTS_MAX {
        if pending() >= LOCKS {
            break;
        }
        linked.set_link(Clients::All, 0, Link::Cut);
        let mut guards = Vec::new();
        for i in part * PART..(part + 1) * PART {
            guards.push(redlock.mutex(format!("job-{i}")).unwrap().lock().await.unwrap());
        }
        drop(guards);
        linked.set_link(Clients::All, 0, Link::Reset);
        eventually(SLACK, "it is abandoned", || !is_up()).await;
        linked.set_link(Clients::All, 0, Link::Open);
        eventually(SLACK * 2, "it is up again", is_up).await;
    }
    let strays = pending();
    assert!(strays >= LOCKS, "{strays} releases are pending");
    let started = now();
    let (scripts, all) = (calls(cluster, 0, "evalsha"), executed(cluster, 0));
    let mut peak = 0;
    let mut last = all;
    // The pace is measured in seconds.
    let seconds = 16;
    for second in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(second).saturating_sub(started.elapsed())).await;
        let now = executed(cluster, 0);
        peak = peak.max(now - last);
        last = now;
    }
    let elapsed = started.elapsed().as_secs();
    let scripts = calls(cluster, 0, "evalsha") - scripts;
    println!("in {elapsed} s {scripts} calls and {} commands in all, at most {peak} in a second", last - all);
    assert_eq!(pending(), strays, "they are forgotten");
    assert!(scripts / elapsed < 50, "{scripts} calls in {elapsed} s");
    assert!((last - all) / elapsed < 200, "{} commands in {elapsed} s", last - all);
}

/// A key that our user may not touch delays no other release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_refused_does_not_keep_others_from_theirs() {
    const LOCKS: usize = 100;
    let cluster = LocalCluster::start(1).unwrap();
    cluster.command(0, &["ACL", "SETUSER", "locks", "on", ">secret", "~*", "&*", "+@all"]).unwrap();
    let node = NodeOptions::new(cluster.url(0)).username("locks").password("secret");
    let redlock = builder([node]).node_timeout(Duration::from_secs(1)).connect().await.unwrap();
    let mut guards = Vec::new();
    for i in 0..LOCKS {
        guards.push(redlock.mutex(format!("job-{i}")).unwrap().lock().await.unwrap());
    }
    // Released while the node cannot be reached, and refused when it can.
    let user = ["ACL", "SETUSER", "locks", "resetkeys", "~job-?", "~job-??", "~redlock-quorum:*", "on"];
    guards.push(redlock.mutex("other").unwrap().lock().await.unwrap());
    cluster.command(0, &["ACL", "SETUSER", "locks", "off"]).unwrap();
    kill_connections(&cluster, 0);
    eventually(SLACK, "it is down", || redlock.nodes()[0].failure().is_some()).await;
    drop(guards);
    cluster.command(0, &user).unwrap();
    let left = || {
        cluster
            .keys(0)
            .unwrap()
            .into_iter()
            .filter(|key| !key.starts_with("redlock-quorum:"))
            .collect::<Vec<_>>()
    };
    // The refused release is found by bisection: at 1, 2, 4 and then every 8 seconds.
    eventually(SLACK * 20, "all but one are released", || left() == ["other"]).await;
    cluster.command(0, &["ACL", "SETUSER", "locks", "~*"]).unwrap();
    kill_connections(&cluster, 0);
    eventually(SLACK * 2, "the last one is released", || left().is_empty()).await;
}
