//! Faults of client processes.

use std::io;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// A fault of a process that holds locks or waits for them.
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
    /// SIGSTOP: the process is stopped, and does not notice afterwards.
    Pause,
    /// SIGKILL: the process cannot release anything. The caller may start another one.
    Kill,
}

impl ClientFault {
    /// Sends the signal, without waiting for its effect.
    ///
    /// # Errors
    ///
    /// The system's error, mostly because the process has ended and was waited for.
    pub fn apply(self, client: &Child) -> io::Result<()> {
        self.apply_to(client.id())
    }

    /// As [`apply`](Self::apply), by the number of the process, for a process that was not started by the standard
    /// library. The process must not have been waited for, because its number might by now belong to another process.
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

    /// Resumes a paused process; does nothing for a killed one.
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
