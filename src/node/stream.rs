//! The byte stream under a connection. A simulation provides its own network here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::push::Listener;
use super::{failure, mistaken};
use crate::error::NodeFailure;
use crate::types::sync::{AtomicBool, AtomicU64, Notify, OnceLock};

/// The interval of keepalive probes, which detect a vanished peer on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the kernel retransmits unacknowledged data before it gives up the connection.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of first bytes that are read for diagnosis. A server's refusal is one line.
const FIRST_BYTES: usize = 256;

/// The number of parts into which the limit of a peer's silence is split. While our own process is paused, the peer's
/// answers may arrive unread. The pause makes one part seem to have passed, and the other parts leave time to read.
const SILENCE_PARTS: u32 = 4;

/// The byte stream of a connection, over any transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes the coming drop discard data that the peer has not read yet, where the transport can do that.
    fn abandon(&mut self);
}

/// Opens byte streams to one node.
pub(crate) trait Connector: Send + Sync + 'static {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>>;

    /// Returns the reason once the server that was connected to last is not the node any more. Never returns for a
    /// node that is defined by its address.
    fn superseded(&self) -> BoxFuture<'_, NodeFailure>;

    fn management(&self) -> Management;

    /// Connects once more to find out why the server that was connected to last closed without a word; `None` where
    /// that cannot be found out.
    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>>;
}

/// How it is decided which server a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Management {
    /// The node is the server at its address.
    Direct,
    /// Sentinels choose the server, which may have been a replica even if it does not say so.
    BySentinel,
}

/// Connects over TCP.
#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
}

/// The transport over TCP.
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
                // The server answered the TLS greeting, so the cause is on its side.
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
    /// Sets linger to 0, so that the drop sends RST instead of FIN. A stopped peer's kernel then usually discards the
    /// commands that it has not read, but not always. Releases are therefore repeated all the same.
    fn abandon(&mut self) {
        // The call fails only on a socket that is already gone.
        let _ = self.set_zero_linger();
    }
}

/// The activity of a connection: bytes written and bytes read, counted for the supervisor, which is not on the data
/// path.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    written: AtomicU64,
    /// The value of `written` when bytes were last read.
    answered: AtomicU64,
    watched: AtomicBool,
    woken: Notify,
    abandoned: AtomicBool,
    heard: AtomicBool,
    fault: OnceLock<NodeFailure>,
    distrusted: Notify,
}

impl Activity {
    /// Returns when bytes were written and nothing was read for `limit`; at most twice `limit` after the write. No
    /// timer runs while nothing is unanswered.
    ///
    /// Bytes count, not commands, because a command whose caller has gone must be answered as well. Any bytes that
    /// are read count as the answer to everything written before. A peer that answers half of it and then stops is
    /// noticed after the next write.
    pub(crate) async fn hung(&self, limit: Duration) {
        loop {
            self.anything_unanswered().await;
            if self.is_silent(limit).await {
                return;
            }
        }
    }

    /// Whether nothing is read within `limit`.
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

    /// An answer showed that the node has changed since we connected.
    pub(crate) fn distrust(&self) {
        self.distrusted.notify_one();
    }

    /// Returns when the node must be observed anew. Cancel safe.
    pub(crate) async fn distrusted(&self) {
        self.distrusted.notified().await;
    }

    /// Makes the drop of the stream a reset instead of an orderly end.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether the peer has ever sent anything.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The cause that broke the stream, if it was TLS, or if the server said why it closes. Nobody else learns of bytes
    /// that arrive or errors that occur while nothing is awaited, and a server may refuse us before we have sent
    /// anything.
    pub(crate) fn fault(&self) -> Option<NodeFailure> {
        self.fault.get().cloned()
    }

    async fn anything_unanswered(&self) {
        loop {
            // The order matters: a write after the store notifies us, and a write before the store is seen by the
            // load.
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
            // The first fault is the cause of those that follow.
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
    /// Reads the server's reason behind a write error. A server that refuses us says so and closes at once, and our
    /// first bytes may meet the closed connection before we have read the reason.
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

#[cfg(all(test, redlock_shuttle))]
#[path = "stream_schedules_tests.rs"]
mod schedules;

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

    /// The bug: answers that had arrived while our process was stopped were read only after our timers had fired.
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
