//! Opens a usable connection to one node: bytes, handshake, scripts, all under one time limit.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::task::JoinHandle;

use super::commands::{self, Answer, Command};
use super::failure;
use super::stream::{Activity, Connector, Watched};
use crate::error::NodeFailure;

/// How many commands may wait to be written. Beyond it callers queue for room, and one that is not polled, the
/// straggler of a lock that is held, keeps its room from all others: redis-rs's 50 are used up by one burst of
/// locks, and then nothing is sent until they are released. No burst comes near this many, and the room costs
/// nothing while it is not used.
const QUEUED_MAX: usize = 1 << 20;

/// Number of a connection to one node, growing: tells whether a release followed its SET on the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) const FIRST: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A cheap handle on a live connection. Commands of one link are executed in the order in which they were sent.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    epoch: Epoch,
}

impl Link {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// See [`Command::send`]; the command is queued at the first poll.
    pub(crate) async fn send(self, command: Command) -> Result<Answer, NodeFailure> {
        command.send(self.connection).await
    }
}

/// A live connection as its supervisor holds it.
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) activity: Arc<Activity>,
    pub(super) driver: Driver,
}

impl Connection {
    /// # Errors
    ///
    /// Why the node cannot be used, in words of [`NodeFailure`].
    pub(super) async fn open(
        connector: &dyn Connector,
        info: &RedisConnectionInfo,
        epoch: Epoch,
        limit: Duration,
    ) -> Result<Self, NodeFailure> {
        match tokio::time::timeout(limit, Self::handshake(connector, info, epoch)).await {
            Ok(result) => result,
            Err(_) => Err(failure::of_connect_timeout(limit)),
        }
    }

    async fn handshake(
        connector: &dyn Connector,
        info: &RedisConnectionInfo,
        epoch: Epoch,
    ) -> Result<Self, NodeFailure> {
        let stream = connector.connect().await.map_err(|error| failure::of_open(&error))?;
        let (stream, activity) = Watched::new(stream);
        // Time limits are the coordinator's: one timer for a round instead of one for each command.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUED_MAX);
        let (mut connection, driver) = MultiplexedConnection::new_with_config(info, stream, config)
            .await
            .map_err(|error| failure::of_connect(&error))?;
        let driver = Driver(tokio::spawn(driver));
        let scripts = commands::load_scripts();
        let replies = connection.send_packed_commands(&scripts, 0, scripts.len()).await;
        for reply in replies.map_err(|error| failure::of_connect(&error))? {
            // One by one: the error of a pipeline as a whole hides what the server said.
            reply.extract_error().map_err(|error| failure::of_connect(&error))?;
        }
        Ok(Self { link: Link { connection, epoch }, activity, driver })
    }

    /// Gives the connection up with commands in flight.
    pub(super) fn abandon(self) {
        self.activity.abandon();
    }
}

/// The task that moves the bytes. Dropped, it is aborted, and the stream with it; also by a handshake that is
/// given up half way.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    /// Returns when the connection has ended. Cancel safe.
    pub(super) async fn ended(&mut self) {
        // It cannot panic, and nobody else aborts it: either way it has ended.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
