//! What a node says without being asked: that a lock which this client waits for is free.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    Value,
};
use tracing::warn;

use super::connection::Driver;
use super::failure;
use super::stream::{Activity, Connector, Watched};
use crate::error::NodeFailure;
use crate::types::{Resource, internal_key};

/// How many commands may wait to be written. Beyond it callers queue for room, and one that is not polled, the
/// straggler of a lock that is held, keeps its room from all others: redis-rs's 50 are used up by one burst of
/// locks, and then nothing is sent until they are released. No burst comes near this many, and the room costs
/// nothing while it is not used.
const QUEUED_MAX: usize = 1 << 20;

/// Who is told of what a node says.
pub(crate) trait Listener: Send + Sync + 'static {
    /// The node called this client: the lock of this key was free there.
    fn handle_notified(&self, key: &str);
    /// A release of ours called somebody: the lock is wanted.
    fn handle_wanted(&self, resource: &Resource);
    /// There is a connection that can be used.
    fn handle_up(&self);
    /// There is none any more.
    fn handle_down(&self, failure: &NodeFailure);
    /// The client is gone, and closes its connection.
    fn handle_finished(&self);
    /// Bytes went out. On the path of every command.
    fn handle_written(&self);
    /// Bytes came back. On the path of every command.
    fn handle_read(&self);
    /// So many releases have not been answered.
    fn handle_pending(&self, releases: usize);
}

/// Where one client is called, the same on all nodes.
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

/// How one node calls this client.
#[derive(Clone)]
pub(crate) struct Notifications {
    pub(crate) channel: Channel,
    pub(crate) listener: Arc<dyn Listener>,
    pub(crate) notify_warning: NotifyWarning,
}

/// That calls do not work. Said once for each client: it is one and the same mistake on all nodes.
#[derive(Clone, Default)]
pub(crate) struct NotifyWarning(Arc<AtomicBool>);

impl NotifyWarning {
    pub(crate) fn warn_once(&self, node: &str, reason: &str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            warn!(
                node,
                reason, "waiters cannot be called, and look again now and then; said once for all nodes"
            );
        }
    }
}

/// Whether this client hears calls on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    Active,
    /// The node speaks RESP2 only, or our user may not subscribe or publish: then waiting goes by timers.
    Absent,
}

/// A connection that has been set up, and may be asked for more.
pub(super) struct Dialed {
    pub(super) connection: MultiplexedConnection,
    pub(super) activity: Arc<Activity>,
    pub(super) driver: Driver,
    protocol: ProtocolVersion,
}

/// Connects and logs in: by HELLO 3, which is needed to be called, or in the old way where that is not known.
pub(super) async fn dial(
    connector: &dyn Connector,
    info: &RedisConnectionInfo,
    notifications: &Notifications,
) -> Result<Dialed, NodeFailure> {
    let dialed = match dial_by(ProtocolVersion::RESP3, connector, info, notifications).await? {
        // What the server says of HELLO is not repeated: it may quote the password.
        Err(error) if is_about_hello(&error) => {
            dial_by(ProtocolVersion::RESP2, connector, info, notifications).await?
        }
        dialed => dialed,
    };
    dialed.map_err(|error| failure::of_connect(&error))
}

/// Whether the old way may go better: not where the server is away, or does not know our password.
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
    // Time limits are the coordinator's: one timer for a round instead of one for each command.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUED_MAX);
    let config =
        if protocol.supports_resp3() { config.set_push_sender(notifications.subscriber()) } else { config };
    let info = info.clone().set_protocol(protocol);
    let dialed = MultiplexedConnection::new_with_config(&info, stream, config).await;
    match (dialed, activity.fault()) {
        (Ok((connection, driver)), _) => {
            Ok(Ok(Dialed { connection, activity, driver: Driver::spawn(driver), protocol }))
        }
        // The stream itself knows better.
        (Err(_), Some(fault)) => Err(fault),
        (Err(error), None) if !activity.has_heard() => connector.explain().await.map_or(Ok(Err(error)), Err),
        (Err(error), None) => Ok(Err(error)),
    }
}

impl Dialed {
    /// Subscribes to our channel, and calls ourselves, to see whether that works. Says once where it does not.
    pub(super) async fn listen(&self, notifications: &Notifications, node: &str) -> Subscription {
        let reason = if self.protocol.supports_resp3() {
            let (mut subscribe, mut call) = (self.connection.clone(), self.connection.clone());
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(notifications.channel.as_str()).arg("");
            // Queued in this order.
            let subscribed = subscribe.subscribe(notifications.channel.as_str());
            let (subscribed, heard) = join(subscribed, call.send_packed_command(&publish)).await;
            match subscribed.and(heard.and_then(Value::extract_error)) {
                Ok(_) => return Subscription::Active,
                Err(error) => failure::of_command(&error).to_string(),
            }
        } else {
            "the server does not speak RESP3".to_owned()
        };
        notifications.notify_warning.warn_once(node, &reason);
        Subscription::Absent
    }
}

impl Notifications {
    fn subscriber(&self) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
        let listener = Arc::clone(&self.listener);
        move |push| {
            if push.kind == PushKind::Message
                && let [_, Value::BulkString(key)] = push.data.as_slice()
                && let Ok(key) = std::str::from_utf8(key)
                // Our own, of the handshake.
                && !key.is_empty()
            {
                listener.handle_notified(key);
            }
            Ok(())
        }
    }
}
