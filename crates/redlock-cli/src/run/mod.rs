//! `redlock run`: a command that runs while a lock is held, and no longer.

mod child;

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use redlock_quorum::{Guard, Redlock, Released, Settings};

use self::child::Child;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::report::Report;
use crate::signals::{ALL, Signals};

/// The library's default `max_ttl`. It is raised for a longer `--ttl`, which one holder may well need.
const MAX_TTL: Duration = Duration::from_secs(20);

const ABOUT: &str = "\
Run a command while holding a lock

Waits for the lock on KEY, runs COMMAND, and gives the lock back when the command has ended. The lease is renewed \
all the while, and the exit code is the command's. If the lock is lost, because too many nodes died or the key was \
deleted, the command gets SIGTERM, and SIGKILL 5 seconds later, and the exit code is 74.

Signals are passed on to COMMAND itself, not to what it starts: end a script with `exec`, or let it see to its own \
processes. A SIGKILL of redlock cannot be passed on; the command then goes on without the lock.";

const EXAMPLES: &str = "\
Examples:
  redlock run nightly-backup -- backup --full
  redlock run --ttl 30s --wait 5m deploy:shop -- ./deploy.sh
  redlock run --config /etc/redlock.toml KEY -- COMMAND

One of many hosts is enough; it is no failure that another one does it:
  redlock run --no-wait report -- make report || [ $? -eq 75 ]

The command finds KEY in its environment as REDLOCK_RESOURCE, and as REDLOCK_FENCING_TOKEN a number that is larger \
than that of every lock of KEY before it.";

/// The options of `redlock run`. Has no `Debug`: URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Run a command while holding a lock", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// How long the lock outlives us if we die; it is renewed at a third of this. 10ms to 24h [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// How long to wait for the lock: 250ms, 10s, 1m30s [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Try once and give up if the lock is not free.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// What to lock: the name of the Redis key.
    key: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, ttl, wait, no_wait, key, command } = args;
    let settings = settings(nodes, ttl, wait)?;
    let ttl = settings.ttl();
    let mut signals = Signals::listen(&ALL)?;
    let redlock = tokio::select! {
        redlock = settings.connect() => redlock,
        signal = signals.next() => return Ok(Exit::by_signal(signal)),
    };
    let mutex = redlock.mutex(&key)?;
    let result = tokio::select! {
        guard = async { if no_wait { mutex.try_lock().await } else { mutex.lock().await } } => match guard {
            Ok(guard) => Job { guard, ttl, report }.run(&command, &mut signals).await,
            Err(error) => Err(error.into()),
        },
        // Dropping the attempt tells the nodes to forget it.
        signal = signals.next() => Ok(Exit::by_signal(signal)),
    };
    redlock.shutdown().await;
    result
}

fn settings(nodes: NodeArgs, ttl: Option<Duration>, wait: Option<Duration>) -> Result<Settings, Failure> {
    let mut builder = Redlock::builder();
    if let Some(ttl) = ttl {
        // Before the other sources, so that a `max_ttl` of theirs holds.
        builder = builder.max_ttl(ttl.max(MAX_TTL));
    }
    builder = nodes.over(builder);
    if let Some(ttl) = ttl {
        builder = builder.ttl(ttl);
    }
    if let Some(wait) = wait {
        builder = builder.max_wait(wait);
    }
    checked(builder)
}

/// The lock that is held for a command.
struct Job {
    guard: Guard,
    ttl: Duration,
    report: Report,
}

impl Job {
    /// Runs the command to its end. The lock is released on every way out: the guard's drop hands that to the
    /// client, whose shutdown awaits it.
    async fn run(self, command: &[OsString], signals: &mut Signals) -> Result<Exit, Failure> {
        let mut child = Child::start(command, &self.guard)?;
        let ended = tokio::select! {
            biased;
            ended = child.until_ended(signals) => Ok(ended?),
            loss = self.guard.lost() => Err(loss),
        };
        match ended {
            Ok(status) => self.finish(status).await,
            Err(loss) => {
                let status = child.end(signals).await?;
                Err(Failure::LockLost {
                    key: self.guard.resource().to_owned(),
                    command: status,
                    votes: loss.votes().cloned(),
                })
            }
        }
    }

    /// The command has ended by itself.
    async fn finish(self, status: ExitStatus) -> Result<Exit, Failure> {
        let Self { guard, ttl, report } = self;
        let key = guard.resource().to_owned();
        // A machine that slept finds both at once: the command's end and a lease that is over.
        if !guard.is_valid() {
            return Err(Failure::LockLost { key, command: status, votes: None });
        }
        match guard.release().await {
            Ok(Released::InTime) => {}
            Ok(Released::AlreadyExpired | _) => {
                return Err(Failure::LockLost { key, command: status, votes: None });
            }
            Err(error) => {
                let ttl = humantime::format_duration(ttl);
                report.notice(format_args!("warning: {error}; others may have to wait for up to {ttl}"));
            }
        }
        Ok(Exit::of_command(status))
    }
}
