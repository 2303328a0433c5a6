//! One master: its supervised connection and the commands it understands. Nothing here knows of quorums.
//!
//! A [`Node`] is a handle. Behind it runs one supervisor task, which connects in the background, notices a dead
//! or hung peer, and sees to it that every release that was handed to it reaches the node or outlives its TTL.
//! Commands do not pass through that task: callers send on a clone of the live connection.

mod backlog;
mod batch;
mod commands;
mod connection;
mod connection_log;
mod declare;
mod facts;
mod failure;
mod inspect;
mod login;
mod mistaken;
mod observe;
mod permissions;
mod push;
mod queue;
mod reconnect;
mod record;
mod releases;
mod roster;
mod scripts;
mod sentinel;
mod stream;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod trim;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::NodeFailure;
use crate::types::{Ambient, Eviction, Moment, NodeId};
use connection::Refusal;

pub(crate) use commands::{
    Acquire, Acquired, Answer, Command, Extend, ExtendMany, FENCES, Fence, Notified, RaiseFence, ReadClock,
    ReadFence, Remove, Removed,
};
pub(crate) use connection::{Epoch, Link, NodeClock};
pub(crate) use declare::Declare;
pub use declare::Declared;
pub use facts::NodeFacts;
pub(crate) use inspect::{CountClients, KeyKind, Seen, View};
#[cfg(feature = "tls")]
pub(crate) use login::Ask;
pub(crate) use login::LoginSource;
pub(crate) use push::{Channel, Listener, Notifications, NotifyWarning, Subscription};
pub(crate) use queue::{Leave, Register};
pub(crate) use record::Forget;
pub(crate) use releases::{Release, SetStatus};
pub use roster::OtherClients;
pub(crate) use roster::Roster;
pub(crate) use sentinel::Sentinel;
pub(crate) use stream::{Connector, Tcp, Transport};
#[cfg(feature = "tls")]
pub(crate) use tls::TlsClient;
pub(crate) use trim::{Trimming, WallClock};

/// An answer to a release under way.
pub(crate) type Answering = BoxFuture<'static, Result<Removed, NodeFailure>>;

/// What a node is to its supervisor.
pub(crate) struct NodeConfig {
    /// How the node is called in every message.
    pub(crate) name: Arc<str>,
    pub(crate) connector: Arc<dyn Connector>,
    /// Who we are to it.
    pub(crate) login: LoginSource,
    pub(crate) db: i64,
    pub(crate) notifications: Notifications,
    /// For how long a waiter that was called is expected.
    pub(crate) grace: Duration,
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
    /// It was sent by the caller, and nobody waits for the answer: see to it that it is.
    Notice(BoxFuture<'static, Result<(), NodeFailure>>),
    /// Answer when nothing of the above is on its way any more.
    Flush(oneshot::Sender<()>),
}

/// Handle on one node. When the last one is dropped, the supervisor finishes the releases that it holds and ends.
pub(crate) struct Node {
    name: Arc<str>,
    grace: Duration,
    state: watch::Receiver<State>,
    requests: mpsc::UnboundedSender<Request>,
    /// How many of them the supervisor has seen answered.
    answered: Arc<AtomicU64>,
}

impl Node {
    /// Starts the supervisor; must be called within a tokio runtime.
    pub(crate) fn start(config: NodeConfig, ambient: Arc<dyn Ambient>) -> Self {
        let (publish, state) = watch::channel(State::Connecting);
        let (requests, inbox) = mpsc::unbounded_channel();
        let (name, grace) = (Arc::clone(&config.name), config.grace);
        let answered = Arc::new(AtomicU64::new(0));
        tokio::spawn(supervisor::run(config, ambient, publish, inbox, Arc::clone(&answered)));
        Self { name, grace, state, requests, answered }
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

    /// Something of the live connection, without a handle on it; `None` where there is none.
    pub(crate) fn of_live<T>(&self, of: impl FnOnce(&Link) -> T) -> Option<T> {
        match &*self.state.borrow() {
            State::Up(link) => Some(of(link)),
            State::Connecting | State::Down(_) => None,
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

    /// Returns when the connection is another one than that of `epoch`, or none. Cancel safe.
    pub(crate) async fn left(&self, epoch: Epoch) {
        let mut state = self.state.clone();
        let other = |state: &State| match state {
            State::Up(link) => link.epoch() != epoch,
            State::Connecting | State::Down(_) => true,
        };
        // An error means that the supervisor has ended: the connection is gone, too.
        let _ = state.wait_for(other).await;
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
        let remove = Remove::new(&release.resource, release.token.as_bytes(), release.wake, self.grace);
        self.await_release(release, link.send_now(remove));
    }

    /// Sends a command whose answer nobody waits for, ahead of whatever this client asks of the node from now on. Not
    /// sent where there is no connection. Never blocks.
    pub(crate) fn notify(&self, command: impl Command<Reply = ()>) {
        if let Ok(link) = self.link() {
            let _ = self.requests.send(Request::Notice(link.send_now(command)));
        }
    }

    /// Hands over a release whose answer is still under way.
    pub(crate) fn await_release(&self, release: Release, answer: Answering) {
        let _ = self.requests.send(Request::Await(release, answer));
    }

    /// Returns when everything handed over so far is answered, or cannot be sent for now, or when for `limit` nothing
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
