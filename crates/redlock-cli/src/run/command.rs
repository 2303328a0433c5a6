//! The command, from the view of `redlock run`: through its guardian, or directly after the guardian was killed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::ExitStatus;
use std::time::Duration;

use redlock_quorum::Guard;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::exec;
use super::family::{Family, KILLED_BY};
use super::reaper::{Reaped, Reaper};
use super::system::{is_peer, remove_socket, socket_address, socket_name, this_program};
use super::wire::{News, Order, Wire};
use crate::clock;
use crate::failure::Failure;

/// A variable of the command's environment.
pub(super) type Variable = (&'static str, String);

/// The environment variable that names the lock to the command.
const RESOURCE: &str = "REDLOCK_RESOURCE";
/// The environment variable with the fencing token, by which a store can refuse a command whose lock another owner has
/// acquired since.
const FENCING_TOKEN: &str = "REDLOCK_FENCING_TOKEN";

/// How long a new process may take to answer on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// A guardian is given up when the command should have ended this long ago.
const GUARDIAN_DELAY: Duration = Duration::from_secs(2);

/// How to end the command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Time from SIGTERM to SIGKILL.
    pub(super) kill_after: Duration,
    /// Whether `kill_after` also limits the time after a SIGTERM that is passed on.
    pub(super) limit_passed_on: bool,
    /// Whether processes that the command leaves running when it ends by itself are left alone.
    pub(super) leave_running: bool,
}

impl Ending {
    /// The longest time that ending the command and its descendants takes.
    pub(super) fn patience(self) -> Duration {
        self.kill_after + KILLED_BY + GUARDIAN_DELAY
    }
}

/// A started command.
#[derive(Debug)]
pub(super) struct Command {
    wire: Wire,
    /// Receives the error of a command that could not be executed.
    listener: net::UnixListener,
    socket: String,
    program: OsString,
    guardian: Pid,
    pid: Option<Pid>,
    /// The status from `waitpid`, if this process has reaped the command.
    reaped: Option<i32>,
    family: Family,
    kill_after: Duration,
}

impl Command {
    /// Starts the guardian, which starts `command`, a program and its arguments. The command inherits our stdin, stdout
    /// and stderr. Where there is a terminal, the command also joins our process group, so that the keyboard's signals
    /// reach it.
    pub(super) async fn start(
        command: &[OsString],
        guard: &Guard,
        variables: &[Variable],
        ending: Ending,
        reaper: &mut Reaper,
    ) -> Result<Self, Failure> {
        let failed = |source| Failure::System { action: "start the command's guardian", source };
        let program = command.first().ok_or(Failure::Usage("no command given after `--`"))?.clone();
        let family = Family::new(None, Family::children());
        let socket = socket_name()?;
        let listener = socket_address(&socket).and_then(|address| net::UnixListener::bind_addr(&address));
        let listener = listener.map_err(failed)?;
        let Ending { kill_after, limit_passed_on, leave_running } = ending;
        let mut guardian = this_program().map_err(failed)?;
        guardian.args(["run-guardian", "--socket", &socket]);
        guardian.args(["--lease-until", &lease_until(guard).to_string()]);
        guardian.args(["--kill-after", &humantime::format_duration(kill_after).to_string()]);
        if File::open("/dev/tty").is_ok() {
            guardian.args(["--group", &getpgrp().as_raw_nonzero().to_string()]);
        }
        if limit_passed_on {
            guardian.arg("--limit-passed-on");
        }
        if leave_running {
            guardian.arg("--leave-running");
        }
        guardian.arg("--").args(command);
        guardian.env(RESOURCE, guard.resource()).env(FENCING_TOKEN, guard.fencing_token().to_string());
        guardian.envs(variables.iter().map(|(name, value)| (name, value)));
        // In a group of its own, so that a signal that kills our group does not kill the guardian as well.
        guardian.process_group(0);
        let guardian = Pid::from_child(&guardian.spawn().map_err(failed)?);
        let stream = accept(&listener, guardian, reaper).await.map_err(failed)?;
        let (pid, reaped) = (None, None);
        Ok(Self {
            wire: Wire::new(stream),
            listener,
            socket,
            program,
            guardian,
            pid,
            reaped,
            family,
            kill_after,
        })
    }

    /// The guardian's next message; `None` when the guardian was killed. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        let news = self.wire.next().await;
        if let Some(News::Started(pid)) = news {
            self.pid = Pid::from_raw(pid);
        }
        news
    }

    /// The failure, if the process ended because the command could not be executed.
    pub(super) fn failure(&self) -> Option<Failure> {
        let source = exec::failure(&self.listener)?;
        Some(Failure::Command { program: self.program.clone(), source })
    }

    /// Passes on a signal sent to us, unless the terminal has sent the signal to the command as well.
    pub(super) async fn pass_on(&mut self, signal: Signal) {
        match origin(signal) {
            Origin::Terminal => {}
            Origin::Process => self.wire.tell(&Order::Signal(signal.as_raw())).await,
        }
    }

    pub(super) async fn end(&mut self) {
        self.wire.tell(&Order::End).await;
    }

    pub(super) async fn tell_lease(&mut self, guard: &Guard) {
        if guard.is_valid() {
            self.wire.tell(&Order::LeaseUntil(lease_until(guard))).await;
        }
    }

    /// Kills a guardian that does not do its work, and the command with it.
    pub(super) fn give_guardian_up(&self) {
        let _ = kill_process(self.guardian, Signal::KILL);
    }

    /// Reaps the children that have ended.
    pub(super) fn reap(&mut self) {
        while let Reaped::Ended(pid, status) = Reaper::look() {
            if Some(pid) == self.pid {
                self.reaped = Some(status);
            }
        }
    }

    /// Ends the descendants that a killed guardian has left. The kernel has already killed the command itself.
    pub(super) async fn end_without_guardian(&mut self, reaper: &mut Reaper) -> (ExitStatus, Vec<String>) {
        let stuck = {
            let Self { family, kill_after, .. } = self;
            family.end(*kill_after).await
        };
        // The command becomes our child, and its status ours to reap, as soon as its guardian has ended.
        let _ = timeout(GUARDIAN_DELAY, async {
            self.reap();
            while self.reaped.is_none() {
                reaper.until_changed().await;
                self.reap();
            }
        })
        .await;
        (ExitStatus::from_raw(self.reaped.unwrap_or(Signal::KILL.as_raw())), stuck)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        remove_socket(&self.socket);
    }
}

/// The connection of the guardian.
async fn accept(listener: &net::UnixListener, guardian: Pid, reaper: &mut Reaper) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let accepts = UnixListener::from_std(listener.try_clone()?)?;
    let accepted = async {
        loop {
            tokio::select! {
                accepted = accepts.accept() => {
                    let (stream, _) = accepted?;
                    if is_peer(&stream, Some(guardian)) {
                        return Ok(stream);
                    }
                }
                () = reaper.until_changed() => {
                    while let Reaped::Ended(pid, status) = Reaper::look() {
                        if pid == guardian {
                            let status = ExitStatus::from_raw(status);
                            let ended = || io::Error::other(format!("it ended at once with {status}"));
                            return waiting(listener, guardian)?.ok_or_else(ended);
                        }
                    }
                }
            }
        }
    };
    timeout(STARTS_WITHIN, accepted).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The connection of a guardian that has ended, if it made one. On a busy machine command and guardian may be over
/// before we look; the connection still has their news.
fn waiting(listener: &net::UnixListener, guardian: Pid) -> io::Result<Option<UnixStream>> {
    while let Ok((stream, _)) = listener.accept() {
        if is_peer(&stream, Some(guardian)) {
            stream.set_nonblocking(true)?;
            return Ok(Some(UnixStream::from_std(stream)?));
        }
    }
    Ok(None)
}

fn lease_until(guard: &Guard) -> u64 {
    let remaining = u64::try_from(guard.remaining().as_nanos()).unwrap_or(u64::MAX);
    clock::now().saturating_add(remaining)
}

/// The origin of a signal.
enum Origin {
    /// The keyboard. The terminal has sent the signal to the command as well.
    Terminal,
    /// Another process, which has signalled us alone.
    Process,
}

/// The keyboard's interrupt goes to all processes of the terminal's foreground group. A signal does not carry its
/// origin, so an interrupt that we receive in the foreground counts as the keyboard's.
fn origin(signal: Signal) -> Origin {
    if signal != Signal::INT && signal != Signal::QUIT {
        return Origin::Process;
    }
    // Opening fails without a controlling terminal.
    let foreground = File::open("/dev/tty").ok().and_then(|terminal| tcgetpgrp(terminal).ok());
    if foreground == Some(getpgrp()) { Origin::Terminal } else { Origin::Process }
}
