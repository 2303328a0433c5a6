//! Faults of clients, which are processes of their own.

use std::io;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// What goes wrong with a process that holds locks or waits for them.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
/// use redlock_quorum::testing::ClientFault;
///
/// # fn main() -> std::io::Result<()> {
/// let service = Command::new("my-service").spawn()?;
/// ClientFault::Pause.apply(&service)?; // its lease runs out meanwhile
/// ClientFault::Pause.heal(&service)?; // it must find that out before it writes
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientFault {
    /// SIGSTOP: the process stands still, and does not know afterwards.
    Pause,
    /// SIGKILL: it has no chance to release anything. Starting another one is up to the caller.
    Kill,
}

impl ClientFault {
    /// Sends the signal, and does not wait for what it does.
    ///
    /// # Errors
    ///
    /// The system's, mostly because the process has ended and was waited for.
    pub fn apply(self, client: &Child) -> io::Result<()> {
        self.apply_to(client.id())
    }

    /// As [`apply`](Self::apply), for a process that something else than the standard library started. It must not
    /// have been waited for: the number might be another process's by now.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_to(self, id: u32) -> io::Result<()> {
        let signal = match self {
            Self::Pause => Signal::STOP,
            Self::Kill => Signal::KILL,
        };
        send(id, signal)
    }

    /// Lets a paused process go on; nothing to do for a killed one.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn heal(self, client: &Child) -> io::Result<()> {
        self.heal_of(client.id())
    }

    /// As [`heal`](Self::heal), by the number of the process.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn heal_of(self, id: u32) -> io::Result<()> {
        match self {
            Self::Pause => send(id, Signal::CONT),
            Self::Kill => Ok(()),
        }
    }
}

fn send(id: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}
