//! A node whose server may change: the master of a service that Redis Sentinel manages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Value};

use super::connection::Driver;
use super::failure;
use super::login::LoginSource;
use super::stream::{Connector, Management, Stream, Tcp};
use crate::error::NodeFailure;

/// How often the sentinels are asked whether the master is still the same. A client must notice a failover before the
/// new master's quarantine ends, which is two seconds longer than any lease.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The time limit for the sentinels' answers to a check.
const CHECK_LIMIT: Duration = Duration::from_millis(500);

/// Connects to the master that a majority of the sentinels knows.
///
/// All sentinels are asked each time, over connections that stay open. A sentinel that is cut off from the others may
/// still name an old master, so the answer with the highest configuration epoch counts, and only if a majority has
/// answered. A client that reaches no majority may itself be cut off, together with a master that has been replaced.
pub(crate) struct Sentinel {
    service: String,
    watchers: Vec<Watcher>,
    /// The time limit for all answers when we connect.
    limit: Duration,
    followed: Mutex<Option<Master>>,
}

/// The connection to one sentinel.
struct Watcher {
    tcp: Tcp,
    login: LoginSource,
    kept: tokio::sync::Mutex<Option<Kept>>,
}

struct Kept {
    connection: MultiplexedConnection,
    _driver: Driver,
}

/// The master of the service, as one sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    host: String,
    port: u16,
    /// The configuration epoch, which grows with every failover.
    epoch: u64,
}

impl Sentinel {
    /// `limit` is the time in which a connection must become usable.
    pub(crate) fn new(sentinels: Vec<Tcp>, service: &str, login: &LoginSource, limit: Duration) -> Self {
        let watcher = |tcp| Watcher { tcp, login: login.clone(), kept: tokio::sync::Mutex::default() };
        Self {
            service: service.to_owned(),
            watchers: sentinels.into_iter().map(watcher).collect(),
            limit: limit / 2,
            followed: Mutex::default(),
        }
    }

    /// Returns the master by the latest configuration, if a majority of the sentinels has answered.
    async fn ask(&self, limit: Duration) -> Result<Master, NodeFailure> {
        let answers = self.watchers.iter().map(|watcher| async move {
            let answer = tokio::time::timeout(limit, watcher.ask(&self.service)).await;
            answer.unwrap_or(Err(NodeFailure::NoAnswer { after: limit }))
        });
        let answers = future::join_all(answers).await;
        let (all, told) = (answers.len(), answers.iter().filter(|answer| answer.is_ok()).count());
        if told > all / 2
            && let Some(latest) = answers.iter().flatten().max_by_key(|master| master.epoch)
        {
            return Ok(latest.clone());
        }
        let failures = self.watchers.iter().zip(&answers).filter_map(|(watcher, answer)| {
            let Tcp { host, port, .. } = &watcher.tcp;
            Some(format!("{host}:{port}: {}", answer.as_ref().err()?))
        });
        let failures = failures.collect::<Vec<_>>().join(", ");
        let detail = format!("{told} of {all} know {:?}, {} have to ({failures})", self.service, all / 2 + 1);
        Err(NodeFailure::Sentinel { detail })
    }

    fn follow(&self, master: Master) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(master);
    }

    fn followed(&self) -> Option<Master> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Connector for Sentinel {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>> {
        Box::pin(async {
            let master = self.ask(self.limit).await?;
            let Master { host, port, .. } = master.clone();
            self.follow(master);
            // At least one sentinel exists, because a majority answered.
            let transport = self.watchers[0].tcp.transport.clone();
            Tcp { host, port, transport }.connect().await
        })
    }

    fn superseded(&self) -> BoxFuture<'_, NodeFailure> {
        Box::pin(async {
            loop {
                tokio::time::sleep(CHECK_EVERY).await;
                match (self.ask(CHECK_LIMIT).await, self.followed()) {
                    (Err(failure), _) => return failure,
                    (Ok(now), Some(followed)) if now.is_server(&followed) => {}
                    (Ok(Master { host, port, .. }), _) => {
                        return NodeFailure::Sentinel { detail: format!("the master is {host}:{port} now") };
                    }
                }
            }
        })
    }

    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>> {
        Box::pin(async {
            let Master { host, port, .. } = self.followed()?;
            Tcp { host, port, transport: self.watchers[0].tcp.transport.clone() }.explain().await
        })
    }

    fn management(&self) -> Management {
        Management::BySentinel
    }
}

impl Watcher {
    async fn ask(&self, service: &str) -> Result<Master, NodeFailure> {
        let mut kept = self.kept.lock().await;
        // The connection is taken out for the duration of the question, so that one with a question that was dropped
        // midway is not used again.
        if let Some(mut known) = kept.take()
            && let Ok(reply) = known.master(service).await
        {
            *kept = Some(known);
            return Master::parse(&reply);
        }
        let mut new = self.connect().await?;
        let reply = new.master(service).await.map_err(|error| failure::of_connect(&error))?;
        *kept = Some(new);
        Master::parse(&reply)
    }

    async fn connect(&self) -> Result<Kept, NodeFailure> {
        let info = self.login.info(0).await?;
        let stream = self.tcp.connect().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let cause = if error.is_io_error() { self.tcp.explain().await } else { None };
                return Err(cause.unwrap_or_else(|| failure::of_connect(&error)));
            }
        };
        Ok(Kept { connection, _driver: Driver::spawn(driver) })
    }
}

impl Kept {
    async fn master(&mut self, service: &str) -> Result<Value, RedisError> {
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("MASTER").arg(service);
        self.connection.send_packed_command(&cmd).await.and_then(Value::extract_error)
    }
}

impl Master {
    /// Parses the reply of `SENTINEL MASTER`: names and values alternate.
    fn parse(reply: &Value) -> Result<Self, NodeFailure> {
        let wrong = || failure::of_reply("SENTINEL MASTER", reply);
        let fields: HashMap<String, String> = redis::from_redis_value_ref(reply).map_err(|_| wrong())?;
        let field = |name| fields.get(name).ok_or_else(wrong);
        Ok(Self {
            host: field("ip")?.clone(),
            port: field("port")?.parse().map_err(|_| wrong())?,
            epoch: field("config-epoch")?.parse().map_err(|_| wrong())?,
        })
    }

    fn is_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}
