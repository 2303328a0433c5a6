//! Reaps ended processes whose parent we are or have become.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::signals::unblock;

/// How often to check without a signal, because the signals of several ends may arrive as one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Reaps every child that ends, adopted ones included, so that none stays a zombie.
#[derive(Debug)]
pub(super) struct Reaper(unix::Signal);

/// The result of a check for ended children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// This process has ended with this status.
    Ended(Pid, i32),
    /// No child has ended; some are running.
    NoneNow,
    /// There is no child.
    Childless,
}

impl Reaper {
    /// Installs a handler for SIGCHLD. From then on the kernel keeps the status of ended children, even if the process
    /// was started with SIGCHLD ignored.
    pub(super) fn start() -> Result<Self, Failure> {
        unblock(&[Signal::CHILD]);
        let signal = unix::signal(SignalKind::child());
        signal.map(Self).map_err(|source| Failure::System { action: "listen for ended processes", source })
    }

    pub(super) fn look() -> Reaped {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => return Reaped::Ended(pid, status.as_raw()),
                Ok(None) => return Reaped::NoneNow,
                Err(Errno::INTR) => {}
                Err(_) => return Reaped::Childless,
            }
        }
    }

    /// Returns when a child may have ended. Cancel safe.
    pub(super) async fn until_changed(&mut self) {
        let _ = timeout(LOOK_AGAIN, self.0.recv()).await;
    }

    /// Reaps children, and never returns. Cancel safe.
    pub(super) async fn reap_all(&mut self) {
        loop {
            while let Reaped::Ended(..) = Self::look() {}
            self.until_changed().await;
        }
    }
}
