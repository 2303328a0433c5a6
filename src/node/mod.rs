//! One Redis master: its supervised connection and the commands it understands. Nothing here knows of quorums.
//!
//! A [`Node`] is a handle. Behind the handle runs one supervisor task. The supervisor connects in the background,
//! notices a dead or unresponsive server, and retries each release that was handed to it until the node has answered
//! or the TTL has passed. Commands do not pass through the supervisor: callers send them on a clone of the live
//! connection.

mod backlog;
mod batch;
mod clocks;
mod commands;
mod connection;
mod connection_log;
mod declare;
mod extend;
mod facts;
mod failure;
mod inspect;
mod lent;
mod login;
mod many;
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
mod semaphore;
mod sentinel;
mod shared;
mod stream;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod trim;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::NodeFailure;
use crate::types::{Ambient, Eviction, Moment, NodeId, Published};
use connection::Refusal;

pub(crate) use clocks::Clocks;
pub(crate) use commands::{
    Acquire, Acquired, Answer, Answered, Command, Denial, FENCES, Fence, RaiseFence, ReadClock, ReadFence,
    Remove, Removed, Score,
};
pub(crate) use connection::{Epoch, Link, NodeClock};
pub(crate) use declare::Declare;
pub use declare::Declared;
pub(crate) use extend::{Extend, ExtendMany};
pub use facts::NodeFacts;
pub(crate) use inspect::{CountClients, InspectKey, KeyKind, KeySnapshot};
#[cfg(feature = "tls")]
pub(crate) use login::Ask;
pub(crate) use login::LoginSource;
pub(crate) use many::TakenKey;
pub(crate) use push::{Channel, Listener, Notifications, NotifyWarning, Subscription};
pub(crate) use queue::{ForWhom, Leave, Register, Registered};
pub(crate) use record::Forget;
pub(crate) use releases::{Release, SetStatus};
pub(crate) use roster::Roster;
pub use roster::{ListInUse, OtherClients};
pub(crate) use sentinel::Sentinel;
pub(crate) use shared::Intend;
pub(crate) use stream::{Connector, Tcp, Transport};
#[cfg(test)]
pub(crate) use stream::{Management, Stream};
#[cfg(feature = "tls")]
pub(crate) use tls::TlsClient;
pub(crate) use trim::{Trimming, WallClock};

/// The pending answer to a release.
pub(crate) type Answering = BoxFuture<'static, Result<Removed, NodeFailure>>;

/// The settings of a node's supervisor.
pub(crate) struct NodeConfig {
    /// The node's name in all messages.
    pub(crate) name: Arc<str>,
    pub(crate) connector: Arc<dyn Connector>,
    /// The credentials for this node.
    pub(crate) login: LoginSource,
    pub(crate) db: i64,
    pub(crate) notifications: Notifications,
    /// How long a notified waiter has for its attempt.
    pub(crate) grace: Duration,
    /// The limit of one connection attempt, handshake included.
    pub(crate) connect_timeout: Duration,
    /// A connection on which nothing has been answered for this time is given up.
    pub(crate) hung_after: Duration,
    /// Which fencing tokens to remove; `None` keeps them all.
    pub(crate) trimming: Option<Trimming>,
    /// The node's index among the nodes of the client.
    pub(crate) node: NodeId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) eviction: Eviction,
}

/// The state of the connection as callers see it.
#[derive(Clone, Debug)]
enum State {
    Connecting,
    Up(Link),
    Down(Refusal),
}

/// A request to the supervisor. The channel is unbounded, so that `Drop` can use it; the supervisor always drains it
/// and bounds what it keeps.
enum Request {
    /// Send this release, and again after a reconnect.
    Release(Release),
    /// The caller has sent this release: await the answer, and send the release again if there is none.
    Await(Release, Answering),
    /// The caller has sent this command and does not await the answer: await it in the caller's place.
    Notice(BoxFuture<'static, Result<(), NodeFailure>>),
    /// Answer when none of the above is under way any more.
    Flush(oneshot::Sender<()>),
}

/// A handle on one node. When the last handle is dropped, the supervisor finishes the releases that it holds and
/// ends.
pub(crate) struct Node {
    name: Arc<str>,
    grace: Duration,
    state: Arc<Published<State>>,
    requests: mpsc::UnboundedSender<Request>,
    /// A count that grows with each answer that the supervisor sees.
    answered: Arc<AtomicU64>,
}

impl Node {
    /// Starts the supervisor. The caller must be in a tokio runtime.
    pub(crate) fn start(config: NodeConfig, ambient: Arc<dyn Ambient>) -> Self {
        let state = Arc::new(Published::new(State::Connecting));
        let (requests, inbox) = mpsc::unbounded_channel();
        let (name, grace) = (Arc::clone(&config.name), config.grace);
        let answered = Arc::new(AtomicU64::new(0));
        tokio::spawn(supervisor::run(config, ambient, Arc::clone(&state), inbox, Arc::clone(&answered)));
        Self { name, grace, state, requests, answered }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the live connection at once, or why there is none.
    pub(crate) fn link(&self) -> Result<Link, NodeFailure> {
        self.state.with(|state| match state {
            State::Up(link) => Ok(link.clone()),
            State::Connecting => Err(NodeFailure::Connecting),
            State::Down(refusal) => Err(refusal.failure.clone()),
        })
    }

    /// Returns what `of` takes from the live connection, without a handle on the connection; `None` where there is
    /// none.
    pub(crate) fn of_live<T>(&self, of: impl FnOnce(&Link) -> T) -> Option<T> {
        self.state.with(|state| match state {
            State::Up(link) => Some(of(link)),
            State::Connecting | State::Down(_) => None,
        })
    }

    /// Returns what the node said of itself at the last observation; `None` before the first one, and while the node
    /// cannot be asked.
    pub(crate) fn facts(&self) -> Option<Arc<NodeFacts>> {
        self.state.with(|state| match state {
            State::Up(link) => Some(Arc::clone(link.facts())),
            State::Connecting => None,
            State::Down(refusal) => refusal.facts.clone(),
        })
    }

    /// Returns when the connection of `epoch` is gone. Cancel safe.
    pub(crate) async fn left(&self, epoch: Epoch) {
        let other = |state: &State| match state {
            State::Up(link) => link.epoch() != epoch,
            State::Connecting | State::Down(_) => true,
        };
        self.state.wait_for(other).await;
    }

    /// Returns when the first connection attempt has succeeded or failed. Cancel safe.
    pub(crate) async fn tried(&self) {
        self.state.wait_for(|state| !matches!(state, State::Connecting)).await;
    }

    /// Sends a release and hands it over to the supervisor. The release is queued ahead of everything that this
    /// client asks of the node from now on, so that an attempt never meets the keys of the attempt before it. Never
    /// blocks and never fails. Where a stopped runtime cannot send the release, the key expires with its TTL.
    pub(crate) fn release(&self, mut release: Release, now: Moment) {
        let Ok(link) = self.link() else {
            let _ = self.requests.send(Request::Release(release));
            return;
        };
        release.prepare(link.epoch(), now);
        let remove = Remove::new(&release.claim, release.token.as_bytes(), release.notify, self.grace);
        self.await_release(release, link.send_now(remove));
    }

    /// Sends a command whose answer nobody awaits, ahead of everything that this client asks of the node from now on.
    /// Without a connection the command is dropped. Never blocks.
    pub(crate) fn notify(&self, command: impl Command<Reply = ()>) {
        if let Ok(link) = self.link() {
            let _ = self.requests.send(Request::Notice(link.send_now(command)));
        }
    }

    /// Hands over a release that was sent and whose answer is still pending.
    pub(crate) fn await_release(&self, release: Release, answer: Answering) {
        let _ = self.requests.send(Request::Await(release, answer));
    }

    /// Returns when everything handed over so far has been answered or cannot be sent for now, or when nothing has
    /// been answered for `limit`. Cancel safe.
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
