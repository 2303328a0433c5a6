//! Files that are read again for every connection, without blocking a task.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{NodeFailure, SettingsError};

/// Reads a file in a blocking thread, one read at a time. A file system that hangs blocks one thread only, however many
/// connection attempts need the file.
pub(super) struct Reread<T> {
    read: Box<dyn Fn() -> Reading<T> + Send + Sync>,
    running: Mutex<Option<Reading<T>>>,
    /// For errors: the name of the setting, and the path as given.
    name: (&'static str, String),
    limit: Duration,
}

type Reading<T> = JoinHandle<Result<T, SettingsError>>;

impl<T: Send + 'static> Reread<T> {
    pub(super) fn new(
        (setting, path): (&'static str, &str),
        limit: Duration,
        read: impl Fn() -> Result<T, SettingsError> + Clone + Send + Sync + 'static,
    ) -> Self {
        let read = Box::new(move || tokio::task::spawn_blocking(read.clone()));
        Self { read, running: Mutex::default(), name: (setting, path.to_owned()), limit }
    }

    /// Reads the file now.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or that the file could not be read within the limit.
    pub(super) async fn read(&self) -> Result<T, NodeFailure> {
        tokio::time::timeout(self.limit, self.read_once())
            .await
            .unwrap_or_else(|_| Err(self.failure(format!("not read within {:?}", self.limit))))
    }

    async fn read_once(&self) -> Result<T, NodeFailure> {
        let mut running = self.running.lock().await;
        // A read that nobody awaited to its end and that has finished is outdated: read again.
        let reading = match running.take() {
            Some(reading) if !reading.is_finished() => reading,
            Some(_) | None => (self.read)(),
        };
        let read = running.insert(reading).await;
        *running = None;
        match read {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(SettingsError::File { setting, path, problem })) => {
                Err(NodeFailure::File { setting, path, problem })
            }
            Ok(Err(mistake)) => Err(self.failure(mistake.to_string())),
            // The runtime is shutting down, or the read panicked.
            Err(error) => Err(self.failure(error.to_string())),
        }
    }

    fn failure(&self, problem: String) -> NodeFailure {
        let (setting, path) = self.name.clone();
        NodeFailure::File { setting, path, problem }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_file_that_hangs_holds_up_one_thread_and_is_named() {
        let started = Arc::new(AtomicUsize::new(0));
        let (go_on, gone_on) = mpsc::channel::<usize>();
        let gone_on = Arc::new(std::sync::Mutex::new(gone_on));
        let counted = Arc::clone(&started);
        let reread = Reread::new(("password_file", "/slow"), LIMIT, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(gone_on.lock().unwrap().recv().unwrap())
        });
        for _ in 0..5 {
            let failure = reread.read().await.unwrap_err();
            assert_eq!(failure.to_string(), "password_file: cannot read /slow: not read within 20ms");
        }
        // The thread may start late on a busy machine.
        while started.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        go_on.send(1).unwrap();
        go_on.send(2).unwrap();
        // The first read may have finished by now; its result is then outdated and not used.
        let reread = Reread { limit: Duration::from_secs(10), ..reread };
        assert!(reread.read().await.is_ok());
        assert!(started.load(Ordering::SeqCst) <= 2);
    }
}
