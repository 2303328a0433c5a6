//! The sides that are compared. A cycle is a lock and its release. Each side but `Redlock2` has one connection per node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Script, Value};
use redlock_quorum::{Fencing, Redlock, RedlockBuilder};
use rslock::LockManager;

use crate::Error;

/// Time to live of every lock, long against all measured times, so that nothing expires.
const TTL: Duration = Duration::from_secs(10);

/// Time limits of a client that is not to be hurried, below half of the TTL.
const PATIENCE: Duration = Duration::from_secs(4);

/// One way to lock.
pub trait Side: Clone + Send + Sync + 'static {
    /// Locks `name`, which nobody else wants, and releases it.
    fn cycle(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;
}

/// This library, in one of its variants.
#[derive(Clone)]
pub struct Ours {
    redlock: Redlock,
    variant: Variant,
}

/// How this library is used: every variant but the first differs from the defaults in one thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    /// A mutex with all defaults: every guard is on.
    Default,
    /// Without fencing tokens, which the other sides do not have.
    NoFencing,
    /// Without the restart guard.
    NoRestartGuard,
    /// Without the clock guard.
    NoClockGuard,
    /// Without renewals.
    NoKeepAlive,
    /// Without any of the four.
    Bare,
    /// A lock of two resources at once.
    Multi,
    /// One of many readers.
    Reader,
}

impl Ours {
    /// Connects to the nodes, which are declared new and therefore in no quarantine.
    ///
    /// # Errors
    ///
    /// Why a node cannot be used.
    pub async fn connect(urls: &[String], variant: Variant) -> Result<Self, Error> {
        Self::connect_with(Redlock::builder(), urls, variant).await
    }

    /// As [`connect`](Self::connect), with time limits that outlast a slow machine and valgrind.
    ///
    /// # Errors
    ///
    /// As `connect`.
    pub async fn connect_patiently(urls: &[String], variant: Variant) -> Result<Self, Error> {
        let builder = Redlock::builder().connect_timeout(PATIENCE).node_timeout(PATIENCE);
        Self::connect_with(builder, urls, variant).await
    }

    async fn connect_with(builder: RedlockBuilder, urls: &[String], variant: Variant) -> Result<Self, Error> {
        let builder = builder.nodes(urls.iter().cloned());
        let builder = match variant {
            Variant::Default | Variant::Multi | Variant::Reader => builder,
            Variant::NoFencing => builder.fencing(Fencing::Off),
            Variant::NoRestartGuard => builder.dangerous_no_restart_guard(),
            Variant::NoClockGuard => builder.dangerous_no_clock_guard(),
            Variant::NoKeepAlive => builder.keep_alive(false),
            Variant::Bare => builder
                .fencing(Fencing::Off)
                .dangerous_no_restart_guard()
                .dangerous_no_clock_guard()
                .keep_alive(false),
        };
        let redlock = builder.connect().await?;
        match redlock.nodes().iter().find_map(|node| node.failure().cloned()) {
            None => Ok(Self { redlock, variant }),
            Some(failure) => Err(failure.to_string().into()),
        }
    }

    /// Whether the client has stopped sending to this node.
    #[must_use]
    pub fn has_given_up(&self, node: usize) -> bool {
        self.redlock.nodes()[node].failure().is_some()
    }
}

impl Side for Ours {
    async fn cycle(&self, name: &str) -> Result<(), Error> {
        let guard = match self.variant {
            Variant::Multi => self.redlock.multi([name, &format!("{name}:also")])?.ttl(TTL).lock().await?,
            Variant::Reader => self.redlock.rwlock(name)?.ttl(TTL).read().await?,
            Variant::Default
            | Variant::NoFencing
            | Variant::NoRestartGuard
            | Variant::NoClockGuard
            | Variant::NoKeepAlive
            | Variant::Bare => self.redlock.mutex(name)?.ttl(TTL).lock().await?,
        };
        guard.release().await?;
        Ok(())
    }
}

/// The simplest correct exchange on redis-rs alone: `SET NX PX` with a fresh token to all nodes at once, await the q-th
/// success; compare-and-delete to all, await the q-th success. There are no time limits, deadlines, reasons or
/// reconnects.
///
/// A task of its own awaits the answers that are still missing then. These futures cannot be dropped, because redis-rs
/// does not send a queued command whose caller has gone. A release that is not sent would leave its key behind, and the
/// floor would look faster than any correct exchange can be. One set of futures serves both steps, so that a late SET
/// continues while the releases are awaited, and always before its own release.
#[derive(Clone)]
pub struct Floor {
    connections: Arc<[MultiplexedConnection]>,
    release: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Acquire,
    Release,
}

impl Floor {
    const RELEASE: &str = "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
                           return redis.call('DEL', KEYS[1])";

    /// Connects to the nodes, and loads the release script.
    ///
    /// # Errors
    ///
    /// Why a node cannot be used.
    pub async fn connect(urls: &[String]) -> Result<Self, Error> {
        let script = Script::new(Self::RELEASE);
        // The default queue of redis-rs holds 50 commands, and would be full with 64 tasks. A SET that waits for room
        // can then be overtaken by its own release, which leaves the key behind.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1 << 20);
        let mut connections = Vec::new();
        for url in urls {
            let mut connection = client(url)?.get_multiplexed_async_connection_with_config(&config).await?;
            script.prepare_invoke().load_async(&mut connection).await?;
            connections.push(connection);
        }
        Ok(Self { connections: connections.into(), release: script.get_hash().into() })
    }

    async fn send(mut connection: MultiplexedConnection, cmd: Arc<Cmd>, step: Step) -> (Step, bool) {
        let answer = connection.send_packed_command(&cmd).await;
        (step, matches!(answer, Ok(Value::Okay | Value::Int(1))))
    }
}

impl Side for Floor {
    async fn cycle(&self, name: &str) -> Result<(), Error> {
        let quorum = self.connections.len() / 2 + 1;
        let token = token()?;
        let mut set = Cmd::new();
        set.arg("SET").arg(name).arg(&token).arg("NX").arg("PX").arg(10_000);
        let mut release = Cmd::new();
        release.arg("EVALSHA").arg(&*self.release).arg(1).arg(name).arg(&token);

        let mut answers = FuturesUnordered::new();
        for (step, cmd) in [(Step::Acquire, Arc::new(set)), (Step::Release, Arc::new(release))] {
            for connection in &*self.connections {
                answers.push(Self::send(connection.clone(), Arc::clone(&cmd), step));
            }
            let mut yes = 0;
            while yes < quorum {
                match answers.next().await {
                    Some((of, true)) if of == step => yes += 1,
                    Some(_) => {}
                    None => return Err("the floor missed a quorum".into()),
                }
            }
        }
        if !answers.is_empty() {
            tokio::spawn(async move { while answers.next().await.is_some() {} });
        }
        Ok(())
    }
}

/// A client without Nagle's delay, like this library's. redis-rs has the delay on by default.
fn client(url: &str) -> Result<Client, Error> {
    let info = url.into_connection_info()?;
    Ok(Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?)
}

/// A token about as long as this library's, which contains the owner.
fn token() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("localhost:12345:{:032x}", u128::from_ne_bytes(bytes)))
}

/// The crate `rslock` as its README sets it up, with its own defaults for retries and time limits. The crate also has
/// one `MultiplexedConnection` per node.
#[derive(Clone)]
pub struct Rslock(LockManager);

impl Rslock {
    /// Takes the nodes' addresses; the first lock connects.
    ///
    /// # Errors
    ///
    /// An address that cannot be parsed.
    pub fn new(urls: &[String]) -> Result<Self, Error> {
        let clients: Result<_, _> = urls.iter().map(|url| client(url)).collect();
        Ok(Self(LockManager::from_clients(clients?)))
    }
}

impl Side for Rslock {
    async fn cycle(&self, name: &str) -> Result<(), Error> {
        let lock = self.0.lock(name.as_bytes(), TTL).await?;
        self.0.unlock(&lock).await;
        Ok(())
    }
}

/// The crate `redlock`, version 2, with its defaults. The crate blocks, and connects to every node for each command.
#[derive(Clone)]
pub struct Redlock2(Arc<redlock::RedLock>);

impl Redlock2 {
    /// Takes the nodes' addresses; each lock connects.
    #[must_use]
    pub fn new(urls: &[String]) -> Self {
        Self(Arc::new(redlock::RedLock::new(urls.to_vec())))
    }
}

impl Side for Redlock2 {
    async fn cycle(&self, name: &str) -> Result<(), Error> {
        let (manager, name) = (Arc::clone(&self.0), name.to_owned());
        let cycle = move || {
            let ttl = usize::try_from(TTL.as_millis())?;
            let lock = manager.lock(name.as_bytes(), ttl)?.ok_or("redlock missed a quorum")?;
            manager.unlock(&lock);
            Ok(())
        };
        tokio::task::spawn_blocking(cycle).await?
    }
}
