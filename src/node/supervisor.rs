//! The supervisor: the task that owns a node's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::backlog::{Backlog, Waiting};
use super::batch::RemoveMany;
use super::commands::{Remove, Removed};
use super::connection::{Connection, Epoch, Link, Refusal};
use super::connection_log::{ConnectionLog, LogLine};
use super::observe::{Observer, keep_observing};
use super::push::keep_subscribing;
use super::reconnect::{ConnectAttempt, Explanation, Pauses, STEADY_AFTER};
use super::releases::Release;
use super::trim::keep_trimming;
use super::{NodeConfig, Request, State, failure};
use crate::error::NodeFailure;
use crate::types::{Ambient, Published};

/// Runs until every handle is dropped and no release is left to send.
pub(super) fn run(
    config: NodeConfig,
    ambient: Arc<dyn Ambient>,
    state: Arc<Published<State>>,
    inbox: mpsc::UnboundedReceiver<Request>,
    answered: Arc<AtomicU64>,
) -> impl Future<Output = ()> + Send {
    // The supervisor is made here and not in the task, because a runtime that has ended drops a task before its first
    // step, and `Drop` below has to run then.
    let supervisor = Supervisor {
        config,
        ambient,
        state,
        inbox,
        has_handles: true,
        epoch: Epoch::FIRST,
        pauses: Pauses::default(),
        explanation: Explanation::default(),
        connection_log: ConnectionLog::default(),
        backlog: Backlog::default(),
        sent: FuturesUnordered::new(),
        unanswered: 0,
        notices: FuturesUnordered::new(),
        flushes: Vec::new(),
        answered,
    };
    supervisor.run()
}

/// Releases that were sent in one command, and the node's answer to each.
type Sent = BoxFuture<'static, (Vec<Waiting>, Result<Vec<Removed>, NodeFailure>)>;

struct Supervisor {
    config: NodeConfig,
    ambient: Arc<dyn Ambient>,
    state: Arc<Published<State>>,
    inbox: mpsc::UnboundedReceiver<Request>,
    /// Whether a handle is left, so that there may be requests.
    has_handles: bool,
    epoch: Epoch,
    pauses: Pauses,
    explanation: Explanation,
    connection_log: ConnectionLog,
    backlog: Backlog,
    sent: FuturesUnordered<Sent>,
    /// The number of releases in `sent`.
    unanswered: usize,
    notices: FuturesUnordered<BoxFuture<'static, Result<(), NodeFailure>>>,
    flushes: Vec<oneshot::Sender<()>>,
    answered: Arc<AtomicU64>,
}

/// Why the supervisor stops serving a connection.
enum End {
    /// No handle is left, and nothing is left to send.
    Finished,
    Lost(Refusal),
}

impl Drop for Supervisor {
    /// Reports [`NodeFailure::RuntimeEnded`] if the supervisor is dropped before it has finished, because its runtime
    /// has ended.
    fn drop(&mut self) {
        if !self.has_handles {
            return;
        }
        let failure = NodeFailure::RuntimeEnded;
        if self.is_connected() {
            self.config.notifications.listener.handle_down(&failure);
        }
        self.config.notifications.listener.handle_pending(0);
        self.state.set(State::Down(failure.into()));
    }
}

impl Supervisor {
    async fn run(mut self) {
        while let Some(mut connection) = self.connect().await {
            self.config.notifications.listener.handle_up();
            self.state.set(State::Up(connection.link.clone()));
            self.handle_up();
            let end = self.serve(&mut connection).await;
            match end {
                End::Finished => return self.config.notifications.listener.handle_finished(),
                End::Lost(refusal) => {
                    self.tell_lost(&refusal.failure);
                    self.config.roster.handle_down(self.config.node);
                    self.config.notifications.listener.handle_down(&refusal.failure);
                    self.state.set(State::Down(refusal));
                    connection.abandon();
                    self.collect_unanswered().await;
                    let pause = self.pauses.handle_lost(self.ambient.now(), self.ambient.random());
                    if self.meanwhile(tokio::time::sleep(pause).boxed()).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Returns a usable connection, however long that takes; `None` when nobody needs one any more.
    async fn connect(&mut self) -> Option<Connection> {
        loop {
            self.epoch = self.epoch.next();
            let (connector, explanation) = (Arc::clone(&self.config.connector), self.explanation.clone());
            let connect_attempt = Arc::new(ConnectAttempt::new(connector, explanation, self.ambient.now()));
            match self.attempt(Arc::clone(&connect_attempt)).await? {
                Ok(connection) => return Some(connection),
                Err(refusal) => self.publish_refusal(refusal),
            }
            let pause = self.pauses.handle_failed(connect_attempt.peer(), self.ambient.random());
            self.meanwhile(tokio::time::sleep(pause).boxed()).await?;
        }
    }

    async fn attempt(&mut self, connector: Arc<ConnectAttempt>) -> Option<Result<Connection, Refusal>> {
        // The attempt gets copies, so that `self` can handle requests in the meantime.
        let (notifications, name) = (self.config.notifications.clone(), Arc::clone(&self.config.name));
        let (login, db) = (self.config.login.clone(), self.config.db);
        let (epoch, limit) = (self.epoch, self.config.connect_timeout);
        let observer = self.observer();
        let attempt = async move {
            Connection::open(&*connector, (&login, db), epoch, limit, (&name, &notifications, &observer))
                .await
        };
        self.meanwhile(attempt.boxed()).await
    }

    fn observer(&self) -> Observer {
        let NodeConfig { node, roster, eviction, connector, .. } = &self.config;
        Observer {
            node: *node,
            roster: Arc::clone(roster),
            eviction: *eviction,
            management: connector.management(),
            ambient: Arc::clone(&self.ambient),
        }
    }

    fn publish_refusal(&mut self, refusal: Refusal) {
        self.config.roster.handle_down(self.config.node);
        let (node, reason) = (&self.config.name, &refusal.failure);
        match self.connection_log.handle_failure(reason, self.ambient.now()) {
            LogLine::Write { repeated } => {
                warn!(%node, %reason, repeated, "cannot be used; trying on in the background");
            }
            LogLine::Skip => debug!(%node, %reason, "failed again"),
        }
        self.state.set(State::Down(refusal));
    }

    fn tell_lost(&mut self, reason: &NodeFailure) {
        let node = &self.config.name;
        match self.connection_log.handle_failure(reason, self.ambient.now()) {
            LogLine::Write { repeated } => warn!(%node, %reason, repeated, "node is down"),
            LogLine::Skip => debug!(%node, %reason, "failed again"),
        }
    }

    fn handle_up(&mut self) {
        let now = self.ambient.now();
        self.pauses.handle_up(now);
        self.backlog.handle_connected(now);
        let line = self.connection_log.handle_up();
        self.tell_up(line);
    }

    fn tell_up(&self, line: LogLine) {
        match line {
            LogLine::Write { repeated } => info!(node = %self.config.name, repeated, "node is up"),
            LogLine::Skip => {}
        }
    }

    /// Awaits `future` while there is no connection, and keeps the requests that arrive. Returns `None` when nobody
    /// needs a connection any more.
    async fn meanwhile<T>(&mut self, mut future: BoxFuture<'_, T>) -> Option<T> {
        loop {
            self.answer_flushes();
            if !self.has_handles {
                self.backlog.drop_expired(self.ambient.now());
                if self.is_finished() {
                    return None;
                }
            }
            tokio::select! {
                // In the order of urgency, and the same in every run. Requests come last because they may never end.
                biased;
                result = &mut future => return Some(result),
                Some((told, answer)) = self.sent.next() => self.handle_answer(told, answer),
                Some(answer) = self.notices.next() => self.handle_noticed(&answer),
                request = self.inbox.recv(), if self.has_handles => match request {
                    Some(request) => self.handle_request(request),
                    None => self.has_handles = false,
                },
            }
        }
    }

    /// Serves a live connection until the connection is lost or not needed any more.
    async fn serve(&mut self, connection: &mut Connection) -> End {
        let link = connection.link.clone();
        let hung_after = self.config.hung_after;
        let mut hung = std::pin::pin!(connection.activity.hung(hung_after));
        let trimming = self.config.trimming.clone();
        let trimming = keep_trimming(link.clone(), self.config.node, trimming, Arc::clone(&self.ambient));
        let mut trimming = std::pin::pin!(trimming);
        let mut looking = std::pin::pin!(keep_observing(link.clone(), self.observer()));
        let (notifications, name) = (self.config.notifications.clone(), Arc::clone(&self.config.name));
        let mut subscribing = std::pin::pin!(keep_subscribing(link.clone(), notifications, name));
        let connector = Arc::clone(&self.config.connector);
        let mut superseded = connector.superseded();
        let mut steady = std::pin::pin!(tokio::time::sleep(STEADY_AFTER).fuse());
        loop {
            self.send_due(&link);
            self.answer_flushes();
            if !self.has_handles && self.is_finished() {
                return End::Finished;
            }
            let wait = self.backlog.wait(self.ambient.now());
            tokio::select! {
                // As in `meanwhile`: first what ends the connection, then answers, then requests.
                biased;
                refusal = &mut looking => return End::Lost(refusal),
                () = connection.driver.ended() => {
                    return lost(NodeFailure::ConnectionLost { detail: "closed by the server".into() });
                }
                () = connection.activity.distrusted() => {
                    return lost(NodeFailure::ReadOnly { detail: "it does not take writes any more".into() });
                }
                failure = &mut superseded => return lost(failure),
                () = &mut hung => return lost(failure::of_hung_connection(hung_after)),
                () = &mut steady => {
                    let line = self.connection_log.handle_steady();
                    self.tell_up(line);
                }
                never = &mut trimming => match never {},
                never = &mut subscribing => match never {},
                Some((told, answer)) = self.sent.next() => self.handle_answer(told, answer),
                Some(answer) = self.notices.next() => self.handle_noticed(&answer),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                request = self.inbox.recv(), if self.has_handles => match request {
                    Some(request) => self.handle_request(request),
                    None => self.has_handles = false,
                },
            }
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::Await(release, answer) => {
                self.watch(vec![Waiting::new(release)], async { answer.await.map(|removed| vec![removed]) });
            }
            Request::Notice(answered) => self.notices.push(answered),
            Request::Flush(done) => self.flushes.push(done),
            Request::Release(release) => self.backlog.push(Waiting::new(release), self.ambient.now()),
        }
    }

    fn watch(
        &mut self,
        told: Vec<Waiting>,
        answer: impl Future<Output = Result<Vec<Removed>, NodeFailure>> + Send + 'static,
    ) {
        self.unanswered += told.len();
        self.sent.push(answer.map(|answer| (told, answer)).boxed());
    }

    fn handle_answer(&mut self, told: Vec<Waiting>, answer: Result<Vec<Removed>, NodeFailure>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.unanswered -= told.len();
        let now = self.ambient.now();
        match answer {
            Ok(removed) => {
                for (waiting, Removed { key: _, notified }) in told.into_iter().zip(removed) {
                    if !notified.is_empty() {
                        self.config.notifications.listener.handle_wanted(&waiting.release.claim, notified);
                    }
                    if !waiting.release.is_settled_by_an_answer() {
                        self.backlog.repeat(waiting, now);
                    }
                }
            }
            Err(failure) => {
                told.into_iter().for_each(|waiting| self.backlog.handle_failure(waiting, &failure, now));
            }
        }
    }

    fn handle_noticed(&self, answer: &Result<(), NodeFailure>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = answer {
            debug!(node = %self.config.name, reason = %failure, "no answer about a queue");
        }
    }

    /// Sends the releases of the backlog that are due, in one command, or in two if locks are shared.
    fn send_due(&mut self, link: &Link) {
        let now = self.ambient.now();
        let mut due = self.backlog.take(now);
        for Waiting { release, .. } in &mut due {
            release.prepare(link.epoch(), now);
            // A local waiter to which the lock was handed over has tried long ago, so another client is notified now.
            release.notify = release.claim.all();
        }
        let (shared, others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|waiting| waiting.release.claim.is_shared());
        self.send_releases(link, others);
        self.send_releases(link, shared);
    }

    /// Sends releases in one command. All of them are of shared locks or none is.
    fn send_releases(&mut self, link: &Link, due: Vec<Waiting>) {
        let grace = self.config.grace;
        match &due[..] {
            [] => {}
            [Waiting { release: Release { claim, token, notify, .. }, .. }] => {
                let answer = link.clone().send(Remove::new(claim, token.as_bytes(), *notify, grace));
                self.watch(due, async { answer.await.map(|removed| vec![removed]) });
            }
            many => {
                let locks = many.iter().map(|Waiting { release, .. }| {
                    (&release.claim, release.token.as_bytes(), release.notify)
                });
                let answer = link.clone().send(RemoveMany::new(locks, grace));
                self.watch(due, answer);
            }
        }
    }

    /// Collects the answers to all releases that were sent. The connection is gone, so each command on it ends with
    /// an error now, and its releases go back to the backlog.
    async fn collect_unanswered(&mut self) {
        while let Some((told, answer)) = self.sent.next().await {
            self.handle_answer(told, answer);
        }
    }

    /// Answers the flushes if nothing is under way. Without a connection, due releases do not count, because they
    /// cannot be sent.
    fn answer_flushes(&mut self) {
        self.config.notifications.listener.handle_pending(self.unanswered + self.backlog.len());
        let is_due = self.is_connected() && self.backlog.is_due(self.ambient.now());
        if self.sent.is_empty() && self.notices.is_empty() && !is_due {
            for done in self.flushes.drain(..) {
                // The receiver may have been dropped.
                let _ = done.send(());
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.state.with(|state| matches!(state, State::Up(_)))
    }

    fn is_finished(&self) -> bool {
        self.sent.is_empty() && self.notices.is_empty() && self.backlog.is_empty()
    }
}

fn lost(failure: NodeFailure) -> End {
    End::Lost(failure.into())
}
