//! Opens a usable connection to one node: bytes, handshake, scripts, all under one time limit.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisConnectionInfo, Value};
use tokio::task::JoinHandle;

use super::commands::{Command, wall_micros};
use super::failure;
use super::push::{Calls, Dialed, Hearing, dial};
use super::scripts;
use super::stream::{Activity, Connector};
use crate::error::NodeFailure;
use crate::types::{Ambient, Moment};

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
    clock: NodeClock,
    hearing: Hearing,
}

/// What a node's wall clock said when we connected.
#[derive(Clone, Copy, Debug)]
struct NodeClock {
    at: Moment,
    wall_micros: u64,
}

impl Link {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the node can call us.
    pub(crate) fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// What the node's wall clock says at `now`, counted on by our own clock since we connected.
    pub(crate) fn wall_micros(&self, now: Moment) -> u64 {
        let since = u64::try_from(self.clock.at.until(now).as_micros()).unwrap_or(u64::MAX);
        self.clock.wall_micros.saturating_add(since)
    }

    /// See [`Command::send`]; the command is queued at the first poll.
    pub(crate) async fn send<C: Command>(self, command: C) -> Result<C::Reply, NodeFailure> {
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
        calls: &Calls,
        name: &str,
        epoch: Epoch,
        limit: Duration,
        ambient: &dyn Ambient,
    ) -> Result<Self, NodeFailure> {
        let handshake = async {
            let mut dialed = dial(connector, info, calls).await?;
            let clock = Self::handshake(&mut dialed.connection, ambient).await?;
            let hearing = dialed.listen(calls, name).await;
            let Dialed { connection, activity, driver, .. } = dialed;
            Ok(Self { link: Link { connection, epoch, clock, hearing }, activity, driver })
        };
        match tokio::time::timeout(limit, handshake).await {
            Ok(result) => result,
            Err(_) => Err(failure::of_connect_timeout(limit)),
        }
    }

    async fn handshake(
        connection: &mut MultiplexedConnection,
        ambient: &dyn Ambient,
    ) -> Result<NodeClock, NodeFailure> {
        let mut pipeline = Pipeline::new();
        scripts::load_all(&mut pipeline);
        pipeline.cmd("TIME");
        let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        let mut time = Value::Nil;
        for reply in replies.map_err(|error| failure::of_connect(&error))? {
            // One by one: the error of a pipeline as a whole hides what the server said.
            time = reply.extract_error().map_err(|error| failure::of_connect(&error))?;
        }
        Ok(NodeClock { at: ambient.now(), wall_micros: wall_micros(&time)? })
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
    pub(super) fn start(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }

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
