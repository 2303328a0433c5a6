//! The task of a connection: writes what callers have queued, and hands them the replies.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use redis::{PushInfo, PushKind, RedisError, Value};
use tokio::io::AsyncWrite;

use super::{Reading, Shared, Watched, closed};

pub(super) struct Driving<F> {
    end: End,
    stream: Watched,
    handle_push: F,
    reading: Reading,
    /// The replies that are handed over next, and the callers that are woken then. Empty between polls.
    replies: Vec<Value>,
    callers: Vec<Waker>,
    writing: Vec<u8>,
    /// How much of `writing` is written.
    written: usize,
    is_flushed: bool,
}

/// Ends all calls when the driver ends, or is dropped with its runtime.
struct End(Arc<Shared>);

impl End {
    fn close(&self, cause: Option<RedisError>) {
        let callers = self.0.state().close(cause);
        callers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl<F: Fn(PushInfo)> Driving<F> {
    pub(super) fn new(shared: Arc<Shared>, stream: Watched, handle_push: F) -> Self {
        Self {
            end: End(shared),
            stream,
            handle_push,
            reading: Reading::default(),
            replies: Vec::new(),
            callers: Vec::new(),
            writing: Vec::new(),
            written: 0,
            is_flushed: true,
        }
    }

    /// Reads and writes as much as goes now. Ready when the connection has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Both sides advance in each turn: a peer that we do not read from may not read from us.
        loop {
            let read = self.poll_read(cx);
            let written = self.poll_write(cx);
            match (read, written) {
                (Poll::Ready(Err(cause)), _) | (_, Poll::Ready(Err(cause))) => {
                    self.end.close(Some(cause));
                    return Poll::Ready(());
                }
                (Poll::Pending, Poll::Pending) => return Poll::Pending,
                (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => {}
            }
        }
    }

    /// Reads once, and hands over the replies that are complete.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RedisError>> {
        ready!(self.reading.poll_fill(cx, &mut self.stream))?;
        let broken = loop {
            match self.reading.next() {
                Ok(Some(Value::Push { kind, data })) if !is_reply(&kind) => {
                    (self.handle_push)(PushInfo { kind, data });
                }
                Ok(Some(reply)) => self.replies.push(reply),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if !self.replies.is_empty() {
            let mut state = self.end.0.state();
            self.callers.extend(self.replies.drain(..).filter_map(|reply| state.handle_reply(reply)));
            // Unlocked first, because wakers run other code.
            drop(state);
            self.callers.drain(..).for_each(Waker::wake);
        }
        Poll::Ready(broken.map_or(Ok(()), Err))
    }

    /// Writes once, or flushes what was written. Pending if nothing is left, until a caller queues a command.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RedisError>> {
        if self.written == self.writing.len() {
            self.writing.clear();
            self.written = 0;
            let mut state = self.end.0.state();
            state.refill();
            std::mem::swap(&mut state.out, &mut self.writing);
            if self.writing.is_empty() && self.is_flushed {
                state.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        if self.writing.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushed = true;
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.writing[self.written..]))? {
            0 => Poll::Ready(Err(closed())),
            written => {
                self.written += written;
                self.is_flushed = false;
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Whether a push answers a command.
fn is_reply(kind: &PushKind) -> bool {
    matches!(
        kind,
        PushKind::Subscribe
            | PushKind::PSubscribe
            | PushKind::SSubscribe
            | PushKind::Unsubscribe
            | PushKind::PUnsubscribe
            | PushKind::SUnsubscribe
    )
}
