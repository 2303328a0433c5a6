//! The command as a process: started, signalled, awaited.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitStatus;
use std::time::Duration;

use redlock_quorum::Guard;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{self, Command};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::signals::Signals;

/// How long the command has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Tells the command what is locked for it.
const RESOURCE: &str = "REDLOCK_RESOURCE";
/// Lets the command prove to a store that nobody has locked it since.
const FENCING_TOKEN: &str = "REDLOCK_FENCING_TOKEN";

/// A process in our own process group, with our stdin, stdout and stderr. Killed when this is dropped before its
/// end, so that no error of ours leaves it without the lock.
pub(super) struct Child(process::Child);

impl Child {
    /// Starts `command`, a program and its arguments.
    pub(super) fn start(command: &[OsString], guard: &Guard) -> Result<Self, Failure> {
        let (program, arguments) =
            command.split_first().ok_or(Failure::Usage("no command given after `--`"))?;
        let child = Command::new(program)
            .args(arguments)
            .env(RESOURCE, guard.resource())
            .env(FENCING_TOKEN, guard.fencing_token().to_string())
            .kill_on_drop(true)
            .spawn();
        child.map(Self).map_err(|source| Failure::Command { program: program.clone(), source })
    }

    /// Awaits the end and passes on the signals that arrive meanwhile. Cancel safe.
    pub(super) async fn until_ended(&mut self, signals: &mut Signals) -> Result<ExitStatus, Failure> {
        loop {
            tokio::select! {
                biased;
                ended = self.0.wait() => {
                    return ended.map_err(|source| Failure::System { action: "await the command's end", source });
                }
                signal = signals.next() => match origin(signal) {
                    Origin::Terminal => {}
                    Origin::Process => self.signal(signal),
                },
            }
        }
    }

    /// Ends it: SIGTERM, and SIGKILL after [`GRACE`].
    pub(super) async fn end(&mut self, signals: &mut Signals) -> Result<ExitStatus, Failure> {
        self.signal(Signal::TERM);
        match timeout(GRACE, self.until_ended(signals)).await {
            Ok(ended) => ended,
            Err(_) => {
                self.signal(Signal::KILL);
                self.until_ended(signals).await
            }
        }
    }

    /// The id is there until the process has been waited for, so no other process can have it.
    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only where the command changed its user: then it is not ours to end.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Who sent a signal.
enum Origin {
    /// The keyboard; the terminal has sent it to the command as well.
    Terminal,
    /// Another process, to us alone.
    Process,
}

/// A keyboard's interrupt goes to all processes of the terminal's foreground group. A signal does not say where it
/// is from, so an interrupt to us in the foreground is taken for one of the keyboard.
fn origin(signal: Signal) -> Origin {
    if signal != Signal::INT && signal != Signal::QUIT {
        return Origin::Process;
    }
    // Without a controlling terminal it cannot be opened.
    let foreground = File::open("/dev/tty").ok().and_then(|terminal| tcgetpgrp(terminal).ok());
    if foreground == Some(getpgrp()) { Origin::Terminal } else { Origin::Process }
}
