//! The library on simulated servers, which are put behind real sockets and read the machine's clock: what redis-rs and
//! the library say is what the simulation understands.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_quorum::{LockError, Redlock, Released, Retry};
use redlock_sim::{ConnectionId, Data, Server, Settings, User, Version, WallTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const VERSIONS: [Version; 5] =
    [Version::Redis6, Version::Redis7, Version::Redis8, Version::Redis86, Version::Valkey8];

/// Longer than the machine stands still, because a node that answers in time must never count as silent.
const PATIENCE: Duration = Duration::from_secs(4);
/// Long enough to be renewed in time although the machine stands still for a while.
const TTL: Duration = Duration::from_secs(5);
/// A wait of this length means that the waiter was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// A server and where its words go.
struct Host {
    server: Mutex<Server>,
    writers: Mutex<BTreeMap<ConnectionId, UnboundedSender<Vec<u8>>>>,
    url: String,
}

impl Host {
    async fn start(name: &str, settings: Settings) -> Arc<Self> {
        let mut server = Server::new(name, settings, now());
        declare(&mut server);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let host = Arc::new(Self { server: Mutex::new(server), writers: Mutex::default(), url });
        let accepting = Arc::clone(&host);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(id) = accepting.server.lock().unwrap().connect(now()) else { continue };
                let (write, words) = unbounded_channel();
                accepting.writers.lock().unwrap().insert(id, write);
                tokio::spawn(Arc::clone(&accepting).carry(id, stream, words));
            }
        });
        host
    }

    async fn carry(
        self: Arc<Self>,
        id: ConnectionId,
        mut stream: TcpStream,
        mut words: UnboundedReceiver<Vec<u8>>,
    ) {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(length @ 1..) => self.receive(id, &buffer[..length]),
                    Ok(0) | Err(_) => break,
                },
                // None: the server has crashed.
                words = words.recv() => match words {
                    Some(words) => stream.write_all(&words).await.unwrap_or_default(),
                    None => break,
                },
            }
        }
        self.server.lock().unwrap().disconnect(id);
    }

    fn receive(&self, id: ConnectionId, bytes: &[u8]) {
        let mut server = self.server.lock().unwrap();
        server.receive(id, bytes, now());
        let writers = self.writers.lock().unwrap();
        for id in server.with_output().collect::<Vec<_>>() {
            // Whoever has gone hears nothing.
            let _ = writers[&id].send(server.take_output(id));
        }
    }

    fn restart(&self, data: Data) {
        self.writers.lock().unwrap().clear();
        self.server.lock().unwrap().restart(now(), data);
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.server.lock().unwrap().keys(0, now());
        keys.into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the servers stand beside the library, not within it")]
fn now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallTime(since.as_micros().try_into().unwrap())
}

/// Says that it is new, as an operator does.
fn declare(server: &mut Server) {
    let client = server.connect(now()).unwrap();
    // The password of one of the tests; the others have none.
    let words = b"AUTH default secret\r\nHSET redlock-quorum:node declared 1\r\n";
    server.receive(client, words, now());
    assert!(server.take_output(client).ends_with(b":1\r\n"));
    server.disconnect(client);
}

async fn hosts(settings: &Settings) -> Vec<Arc<Host>> {
    let mut hosts = Vec::new();
    for name in ["a", "b", "c"] {
        hosts.push(Host::start(name, settings.clone()).await);
    }
    hosts
}

async fn connect(hosts: &[Arc<Host>]) -> Redlock {
    let redlock = Redlock::builder().nodes(hosts.iter().map(|host| host.url.clone()));
    redlock.node_timeout(PATIENCE).connect_timeout(PATIENCE).connect().await.unwrap()
}

#[tokio::test]
async fn locks_are_taken_renewed_waited_for_and_released() {
    let versions = VERSIONS.map(|version| tokio::spawn(locks_work(version)));
    for version in versions {
        version.await.unwrap();
    }
}

async fn locks_work(version: Version) {
    let hosts = hosts(&Settings { version, ..Settings::default() }).await;
    let (first, second) = (connect(&hosts).await, connect(&hosts).await);
    for node in first.survey().await {
        assert!(node.failure().is_none() && node.connected_clients().is_some(), "{version:?}: {node:?}");
    }
    let held = first.mutex("job").unwrap().ttl(TTL).keep_alive(true).lock().await.unwrap();
    let other = second.mutex("job").unwrap().ttl(Duration::from_secs(20)).max_wait(Duration::from_secs(60));
    let other = other.retry(Retry::fifo_looking_again_after(FORGOTTEN * 3));
    let refused = other.try_lock().await;
    assert!(matches!(refused, Err(LockError::Contended { .. })), "{version:?}: {refused:?}");
    let waiter = tokio::spawn(async move { other.lock().await.unwrap() });
    // Only renewals keep it for so long.
    tokio::time::sleep(TTL * 5 / 4).await;
    assert!(held.is_valid() && !waiter.is_finished(), "{version:?}");
    let token = held.fencing_token();
    assert_eq!(held.release().await, Ok(Released::InTime));
    // It is called, and does not look again by itself.
    let next = tokio::time::timeout(FORGOTTEN, waiter).await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
    assert_eq!(next.release().await, Ok(Released::InTime));
    first.shutdown().await;
    second.shutdown().await;
    for host in &hosts {
        assert_eq!(host.keys(), ["redlock-quorum:fences", "redlock-quorum:node"], "{version:?}");
    }
}

/// A master that syncs every write has forgotten nothing; one that comes back empty is kept from voting.
#[tokio::test]
async fn the_restart_guard_believes_what_a_simulated_server_tells() {
    let hosts = hosts(&Settings::default()).await;
    let redlock = connect(&hosts).await;
    let mutex = redlock.mutex("job").unwrap().max_wait(Duration::from_secs(20));
    mutex.lock().await.unwrap().release().await.unwrap();
    for (data, is_trusted) in [(Data::Kept, true), (Data::Wiped, false)] {
        hosts[..2].iter().for_each(|host| host.restart(data.clone()));
        if is_trusted {
            mutex.lock().await.unwrap().release().await.unwrap();
            continue;
        }
        // The connections are gone, and made anew at once or after a pause.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let attempt = mutex.try_lock().await;
        assert!(matches!(attempt, Err(LockError::NoQuorum { .. })), "{data:?}: {attempt:?}");
    }
}

#[tokio::test]
async fn a_missing_permission_and_a_wrong_password_are_told() {
    let with = |user: User| Settings { users: [("default".into(), user)].into(), ..Settings::default() };
    let table = [
        (with(User { denied: ["pttl".into()].into(), ..User::default() }), "PTTL"),
        (with(User { password: Some("secret".into()), ..User::default() }), "NOAUTH"),
    ];
    for (settings, told) in table {
        let redlock = connect(&hosts(&settings).await).await;
        let error = redlock.mutex("job").unwrap().try_lock().await.unwrap_err().to_string();
        assert!(error.contains(told), "{told} is missing in {error}");
    }
}
