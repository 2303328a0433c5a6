//! Notifications from a node: a lock that this client waits for is free.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    Value,
};
use tracing::warn;

use super::commands::single;
use super::connection::{Driver, Link};
use super::failure;
use super::lent::Lent;
use super::stream::{Activity, Connector, Watched};
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::{Claim, KeySet, internal_key};

/// How often a client tries again to subscribe on a node that refused it.
const SUBSCRIBE_EVERY: Duration = Duration::from_secs(2);

/// The receiver of a node's notifications and connection events.
pub(crate) trait Listener: Send + Sync + 'static {
    /// The node notified this client: the lock of this key was free there.
    fn handle_notified(&self, key: &str);
    /// A release of ours notified a waiter, so the lock is contended.
    fn handle_wanted(&self, claim: &Claim, keys: KeySet);
    /// A usable connection has been made.
    fn handle_up(&self);
    /// The connection is gone.
    fn handle_down(&self, failure: &NodeFailure);
    /// The client is gone and closes its connection.
    fn handle_finished(&self);
    /// Bytes were written. Called on the path of every command.
    fn handle_written(&self);
    /// Bytes were read. Called on the path of every command.
    fn handle_read(&self);
    /// The number of unanswered releases is now `releases`.
    fn handle_pending(&self, releases: usize);
}

/// The channel on which a client is notified, the same on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel(Arc<str>);

impl Channel {
    pub(crate) fn new(random: u128) -> Self {
        Self(internal_key(&format!("wake:{random:032x}")).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How one node notifies this client.
#[derive(Clone)]
pub(crate) struct Notifications {
    pub(crate) channel: Channel,
    pub(crate) listener: Arc<dyn Listener>,
    pub(crate) notify_warning: NotifyWarning,
}

/// The warning that notifications do not work. A client logs it once, because the cause is the same on all nodes.
#[derive(Clone, Default)]
pub(crate) struct NotifyWarning(Arc<AtomicBool>);

impl NotifyWarning {
    pub(crate) fn warn_once(&self, node: &str, reason: &str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            warn!(
                node,
                reason,
                "nodes cannot notify waiters, which poll once a second instead; logged once for all nodes"
            );
        }
    }
}

/// Whether this client receives notifications on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    Active,
    /// The node speaks only RESP2, our user may not subscribe or publish, or the node's memory was full. Waiters then go
    /// by timers.
    Absent,
}

/// A connection after the login, before the first observation.
pub(super) struct Dialed {
    pub(super) connection: Wire,
    pub(super) activity: Arc<Activity>,
    pub(super) driver: Driver,
    pub(super) protocol: ProtocolVersion,
}

/// Connects and logs in with HELLO 3, which notifications need, or without HELLO where the server does not know it.
pub(super) async fn dial(
    connector: &dyn Connector,
    info: &RedisConnectionInfo,
    notifications: &Notifications,
) -> Result<Dialed, NodeFailure> {
    let dialed = match dial_by(ProtocolVersion::RESP3, connector, info, notifications).await? {
        // The server's error is dropped, because it may quote the password.
        Err(error) if is_about_hello(&error) => {
            dial_by(ProtocolVersion::RESP2, connector, info, notifications).await?
        }
        dialed => dialed,
    };
    dialed.map_err(|error| failure::of_connect(&error))
}

/// Whether a login without HELLO may succeed. An unreachable server or a wrong password is not solved by that.
fn is_about_hello(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported
        || matches!(
            failure::of_connect(error),
            NodeFailure::Refused { .. } | NodeFailure::Permission { .. } | NodeFailure::Unexpected { .. }
        )
}

async fn dial_by(
    protocol: ProtocolVersion,
    connector: &dyn Connector,
    info: &RedisConnectionInfo,
    notifications: &Notifications,
) -> Result<Result<Dialed, RedisError>, NodeFailure> {
    let (stream, activity) = Watched::new(connector.connect().await?, Arc::clone(&notifications.listener));
    let lent = Lent::new(stream);
    // The coordinator sets time limits: one timer for a round instead of one for each command.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let info = info.clone().set_protocol(protocol);
    let handshake = MultiplexedConnection::new_with_config(&info, lent.clone(), config).await.map(drop);
    match (handshake, activity.fault()) {
        (Ok(()), _) => {
            let stream = lent.take_back().ok_or(NodeFailure::Unreachable { detail: "no stream".into() })?;
            let (connection, driver) = Wire::new(stream, notifications.subscriber());
            Ok(Ok(Dialed { connection, activity, driver: Driver::spawn(driver), protocol }))
        }
        // The stream's own fault is more precise than the error of redis-rs.
        (Err(_), Some(fault)) => Err(fault),
        (Err(error), None) if !activity.has_heard() => connector.explain().await.map_or(Ok(Err(error)), Err),
        (Err(error), None) => Ok(Err(error)),
    }
}

impl Dialed {
    /// Subscribes, where the connection can be notified. Logs a warning once per client if that fails.
    pub(super) async fn listen(&self, notifications: &Notifications, node: &str) -> Subscription {
        if !self.protocol.supports_resp3() {
            notifications.notify_warning.warn_once(node, "the server does not speak RESP3");
            return Subscription::Absent;
        }
        notifications.listen(&self.connection, node).await
    }
}

impl Notifications {
    /// Subscribes to our channel and publishes on it, as a test. Logs a warning once per client if that fails.
    pub(super) async fn listen(&self, connection: &Wire, node: &str) -> Subscription {
        let (mut subscribe, mut publish) = (redis::cmd("SUBSCRIBE"), redis::cmd("PUBLISH"));
        subscribe.arg(self.channel.as_str());
        publish.arg(self.channel.as_str()).arg("");
        // The server receives the two commands in this order.
        let (subscribed, heard) = join(single(connection, &subscribe), single(connection, &publish)).await;
        match subscribed.and(heard) {
            Ok(_) => Subscription::Active,
            Err(error) => {
                self.notify_warning.warn_once(node, &failure::of_command(&error).to_string());
                Subscription::Absent
            }
        }
    }
}

/// Subscribes again and again where that failed: a permission may be given, and memory that was full may have room
/// again. Never returns.
pub(super) async fn keep_subscribing(link: Link, notifications: Notifications, node: Arc<str>) -> Infallible {
    while link.can_subscribe() && link.subscription() == Subscription::Absent {
        tokio::time::sleep(SUBSCRIBE_EVERY).await;
        link.subscribe(&notifications, &node).await;
    }
    pending().await
}

impl Notifications {
    fn subscriber(&self) -> impl Fn(PushInfo) + Send + 'static {
        let listener = Arc::clone(&self.listener);
        move |push| {
            if push.kind == PushKind::Message
                && let [_, Value::BulkString(key)] = push.data.as_slice()
                && let Ok(key) = std::str::from_utf8(key)
                // The empty message is our own test from the handshake.
                && !key.is_empty()
            {
                listener.handle_notified(key);
            }
        }
    }
}
