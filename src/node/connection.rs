//! Opens a usable connection to one node: stream, handshake and first observation, all under one time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt};

use tokio::task::JoinHandle;

use super::commands::Command;
use super::facts::NodeFacts;
use super::failure;
use super::login::LoginSource;
use super::observe::{ObservationKind, Observed, Observer};
use super::push::{Dialed, Notifications, Subscription, dial};
use super::stream::{Activity, Connector};
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::types::Moment;

/// The number of a connection to one node, growing with each one. The number tells whether a release followed its SET
/// on the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) const FIRST: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A cheap handle on a live connection. The server executes commands of one link in the order in which they were
/// sent.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    connection: Wire,
    epoch: Epoch,
    about: Arc<About>,
}

/// The facts about the node at the other end.
#[derive(Debug)]
struct About {
    clock: NodeClock,
    facts: Arc<NodeFacts>,
    activity: Arc<Activity>,
    /// Whether the node speaks RESP3, which notifications need.
    can_subscribe: bool,
    is_subscribed: AtomicBool,
}

/// A reading of a node's wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    pub(super) at: Moment,
    pub(super) wall_micros: u64,
}

impl NodeClock {
    /// The node's wall clock at `now`, extrapolated by our own clock.
    pub(crate) fn wall_micros(self, now: Moment) -> u64 {
        let since = u64::try_from(self.at.until(now).as_micros()).unwrap_or(u64::MAX);
        self.wall_micros.saturating_add(since)
    }
}

impl Link {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the node can notify us.
    pub(crate) fn subscription(&self) -> Subscription {
        if self.about.is_subscribed.load(Ordering::Relaxed) {
            Subscription::Active
        } else {
            Subscription::Absent
        }
    }

    pub(super) fn can_subscribe(&self) -> bool {
        self.about.can_subscribe
    }

    /// Tries again to be notified by the node.
    pub(super) async fn subscribe(&self, notifications: &Notifications, node: &str) {
        let subscription = notifications.listen(&self.connection, node).await;
        self.about.is_subscribed.store(subscription == Subscription::Active, Ordering::Relaxed);
    }

    /// The node's wall clock at `now`, extrapolated by our own clock since we connected.
    pub(crate) fn wall_micros(&self, now: Moment) -> u64 {
        self.about.clock.wall_micros(now)
    }

    pub(crate) fn facts(&self) -> &Arc<NodeFacts> {
        &self.about.facts
    }

    /// Observes the node again. Cancel safe.
    pub(super) async fn observe(&self, observer: &Observer) -> Result<(), Refusal> {
        observer.observe(&self.connection, ObservationKind::Repeated).await.map(|_| ())
    }

    /// Sends a command, see [`Command::send`]. The command is queued at the first poll.
    pub(crate) async fn send<C: Command>(self, command: C) -> Result<C::Reply, NodeFailure> {
        let reply = command.send(self.connection).await;
        if let Err(NodeFailure::ReadOnly { .. }) = reply {
            // The server is not the master any more that it was when we observed it.
            self.about.activity.distrust();
        }
        reply
    }

    /// As [`send`](Self::send), but the command is queued now, ahead of everything that is sent on this connection
    /// later.
    pub(crate) fn send_now<C: Command>(
        self,
        command: C,
    ) -> BoxFuture<'static, Result<C::Reply, NodeFailure>> {
        let mut answer = self.send(command).boxed();
        // The first poll queues the command, even if the task that we are in has used up its cooperative budget.
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
    /// The facts about the node, if the connection got that far.
    pub(super) facts: Option<Arc<NodeFacts>>,
}

impl From<NodeFailure> for Refusal {
    fn from(failure: NodeFailure) -> Self {
        Self { failure, facts: None }
    }
}

impl Connection {
    /// Opens a connection and observes the node, within `limit`.
    ///
    /// # Errors
    ///
    /// The reason why the node cannot be used.
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
            let dialed = dial(connector, &info, notifications).await?;
            let activity = Arc::clone(&dialed.activity);
            let observed = observer.observe(&dialed.connection, ObservationKind::First).await;
            let observed = observed.map_err(|refusal| activity.fault().map_or(refusal, Refusal::from))?;
            let subscription = dialed.listen(notifications, name).await;
            let Dialed { connection, driver, protocol, .. } = dialed;
            let Observed { facts, at, wall_micros } = observed;
            let clock = NodeClock { at, wall_micros };
            let about = Arc::new(About {
                clock,
                facts,
                activity: Arc::clone(&activity),
                can_subscribe: protocol.supports_resp3(),
                is_subscribed: AtomicBool::new(subscription == Subscription::Active),
            });
            Ok(Self { link: Link { connection, epoch, about }, activity, driver })
        };
        match tokio::time::timeout(limit, handshake).await {
            Ok(result) => result,
            Err(_) if !has_login.load(Ordering::Relaxed) => {
                Err(NodeFailure::Credentials { detail: format!("none within {limit:?}") }.into())
            }
            Err(_) => Err(failure::of_connect_timeout(limit).into()),
        }
    }

    /// Gives up the connection and the commands in flight on it.
    pub(super) fn abandon(self) {
        self.activity.abandon();
    }
}

/// The task that moves the bytes. Dropping the driver aborts the task and closes the stream; a handshake that is
/// dropped midway does the same.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }

    /// Returns when the connection has ended. Cancel safe.
    pub(super) async fn ended(&mut self) {
        // The task cannot panic, and nothing else aborts it, so an error means an end as well.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
