//! The loan of a stream to redis-rs, which makes the handshake.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Watched;

/// A stream that is lent to redis-rs for the handshake.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<Option<Watched>>>);

impl Lent {
    pub(super) fn new(stream: Watched) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// Takes the stream back. After a handshake redis-rs has read all that the server has sent.
    pub(super) fn take_back(&self) -> Option<Watched> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(&self, poll: impl FnOnce(Pin<&mut Watched>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.slot().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}
