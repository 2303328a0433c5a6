//! Runs work only as long as its lock is held.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{Guard, Mutex};
use crate::error::RunError;

impl Mutex {
    /// Acquires the lock as [`lock`](Mutex::lock) does, runs `body` while the lock is held, and releases the lock. When
    /// the lease is lost, the body is dropped at the await that it has reached: the body is never polled after the
    /// deadline.
    ///
    /// The body's value is returned even if fewer nodes than a quorum confirm the release; the release then continues
    /// in the background.
    ///
    /// # Errors
    ///
    /// - [`RunError::NotAcquired`]: as `lock`; the body was not called.
    /// - [`RunError::Lost`]: the lease was lost before the body ended.
    /// - [`RunError::Body`]: the body's own error, and the result of the release.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the body is dropped, and the lock is released in the background.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn charge(token: u64) -> Result<u64, std::io::Error> { Ok(token) }
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let total = redlock
    ///     .mutex("invoice:42")?
    ///     .run(async |lease| charge(lease.fencing_token().get()).await)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<T, E, F>(&self, body: F) -> Result<T, RunError<E>>
    where
        F: AsyncFnOnce(&Guard) -> Result<T, E>,
    {
        let guard = self.lock().await?;
        let ended = {
            let (mut lost, mut body) = (pin!(guard.lost()), pin!(body(&guard)));
            poll_fn(|cx| match lost.as_mut().poll(cx) {
                Poll::Ready(loss) => Poll::Ready(Err(loss)),
                Poll::Pending => body.as_mut().poll(cx).map(Ok),
            })
            .await
        };
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
}
