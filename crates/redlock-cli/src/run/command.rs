//! The command, as `redlock run` sees it: through its guardian, and without one should that be killed.

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
use super::nested::{self, HELD};
use super::reaper::{Reaped, Reaper};
use super::system::{is_peer, remove_socket, socket_address, socket_name, this_program};
use super::wire::{News, Order, Wire};
use crate::clock;
use crate::failure::Failure;

/// Tells the command what is locked for it.
const RESOURCE: &str = "REDLOCK_RESOURCE";
/// Lets the command prove to a store that nobody has locked it since.
const FENCING_TOKEN: &str = "REDLOCK_FENCING_TOKEN";

/// How long a new process may take to answer, on a machine that is busy.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// How much later than it should have ended the command a guardian is given up.
const GUARDIAN_DELAY: Duration = Duration::from_secs(2);

/// How the command is to be ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// From SIGTERM to SIGKILL.
    pub(super) kill_after: Duration,
    /// Whether a SIGTERM that is passed on has that limit, too.
    pub(super) limit_passed_on: bool,
    /// Whether what the command leaves running when it ends by itself is left alone.
    pub(super) leave_running: bool,
}

impl Ending {
    /// The longest that ending all of it takes.
    pub(super) fn patience(self) -> Duration {
        self.kill_after + KILLED_BY + GUARDIAN_DELAY
    }
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Command {
    wire: Wire,
    /// Hears of a command that could not be executed.
    listener: net::UnixListener,
    socket: String,
    program: OsString,
    guardian: Pid,
    pid: Option<Pid>,
    /// What `waitpid` gave, if the command's end was ours to see.
    reaped: Option<i32>,
    family: Family,
    kill_after: Duration,
}

impl Command {
    /// Starts the guardian, and by it `command`, a program and its arguments. With our stdin, stdout and stderr; in our
    /// own process group where there is a terminal, whose keyboard then reaches it as it reaches us.
    pub(super) async fn start(
        command: &[OsString],
        guard: &Guard,
        held: &nested::Held<'_>,
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
        guardian.env(HELD, held.with(guard.resource()));
        // Not in our group: what kills that must not kill both.
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

    /// What the guardian says; `None` when it was killed. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        let news = self.wire.next().await;
        if let Some(News::Started(pid)) = news {
            self.pid = Pid::from_raw(pid);
        }
        news
    }

    /// Why it was not the command that ended.
    pub(super) fn failure(&self) -> Option<Failure> {
        let source = exec::failure(&self.listener)?;
        Some(Failure::Command { program: self.program.clone(), source })
    }

    /// Passes a signal to us on, unless the command has got it as well.
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

    /// A guardian that does not do what it is there for is killed, and the command with it.
    pub(super) fn give_guardian_up(&self) {
        let _ = kill_process(self.guardian, Signal::KILL);
    }

    /// Takes the status of children that have ended.
    pub(super) fn reap(&mut self) {
        while let Reaped::Ended(pid, status) = Reaper::look() {
            if Some(pid) == self.pid {
                self.reaped = Some(status);
            }
        }
    }

    /// Ends what a killed guardian has left. The kernel has killed the command itself.
    pub(super) async fn end_without_guardian(&mut self, reaper: &mut Reaper) -> (ExitStatus, Vec<String>) {
        let stuck = {
            let Self { family, kill_after, .. } = self;
            family.end(*kill_after).await
        };
        // The command's status is ours to take as soon as it is no child of the guardian's any more.
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

async fn accept(listener: &net::UnixListener, guardian: Pid, reaper: &mut Reaper) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener.try_clone()?)?;
    let accepted = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    if is_peer(&stream, Some(guardian)) {
                        return Ok(stream);
                    }
                }
                () = reaper.until_changed() => {
                    while let Reaped::Ended(pid, status) = Reaper::look() {
                        if pid == guardian {
                            let status = ExitStatus::from_raw(status);
                            return Err(io::Error::other(format!("it ended at once with {status}")));
                        }
                    }
                }
            }
        }
    };
    timeout(STARTS_WITHIN, accepted).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn lease_until(guard: &Guard) -> u64 {
    let remaining = u64::try_from(guard.remaining().as_nanos()).unwrap_or(u64::MAX);
    clock::now().saturating_add(remaining)
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
