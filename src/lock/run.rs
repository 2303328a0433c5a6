//! Runs work only as long as its lock is held.

use std::borrow::Borrow;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::Guard;
use crate::error::{Loss, RunError};

/// Runs `body` while the lock is held, and releases the lock; see [`Mutex::run`](crate::Mutex::run).
pub(super) async fn run<G, T, E, F>(held: G, body: F) -> Result<T, RunError<E>>
where
    G: Borrow<Guard> + Into<Guard>,
    F: AsyncFnOnce(&G) -> Result<T, E>,
{
    match until_lost(held.borrow(), body(&held)).await {
        Err(loss) => Err(RunError::Lost(loss)),
        Ok(Err(error)) => Err(RunError::Body { error, released: held.into().release().await }),
        Ok(Ok(value)) => end(held.into(), value).await.map_err(RunError::Lost),
    }
}

/// Polls `body` as long as the lock is held, and drops it when the lock is lost.
pub(super) async fn until_lost<T>(guard: &Guard, body: impl Future<Output = T>) -> Result<T, Loss> {
    let (mut lost, mut body) = (pin!(guard.lost()), pin!(body));
    poll_fn(|cx| match lost.as_mut().poll(cx) {
        Poll::Ready(loss) => Poll::Ready(Err(loss)),
        Poll::Pending => body.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// Releases the lock after the body has returned `value`.
pub(super) async fn end<T>(guard: Guard, value: T) -> Result<T, Loss> {
    // The lease may have been lost during the body's last poll.
    if let Some(loss) = guard.loss() {
        return Err(loss);
    }
    if let Err(error) = guard.release().await {
        tracing::warn!(%error, "work done, release unconfirmed");
    }
    Ok(value)
}
