//! The task that owns a node's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::RedisConnectionInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::commands::{Called, Remove, Removed};
use super::connection::{Connection, Epoch, Link, Refusal, Visitor};
use super::releases::{Release, Waiting};
use super::roster::keep_told;
use super::trim::keep_trimming;
use super::{NodeConfig, Request, State, failure};
use crate::error::NodeFailure;
use crate::types::{Ambient, Wake};

/// Pause before the second connection attempt; doubles with each further one.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a node that is back is used again about that soon.
const RECONNECT_LONGEST: Duration = Duration::from_secs(1);
/// How often releases that failed or may have been overtaken are sent again.
const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// Runs until every handle is dropped and no release is left to be sent.
pub(super) async fn run(
    config: NodeConfig,
    info: RedisConnectionInfo,
    ambient: Arc<dyn Ambient>,
    publish: watch::Sender<State>,
    inbox: mpsc::UnboundedReceiver<Request>,
    answered: Arc<AtomicU64>,
) {
    let mut supervisor = Supervisor {
        config,
        info,
        ambient,
        publish,
        inbox,
        handles: Handles::Alive,
        epoch: Epoch::FIRST,
        waiting: Waiting::default(),
        sent: FuturesUnordered::new(),
        notices: FuturesUnordered::new(),
        flushes: Vec::new(),
        answered,
    };
    while let Some(mut connection) = supervisor.connect().await {
        supervisor.config.calls.listener.handle_up();
        supervisor.publish.send_replace(State::Up(connection.link.clone()));
        info!(node = %supervisor.config.name, "node is up");
        let end = supervisor.serve(&mut connection).await;
        match end {
            End::Finished => return supervisor.config.calls.listener.handle_finished(),
            End::Lost(failure) => {
                warn!(node = %supervisor.config.name, reason = %failure, "node is down");
                supervisor.config.calls.listener.handle_down(&failure);
                supervisor.publish.send_replace(State::Down(failure.into()));
                connection.abandon();
                supervisor.collect_unanswered().await;
            }
        }
    }
}

struct Supervisor {
    config: NodeConfig,
    info: RedisConnectionInfo,
    ambient: Arc<dyn Ambient>,
    publish: watch::Sender<State>,
    inbox: mpsc::UnboundedReceiver<Request>,
    handles: Handles,
    epoch: Epoch,
    waiting: Waiting,
    sent: FuturesUnordered<BoxFuture<'static, (Release, Result<Removed, NodeFailure>)>>,
    notices: FuturesUnordered<BoxFuture<'static, Result<(), NodeFailure>>>,
    flushes: Vec<oneshot::Sender<()>>,
    answered: Arc<AtomicU64>,
}

/// Whether anybody can still ask for something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handles {
    Alive,
    Dropped,
}

/// Why a connection is not served any more.
enum End {
    /// Nobody is left who could ask, and nothing is left to be sent.
    Finished,
    Lost(NodeFailure),
}

impl Supervisor {
    /// A usable connection, however long it takes; `None` when nobody needs one any more.
    async fn connect(&mut self) -> Option<Connection> {
        let mut pause = RECONNECT_FIRST;
        loop {
            self.epoch = self.epoch.next();
            match self.attempt().await? {
                Ok(connection) => return Some(connection),
                Err(refusal) => self.publish_refusal(refusal),
            }
            // Half fixed, half random: clients that lost a node together do not come back together.
            let jitter = u32::try_from(self.ambient.random() >> 118).unwrap_or(0);
            let wait = pause / 2 + pause / 2 * jitter / 1024;
            self.meanwhile(tokio::time::sleep(wait).boxed()).await?;
            pause = (pause * 2).min(RECONNECT_LONGEST);
        }
    }

    async fn attempt(&mut self) -> Option<Result<Connection, Refusal>> {
        // Moved out for the time of the attempt, so that requests can be handled meanwhile.
        let connector = Arc::clone(&self.config.connector);
        let (calls, name) = (self.config.calls.clone(), Arc::clone(&self.config.name));
        let (info, epoch, limit) = (self.info.clone(), self.epoch, self.config.connect_timeout);
        let ambient = Arc::clone(&self.ambient);
        let (roster, node, eviction) =
            (Arc::clone(&self.config.roster), self.config.node, self.config.eviction);
        let attempt = async move {
            let management = connector.management();
            let (name, calls, roster, ambient) = (&*name, &calls, &*roster, &*ambient);
            let visitor = Visitor { name, calls, node, roster, eviction, management, ambient };
            Connection::open(&*connector, &info, epoch, limit, &visitor).await
        };
        self.meanwhile(attempt.boxed()).await
    }

    fn publish_refusal(&self, refusal: Refusal) {
        let news = match &*self.publish.borrow() {
            State::Down(known) => known.failure != refusal.failure,
            State::Connecting | State::Up(_) => true,
        };
        if news {
            let reason = &refusal.failure;
            warn!(node = %self.config.name, %reason, "cannot be used; trying on in the background");
        }
        self.publish.send_replace(State::Down(refusal));
    }

    /// Awaits `future` while there is no connection, and keeps the requests that come in. `None` when nobody
    /// needs a connection any more.
    async fn meanwhile<T>(&mut self, mut future: BoxFuture<'_, T>) -> Option<T> {
        loop {
            self.answer_flushes();
            if self.handles == Handles::Dropped {
                self.waiting.drop_expired(self.ambient.now());
                if self.is_finished() {
                    return None;
                }
            }
            tokio::select! {
                result = &mut future => return Some(result),
                request = self.inbox.recv(), if self.handles == Handles::Alive => match request {
                    Some(Request::Release(release)) => self.waiting.push(release),
                    Some(request) => self.handle_common(request),
                    None => self.handles = Handles::Dropped,
                },
                Some((release, answer)) = self.sent.next() => self.handle_answer(release, &answer),
                Some(answer) = self.notices.next() => self.handle_noticed(&answer),
            }
        }
    }

    /// Serves a live connection until it is lost or not needed any more.
    async fn serve(&mut self, connection: &mut Connection) -> End {
        let link = connection.link.clone();
        let hung_after = self.config.hung_after;
        let mut hung = std::pin::pin!(connection.activity.hung(hung_after));
        let trimming = self.config.trimming.clone();
        let trimming = keep_trimming(link.clone(), self.config.node, trimming, Arc::clone(&self.ambient));
        let mut trimming = std::pin::pin!(trimming);
        let telling = keep_told(link.clone(), self.config.node, Arc::clone(&self.config.roster));
        let mut telling = std::pin::pin!(telling);
        let connector = Arc::clone(&self.config.connector);
        let mut superseded = connector.superseded();
        let mut repeat = tokio::time::interval(REPEAT_EVERY);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send_waiting(&link);
        loop {
            self.answer_flushes();
            if self.handles == Handles::Dropped && self.is_finished() {
                return End::Finished;
            }
            tokio::select! {
                request = self.inbox.recv(), if self.handles == Handles::Alive => match request {
                    Some(Request::Release(release)) => self.send(&link, release),
                    Some(request) => self.handle_common(request),
                    None => self.handles = Handles::Dropped,
                },
                Some((release, answer)) = self.sent.next() => self.handle_answer(release, &answer),
                Some(answer) = self.notices.next() => self.handle_noticed(&answer),
                _ = repeat.tick(), if !self.waiting.is_empty() => self.send_waiting(&link),
                () = connection.driver.ended() => {
                    return End::Lost(NodeFailure::ConnectionLost { detail: "closed by the server".into() });
                }
                never = &mut trimming => match never {},
                never = &mut telling => match never {},
                () = connection.activity.distrusted() => {
                    return End::Lost(NodeFailure::ReadOnly { detail: "it does not take writes any more".into() });
                }
                failure = &mut superseded => return End::Lost(failure),
                () = &mut hung => return End::Lost(failure::of_hung_connection(hung_after)),
            }
        }
    }

    fn handle_common(&mut self, request: Request) {
        match request {
            Request::Await(release, answer) => self.sent.push(answer.map(|answer| (release, answer)).boxed()),
            Request::Notice(answered) => self.notices.push(answered),
            Request::Flush(done) => self.flushes.push(done),
            Request::Release(release) => self.waiting.push(release),
        }
    }

    fn handle_answer(&mut self, release: Release, answer: &Result<Removed, NodeFailure>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(Removed { key: _, called: Called::Somebody }) => {
                self.config.calls.listener.handle_wanted(&release.resource);
            }
            Ok(Removed { key: _, called: Called::Nobody }) | Err(_) => {}
        }
        if answer.is_err() || !release.is_settled_by_an_answer() {
            self.waiting.push(release);
        }
    }

    fn handle_noticed(&self, answer: &Result<(), NodeFailure>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = answer {
            debug!(node = %self.config.name, reason = %failure, "not heard");
        }
    }

    fn send_waiting(&mut self, link: &Link) {
        for release in self.waiting.take(self.ambient.now()) {
            self.send(link, release);
        }
    }

    fn send(&mut self, link: &Link, mut release: Release) {
        release.prepare(link.epoch(), self.ambient.now());
        // Whoever was to see to it has long tried.
        release.wake = Wake::Next;
        let command =
            Remove::new(&release.resource, release.token.as_bytes(), release.wake, self.config.grace);
        let answer = link.clone().send(command);
        self.sent.push(answer.map(|answer| (release, answer)).boxed());
    }

    /// The connection is gone, so every command on it ends with an error now; what they would have released waits
    /// for the next one.
    async fn collect_unanswered(&mut self) {
        while let Some((release, answer)) = self.sent.next().await {
            self.handle_answer(release, &answer);
        }
    }

    fn answer_flushes(&mut self) {
        self.config.calls.listener.handle_pending(self.sent.len() + self.waiting.len());
        if self.sent.is_empty() && self.notices.is_empty() {
            for done in self.flushes.drain(..) {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.sent.is_empty() && self.notices.is_empty() && self.waiting.is_empty()
    }
}
