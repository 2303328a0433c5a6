//! Runs work only as long as its lock is held.

use std::borrow::Borrow;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::Guard;
use crate::error::RunError;

/// Runs `body` while the lock is held, and releases the lock; see [`Mutex::run`](crate::Mutex::run).
pub(super) async fn run<G, T, E, F>(held: G, body: F) -> Result<T, RunError<E>>
where
    G: Borrow<Guard> + Into<Guard>,
    F: AsyncFnOnce(&G) -> Result<T, E>,
{
    let ended = {
        let (mut lost, mut body) = (pin!(held.borrow().lost()), pin!(body(&held)));
        poll_fn(|cx| match lost.as_mut().poll(cx) {
            Poll::Ready(loss) => Poll::Ready(Err(loss)),
            Poll::Pending => body.as_mut().poll(cx).map(Ok),
        })
        .await
    };
    let guard: Guard = held.into();
    match ended {
        Err(loss) => Err(RunError::Lost(loss)),
        Ok(Err(error)) => Err(RunError::Body { error, released: guard.release().await }),
        Ok(Ok(value)) => match guard.loss() {
            // The lease was lost during the body's last poll.
            Some(loss) => Err(RunError::Lost(loss)),
            None => {
                if let Err(error) = guard.release().await {
                    tracing::warn!(%error, "work done, release unconfirmed");
                }
                Ok(value)
            }
        },
    }
}
