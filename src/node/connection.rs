//! Opens a usable connection to one node: bytes, handshake, scripts, all under one time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::commands::Command;
use super::facts::NodeFacts;
use super::failure;
use super::login::LoginSource;
use super::observe::{ObservationKind, Observed, Observer};
use super::push::{Dialed, Notifications, Subscription, dial};
use super::stream::{Activity, Connector};
use crate::error::NodeFailure;
use crate::types::Moment;

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
    subscription: Subscription,
    about: Arc<About>,
}

/// What is known of the node at the other end.
#[derive(Debug)]
struct About {
    node_id: String,
    clock: NodeClock,
    facts: Arc<NodeFacts>,
    activity: Arc<Activity>,
}

/// What a node's wall clock said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    pub(super) at: Moment,
    pub(super) wall_micros: u64,
}

impl NodeClock {
    /// What it says at `now`, counted on by our own clock.
    pub(crate) fn wall_micros(self, now: Moment) -> u64 {
        let since = u64::try_from(self.at.until(now).as_micros()).unwrap_or(u64::MAX);
        self.wall_micros.saturating_add(since)
    }
}

impl Link {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the node can call us.
    pub(crate) fn subscription(&self) -> Subscription {
        self.subscription
    }

    /// What the node's wall clock says at `now`, counted on by our own clock since we connected.
    pub(crate) fn wall_micros(&self, now: Moment) -> u64 {
        self.about.clock.wall_micros(now)
    }

    /// The id that the node has given itself.
    pub(crate) fn node_id(&self) -> &str {
        &self.about.node_id
    }

    pub(crate) fn facts(&self) -> &Arc<NodeFacts> {
        &self.about.facts
    }

    /// Looks at the node again. Cancel safe.
    pub(super) async fn observe(&self, observer: &Observer) -> Result<(), Refusal> {
        observer.observe(&mut self.connection.clone(), ObservationKind::Repeated).await.map(|_| ())
    }

    /// See [`Command::send`]; the command is queued at the first poll.
    pub(crate) async fn send<C: Command>(self, command: C) -> Result<C::Reply, NodeFailure> {
        let reply = command.send(self.connection).await;
        if let Err(NodeFailure::ReadOnly { .. }) = reply {
            // It is not the master any more that it was when we observed it.
            self.about.activity.distrust();
        }
        reply
    }

    /// As [`send`](Self::send), but queued now, ahead of whatever is sent on this connection from now on.
    pub(crate) fn send_now<C: Command>(
        self,
        command: C,
    ) -> BoxFuture<'static, Result<C::Reply, NodeFailure>> {
        let mut answer = self.send(command).boxed();
        // The first poll queues it, whatever is left of the budget of the task that we are in.
        match tokio::task::unconstrained(&mut answer).now_or_never() {
            Some(answer) => future::ready(answer).boxed(),
            None => answer,
        }
    }
}

/// A live connection as its supervisor holds it.
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) activity: Arc<Activity>,
    pub(super) driver: Driver,
}

/// A node that cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) failure: NodeFailure,
    /// What it said of itself, if it got that far.
    pub(super) facts: Option<Arc<NodeFacts>>,
}

impl From<NodeFailure> for Refusal {
    fn from(failure: NodeFailure) -> Self {
        Self { failure, facts: None }
    }
}

impl Connection {
    /// # Errors
    ///
    /// Why the node cannot be used.
    pub(super) async fn open(
        connector: &dyn Connector,
        (login, db): (&LoginSource, i64),
        epoch: Epoch,
        limit: Duration,
        (name, notifications, observer): (&str, &Notifications, &Observer),
    ) -> Result<Self, Refusal> {
        let has_login = AtomicBool::new(false);
        let handshake = async {
            let info = login.info(db).await?;
            has_login.store(true, Ordering::Relaxed);
            let mut dialed = dial(connector, &info, notifications).await?;
            let activity = Arc::clone(&dialed.activity);
            let observed = observer.observe(&mut dialed.connection, ObservationKind::First).await;
            let observed = observed.map_err(|refusal| activity.fault().map_or(refusal, Refusal::from))?;
            let subscription = dialed.listen(notifications, name).await;
            let Dialed { connection, driver, .. } = dialed;
            let Observed { facts, node_id, at, wall_micros } = observed;
            let clock = NodeClock { at, wall_micros };
            let about = Arc::new(About { node_id, clock, facts, activity: Arc::clone(&activity) });
            Ok(Self { link: Link { connection, epoch, subscription, about }, activity, driver })
        };
        match tokio::time::timeout(limit, handshake).await {
            Ok(result) => result,
            Err(_) if !has_login.load(Ordering::Relaxed) => {
                Err(NodeFailure::Credentials { detail: format!("none within {limit:?}") }.into())
            }
            Err(_) => Err(failure::of_connect_timeout(limit).into()),
        }
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
    pub(super) fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> Self {
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
