//! The byte stream under a connection: the seam where a simulation hands in its own network.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::push::Listener;
use super::{failure, mistaken};
use crate::error::NodeFailure;

/// Keepalive probes find a peer that vanished while nothing was being said.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the kernel repeats unacknowledged data before it gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A server's refusal is one line.
const FIRST_BYTES: usize = 256;

/// A peer's silence is measured in so many parts: a pause of our own process, during which its answers may have
/// arrived, makes one of them seem over, and the others leave time to read.
const SILENCE_PARTS: u32 = 4;

/// A connection's bytes, whatever carries them.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes the coming drop throw away what the peer has not read yet, where the transport can.
    fn abandon(&mut self);
}

/// Opens byte streams to one node.
pub(crate) trait Connector: Send + Sync + 'static {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>>;

    /// Returns when the server that was connected to last is not the node any more, and says why. Never, where a node
    /// is what is at an address.
    fn superseded(&self) -> BoxFuture<'_, NodeFailure>;

    fn management(&self) -> Management;

    /// Why the server that was connected to last closed without a word, where that can be found out. Asks it once more.
    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>>;
}

/// Who decides which server a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Management {
    /// Its address.
    Direct,
    /// Sentinels; the server may have been a replica whatever it says of its past.
    BySentinel,
}

/// Connects over TCP.
#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
}

/// What goes over TCP.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(super::tls::TlsClient),
}

impl Connector for Tcp {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>> {
        Box::pin(async {
            match &self.transport {
                Transport::Plain => Ok(Box::new(self.open().await?) as Box<dyn Stream>),
                #[cfg(feature = "tls")]
                Transport::Tls(tls) => {
                    let config = (tls.config)().await?;
                    tls.encrypt(config, self, self.open().await?).await
                }
            }
        })
    }

    fn superseded(&self) -> BoxFuture<'_, NodeFailure> {
        Box::pin(std::future::pending())
    }

    fn management(&self) -> Management {
        Management::Direct
    }

    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>> {
        Box::pin(async {
            match &self.transport {
                Transport::Plain => mistaken::of_silent_end(self).await,
                // The greeting of TLS was answered, so this is the server's own affair.
                #[cfg(feature = "tls")]
                Transport::Tls(_) => None,
            }
        })
    }
}

impl Tcp {
    async fn open(&self) -> Result<TcpStream, NodeFailure> {
        self.open_socket().await.map_err(|error| failure::of_open(&error))
    }

    pub(super) async fn open_socket(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(stream)
    }
}

impl Stream for TcpStream {
    /// With linger 0 the drop sends RST instead of FIN. A stopped peer's kernel then usually throws away the
    /// commands that it has not read; not always, so that releases are repeated all the same.
    fn abandon(&mut self) {
        // Fails only on a socket that is already gone.
        let _ = self.set_zero_linger();
    }
}

/// What the supervisor knows of a connection without being on its path: whether bytes go out and come back.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    written: AtomicU64,
    /// How many had been written when bytes came back last.
    answered: AtomicU64,
    watched: AtomicBool,
    woken: Notify,
    abandoned: AtomicBool,
    heard: AtomicBool,
    fault: OnceLock<NodeFailure>,
    distrusted: Notify,
}

impl Activity {
    /// Returns when nothing has come back for `limit`, and at most twice that, since bytes were written. Sleeps
    /// without a timer while nothing is.
    ///
    /// Counts bytes, not commands: a command whose caller has gone still has to be answered. Whatever comes back is
    /// taken as the answer to all that was written before, so a peer that answers half of it and then stops is
    /// noticed after the next write.
    pub(crate) async fn hung(&self, limit: Duration) {
        loop {
            self.anything_unanswered().await;
            if self.is_silent(limit).await {
                return;
            }
        }
    }

    /// Whether nothing comes back within `limit`.
    async fn is_silent(&self, limit: Duration) -> bool {
        let written = self.written.load(Ordering::SeqCst);
        for _ in 0..SILENCE_PARTS {
            tokio::time::sleep(limit / SILENCE_PARTS).await;
            if self.answered.load(Ordering::SeqCst) >= written {
                return false;
            }
        }
        true
    }

    /// An answer said that the node is not what it was when we connected.
    pub(crate) fn distrust(&self) {
        self.distrusted.notify_one();
    }

    /// Returns when the node has to be looked at anew. Cancel safe.
    pub(crate) async fn distrusted(&self) {
        self.distrusted.notified().await;
    }

    /// Makes the drop of the stream a reset instead of an orderly end.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether the peer has ever said anything.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// What broke the stream, if it was TLS, or the server has said why it closes: redis-rs forgets what comes, or breaks a
    /// stream, while nothing is awaited, and a server may refuse us before we have asked anything.
    pub(crate) fn fault(&self) -> Option<NodeFailure> {
        self.fault.get().cloned()
    }

    async fn anything_unanswered(&self) {
        loop {
            // In this order: a write after the store wakes us, one before it shows in the load.
            self.watched.store(false, Ordering::SeqCst);
            if self.written.load(Ordering::SeqCst) > self.answered.load(Ordering::SeqCst) {
                return;
            }
            self.woken.notified().await;
        }
    }

    fn handle_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::SeqCst);
        if !self.watched.load(Ordering::SeqCst) && !self.watched.swap(true, Ordering::SeqCst) {
            self.woken.notify_one();
        }
    }

    fn handle_read(&self, bytes: &[u8]) {
        if !self.heard.swap(true, Ordering::Relaxed)
            && let Some(fault) = mistaken::of_first_bytes(bytes)
        {
            let _ = self.fault.set(fault);
        }
        self.answered.store(self.written.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn handle_error(&self, error: io::Error) -> io::Error {
        if let Some(fault) = failure::of_tls(&error) {
            // The first one is the cause of those that follow.
            let _ = self.fault.set(fault);
        }
        error
    }
}

/// A stream that reports its [`Activity`].
pub(crate) struct Watched {
    stream: Box<dyn Stream>,
    activity: Arc<Activity>,
    listener: Arc<dyn Listener>,
}

impl Watched {
    pub(super) fn new(stream: Box<dyn Stream>, listener: Arc<dyn Listener>) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity::default());
        (Self { stream, activity: Arc::clone(&activity), listener }, activity)
    }
}

impl Watched {
    /// A server that refuses us says so and closes at once. Our first bytes may meet a closed connection before we have
    /// read what it said.
    fn blame(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut unread = [0; FIRST_BYTES];
        let mut unread = ReadBuf::new(&mut unread);
        if !self.activity.has_heard()
            && let Poll::Ready(Ok(())) = Pin::new(&mut self.stream).poll_read(cx, &mut unread)
            && !unread.filled().is_empty()
        {
            self.activity.handle_read(unread.filled());
        }
        self.activity.handle_error(error)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.activity.abandoned.load(Ordering::Relaxed) {
            self.stream.abandon();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        read.map_err(|error| self.activity.handle_error(error))?;
        if buf.filled().len() > before {
            self.activity.handle_read(&buf.filled()[before..]);
            self.listener.handle_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        let written = written.map_err(|error| self.blame(cx, error))?;
        self.activity.handle_written(written);
        self.listener.handle_written();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.blame(cx, error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::FutureExt;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_single_unanswered_write_is_enough() {
        let activity = Activity::default();
        let mut hung = std::pin::pin!(activity.hung(LIMIT));
        assert!((&mut hung).now_or_never().is_none());
        tokio::time::advance(LIMIT * 100).await;
        assert!((&mut hung).now_or_never().is_none(), "silence is fine while nothing was asked");
        activity.handle_written(10);
        for _ in 0..SILENCE_PARTS {
            assert!((&mut hung).now_or_never().is_none());
            tokio::time::advance(LIMIT / SILENCE_PARTS).await;
        }
        assert!((&mut hung).now_or_never().is_some());
    }

    /// The answers arrived while we were stopped, and are read only after our timers have gone off.
    #[tokio::test(start_paused = true)]
    async fn a_pause_of_our_own_is_no_sign_of_a_hung_peer() {
        let activity = Activity::default();
        let mut hung = std::pin::pin!(activity.hung(LIMIT));
        activity.handle_written(10);
        assert!((&mut hung).now_or_never().is_none());
        tokio::time::advance(LIMIT * 10).await;
        assert!((&mut hung).now_or_never().is_none());
        activity.handle_read(b"+OK");
        assert!(tokio::time::timeout(LIMIT * 10, hung).await.is_err(), "all was answered");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_keep_it_quiet_and_their_end_is_noticed_within_two_limits() {
        let activity = Activity::default();
        let mut hung = std::pin::pin!(activity.hung(LIMIT));
        for _ in 0..50 {
            activity.handle_written(10);
            assert!((&mut hung).now_or_never().is_none());
            tokio::time::advance(LIMIT / 2).await;
            activity.handle_read(b"+OK");
        }
        for _ in 0..4 {
            activity.handle_written(10);
            assert!((&mut hung).now_or_never().is_none());
            tokio::time::advance(LIMIT / 4).await;
        }
        let from_here = tokio::time::timeout(LIMIT * 2, hung).await;
        assert!(from_here.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_after_the_last_answer_is_no_sign_of_a_hung_peer() {
        let activity = Activity::default();
        let mut hung = std::pin::pin!(activity.hung(LIMIT));
        assert!((&mut hung).now_or_never().is_none());
        activity.handle_written(10);
        assert!((&mut hung).now_or_never().is_none());
        activity.handle_read(b"+OK");
        tokio::time::advance(LIMIT / 2).await;
        activity.handle_written(10);
        activity.handle_read(b"+OK");
        assert!(tokio::time::timeout(LIMIT * 10, hung).await.is_err(), "all was answered");
    }
}
