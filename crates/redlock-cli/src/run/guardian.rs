//! The guardian: a small process between `redlock run` and the command. All descendants of the command are its
//! descendants, and it outlives `redlock run`, however that ends.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::family::{Family, KILLED_BY, SWEEP};
use super::reaper::{Reaped, Reaper};
use super::system::{adopt_orphans, socket_address, this_program};
use super::wire::{News, Order, Wire};
use crate::clock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals::{ALL, ENDING, Signals};

/// How long descendants may take to end by themselves after the command: long enough to read the end of a pipe.
const LINGER: Duration = Duration::from_millis(500);
/// How often the end of the lease is checked at least. Timers do not advance while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);

/// The options with which `redlock run` starts the guardian.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The socket on which `redlock run` listens.
    #[arg(long)]
    socket: String,
    /// The process group for the command; without it the command gets a group of its own.
    #[arg(long)]
    group: Option<i32>,
    /// The end of the lease, as in [`Order::LeaseUntil`].
    #[arg(long)]
    lease_until: u64,
    /// Time from SIGTERM to SIGKILL.
    #[arg(long, value_parser = humantime::parse_duration)]
    kill_after: Duration,
    /// Whether `kill_after` also limits the time after a SIGTERM that is passed on.
    #[arg(long)]
    limit_passed_on: bool,
    /// Whether processes that the command leaves running are left alone.
    #[arg(long)]
    leave_running: bool,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let failed = |source| Failure::System { action: "guard the command", source };
    let mut reaper = Reaper::start()?;
    // Signals that end `redlock run` are often sent to all processes of a service, and must not end the guardian. A
    // handler is used because, unlike an ignored signal, it is not inherited by the command.
    let _unheard = Signals::listen(&ALL)?;
    adopt_orphans();
    let mut wire = Wire::new(connect(&args.socket).map_err(failed)?);
    let command = match start(&args) {
        Ok(command) => command,
        Err(error) => {
            wire.tell(&News::NotStarted(error.raw_os_error().unwrap_or_default())).await;
            return Ok(Exit::SYSTEM);
        }
    };
    // Closed, because readers of the command's pipes should see their end when the command ends.
    let _ = close_streams();
    wire.tell(&News::Started(command.as_raw_nonzero().get())).await;
    let family = Family::new(args.group.is_none().then_some(command), HashSet::new());
    let lease_until = args.lease_until;
    let guardian =
        Guardian { args, wire, family, command, lease_until, state: State::Runs, parent: Parent::Lives };
    guardian.watch(&mut reaper).await;
    Ok(Exit::SUCCESS)
}

fn connect(socket: &str) -> io::Result<UnixStream> {
    let stream = net::UnixStream::connect_addr(&socket_address(socket)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn start(args: &Args) -> io::Result<Pid> {
    let mut command = this_program()?;
    command
        .args(["run-exec", "--socket", &args.socket, "--parent"])
        .arg(getpid().as_raw_nonzero().to_string());
    command.arg("--").args(&args.command).process_group(args.group.unwrap_or(0));
    Ok(Pid::from_child(&command.spawn()?))
}

fn close_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

struct Guardian {
    args: Args,
    wire: Wire,
    family: Family,
    command: Pid,
    lease_until: u64,
    state: State,
    parent: Parent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    /// The command has ended by itself. Its descendants have until this instant to end, too.
    Lingers(Instant),
    /// The command and its descendants are being ended. Those left at `kill_at` are killed.
    Ending {
        kill_at: Instant,
    },
}

/// The state of `redlock run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Lives,
    Died,
}

/// Whether the guardian has more to do.
enum Work {
    Goes,
    Over,
}

impl Guardian {
    /// Runs until no descendant is left.
    async fn watch(mut self, reaper: &mut Reaper) {
        loop {
            if let Work::Over = self.handle_ends().await {
                return;
            }
            if let Work::Over = self.handle_time(now()).await {
                return;
            }
            let pause = self.pause(now());
            let Self { wire, parent, .. } = &mut self;
            tokio::select! {
                () = reaper.until_changed() => {}
                order = wire.next(), if *parent == Parent::Lives => self.handle_order(order),
                () = sleep(pause) => {}
            }
        }
    }

    async fn handle_ends(&mut self) -> Work {
        loop {
            match Reaper::look() {
                Reaped::Ended(pid, status) if pid == self.command => {
                    self.wire.tell(&News::Ended(status)).await;
                    if self.state == State::Runs {
                        if self.args.leave_running {
                            return Work::Over;
                        }
                        self.state = State::Lingers(now() + LINGER);
                    }
                }
                Reaped::Ended(..) => {}
                Reaped::NoneNow => return Work::Goes,
                // No child means no descendant, because an orphaned descendant becomes our child.
                Reaped::Childless => {
                    self.wire.tell(&News::Gone).await;
                    return Work::Over;
                }
            }
        }
    }

    async fn handle_time(&mut self, now: Instant) -> Work {
        match self.state {
            State::Ending { kill_at } if now >= kill_at + KILLED_BY => {
                self.wire.tell(&News::Stuck(self.family.names())).await;
                return Work::Over;
            }
            State::Ending { kill_at } if now >= kill_at => self.family.signal(Signal::KILL),
            State::Ending { .. } => {}
            State::Runs | State::Lingers(_) if clock::now() >= self.lease_until => {
                self.end(now, self.args.kill_after);
            }
            State::Lingers(until) if now >= until => {
                self.wire.tell(&News::Left(self.family.names())).await;
                self.end(now, self.args.kill_after);
            }
            State::Runs | State::Lingers(_) => {}
        }
        Work::Goes
    }

    fn handle_order(&mut self, order: Option<Order>) {
        let now = now();
        match order {
            Some(Order::LeaseUntil(until)) => self.lease_until = until,
            Some(Order::End) => self.end(now, self.args.kill_after),
            Some(Order::Signal(number)) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    self.pass_on(signal, now);
                }
            }
            None => {
                self.parent = Parent::Died;
                // Nobody is left to renew the lock, so the command is killed before the lease ends.
                let left = Duration::from_nanos(self.lease_until.saturating_sub(clock::now()));
                self.end(now, self.args.kill_after.min(left));
            }
        }
    }

    /// Passes a signal on: an ending signal to all, as the keyboard does; any other signal to the command alone.
    fn pass_on(&mut self, signal: Signal, now: Instant) {
        if ENDING.contains(&signal) {
            self.family.signal(signal);
        } else if self.state == State::Runs {
            let _ = kill_process(self.command, signal);
        }
        let is_limited = signal == Signal::TERM && self.args.limit_passed_on;
        if is_limited && !matches!(self.state, State::Ending { .. }) {
            self.state = State::Ending { kill_at: now + self.args.kill_after };
        }
    }

    fn end(&mut self, now: Instant, kill_after: Duration) {
        let mut kill_at = now + kill_after;
        if let State::Ending { kill_at: earlier } = self.state {
            kill_at = kill_at.min(earlier);
        } else {
            self.family.terminate();
        }
        self.state = State::Ending { kill_at };
    }

    /// The time until the next timed event.
    fn pause(&self, now: Instant) -> Duration {
        let lease = Duration::from_nanos(self.lease_until.saturating_sub(clock::now())).min(LOOK);
        match self.state {
            State::Ending { kill_at } if now >= kill_at => SWEEP,
            State::Ending { kill_at } => kill_at - now,
            State::Lingers(until) => until.saturating_duration_since(now).min(lease),
            State::Runs => lease,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to wait for other processes is no part of the protocol"
)]
fn now() -> Instant {
    Instant::now()
}
