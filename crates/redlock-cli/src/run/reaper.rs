//! Processes that have ended and whose parent we are, or have become.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, wait};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::signals::unblock;

/// How often to look without having heard of an end, because several ends may be heard of as one.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Takes the status of every child that ends, adopted ones included, so that none stays a zombie.
#[derive(Debug)]
pub(super) struct Reaper(unix::Signal);

/// A look at the children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// This one has ended, with this status.
    Ended(Pid, i32),
    /// All others run.
    NoneNow,
    /// There is no child.
    Childless,
}

impl Reaper {
    /// From now on the kernel keeps the status of children, even where SIGCHLD was ignored when the process started: a
    /// signal that has a handler is not ignored.
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

    /// Returns when it may be worth another look. Cancel safe.
    pub(super) async fn until_changed(&mut self) {
        let _ = timeout(LOOK_AGAIN, self.0.recv()).await;
    }

    /// Reaps, and never returns. Cancel safe.
    pub(super) async fn reap_all(&mut self) {
        loop {
            while let Reaped::Ended(..) = Self::look() {}
            self.until_changed().await;
        }
    }
}
