//! One master: its supervised connection and the commands it understands. Nothing here knows of quorums.
//!
//! A [`Node`] is a handle. Behind it runs one supervisor task, which connects in the background, notices a dead
//! or hung peer, and sees to it that every release that was handed to it reaches the node or outlives its TTL.
//! Commands do not pass through that task: callers send on a clone of the live connection.

mod commands;
mod connection;
mod facts;
mod failure;
mod greet;
mod releases;
mod roster;
mod scripts;
mod sentinel;
mod stream;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod trim;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::RedisConnectionInfo;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::NodeFailure;
use crate::types::{Ambient, Eviction, Moment, NodeId, Secret};
use connection::Refusal;

pub(crate) use commands::{
    Acquire, Acquired, Answer, Command, Extend, ExtendMany, FENCES, Fence, RaiseFence, ReadClock, ReadFence,
    Remove,
};
pub(crate) use connection::{Epoch, Link};
pub use facts::NodeFacts;
pub(crate) use greet::Declare;
pub use greet::Declared;
pub(crate) use releases::{Planting, Release};
pub use roster::Others;
pub(crate) use roster::Roster;
pub(crate) use sentinel::Sentinel;
pub(crate) use stream::{Connector, Tcp, Transport};
#[cfg(feature = "tls")]
pub(crate) use tls::TlsClient;
pub(crate) use trim::Trimming;
pub(crate) use view::{CountClients, KeyKind, Seen, View};

/// An answer under way.
pub(crate) type Answering = BoxFuture<'static, Result<Answer, NodeFailure>>;

/// What a node is to its supervisor.
pub(crate) struct NodeConfig {
    /// How the node is called in every message.
    pub(crate) name: Arc<str>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) login: Login,
    pub(crate) db: i64,
    /// Limit of one connection attempt, handshake included.
    pub(crate) connect_timeout: Duration,
    /// A peer that answers nothing for so long is abandoned.
    pub(crate) hung_after: Duration,
    /// Which fencing tokens are to be forgotten; `None` leaves them all.
    pub(crate) trimming: Option<Trimming>,
    /// Its place among the nodes of the client.
    pub(crate) node: NodeId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) eviction: Eviction,
}

/// Who we are to a server.
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Login {
    fn to(&self, db: i64) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(db).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.reveal());
        }
        info
    }
}

/// The connection as callers see it.
#[derive(Clone, Debug)]
enum State {
    Connecting,
    Up(Link),
    Down(Refusal),
}

/// What callers ask of the supervisor. The queue is unbounded for `Drop` to be able to use it; the supervisor
/// always drains it and bounds what it keeps.
enum Request {
    /// Send it, and again after a reconnect.
    Release(Release),
    /// It was sent by the caller: await the answer, and send it again if there is none.
    Await(Release, Answering),
    /// Answer when no release is on its way any more.
    Flush(oneshot::Sender<()>),
}

/// Handle on one node. When the last one is dropped, the supervisor finishes the releases that it holds and ends.
pub(crate) struct Node {
    name: Arc<str>,
    state: watch::Receiver<State>,
    requests: mpsc::UnboundedSender<Request>,
    /// How many releases the supervisor has seen answered.
    answered: Arc<AtomicU64>,
}

impl Node {
    /// Starts the supervisor; must be called within a tokio runtime.
    pub(crate) fn start(config: NodeConfig, ambient: Arc<dyn Ambient>) -> Self {
        let (publish, state) = watch::channel(State::Connecting);
        let (requests, inbox) = mpsc::unbounded_channel();
        let name = Arc::clone(&config.name);
        let info = config.login.to(config.db);
        let answered = Arc::new(AtomicU64::new(0));
        tokio::spawn(supervisor::run(config, info, ambient, publish, inbox, Arc::clone(&answered)));
        Self { name, state, requests, answered }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The live connection, at once, or why there is none.
    pub(crate) fn link(&self) -> Result<Link, NodeFailure> {
        match &*self.state.borrow() {
            State::Up(link) => Ok(link.clone()),
            State::Connecting => Err(NodeFailure::Connecting),
            State::Down(refusal) => Err(refusal.failure.clone()),
        }
    }

    /// What the node said of itself when we last met it; `None` before, and when it cannot be asked.
    pub(crate) fn facts(&self) -> Option<Arc<NodeFacts>> {
        match &*self.state.borrow() {
            State::Up(link) => Some(Arc::clone(link.facts())),
            State::Connecting => None,
            State::Down(refusal) => refusal.facts.clone(),
        }
    }

    /// Returns when the first connection attempt has ended, one way or the other. Cancel safe.
    pub(crate) async fn tried(&self) {
        let mut state = self.state.clone();
        // An error means that the supervisor has ended: it will not try any more.
        let _ = state.wait_for(|state| !matches!(state, State::Connecting)).await;
    }

    /// Sends a release and hands it over. It is queued ahead of whatever this client asks of the node from now on,
    /// so that an attempt never meets the keys of the one before it. Never blocks, never fails: what a stopped
    /// runtime cannot send ends with its TTL.
    pub(crate) fn release(&self, mut release: Release, now: Moment) {
        let Ok(link) = self.link() else {
            let _ = self.requests.send(Request::Release(release));
            return;
        };
        release.prepare(link.epoch(), now);
        let answer = link.send_now(Remove::new(&release.resource, &release.token));
        self.await_release(release, answer);
    }

    /// Hands over a release whose answer is still under way.
    pub(crate) fn await_release(&self, release: Release, answer: Answering) {
        let _ = self.requests.send(Request::Await(release, answer));
    }

    /// Returns when every release handed over so far is answered, or cannot be sent for now, or when for `limit` none
    /// has been answered. Cancel safe.
    pub(crate) async fn flush(&self, limit: Duration) {
        let (done, mut flushed) = oneshot::channel();
        if self.requests.send(Request::Flush(done)).is_err() {
            return;
        }
        loop {
            let before = self.answered.load(Ordering::Relaxed);
            let ended = tokio::time::timeout(limit, &mut flushed).await.is_ok();
            if ended || self.answered.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}
