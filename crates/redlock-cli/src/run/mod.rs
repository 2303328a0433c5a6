//! `redlock run`: runs a command only as long as a lock is held.

mod command;
pub(crate) mod exec;
mod family;
pub(crate) mod guardian;
mod help;
mod job;
mod locks;
mod nested;
mod others;
mod reaper;
mod refusal;
mod system;
mod wire;

use std::ffi::OsString;
use std::time::Duration;

use redlock_quorum::{Redlock, Settings, SettingsError};

use self::command::Ending;
use self::job::Job;
use self::locks::{Kind, Locks};
use self::nested::{HELD, Held};
use self::others::OtherLists;
use self::reaper::Reaper;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::nodes::NodeArgs;
use crate::report::Report;
use crate::signals::{ALL, Signals};

/// Anything shorter is rejected as too short.
const TTL_MIN: Duration = Duration::from_millis(10);

/// Default time from SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// The options of `redlock run`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = help::SHORT, long_about = help::LONG, after_long_help = help::after())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// TTL of the lock, which others have to wait for if redlock dies; the lease is renewed at a third of it. 10ms to
    /// --max-ttl [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// The longest --ttl. All clients should use the same value, because a node that may have lost locks waits that
    /// long before it votes again. 10ms to 24h [default: 20s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_ttl: Option<Duration>,
    /// How long to wait for the lock: 250ms, 10s, 1m30s [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Try once, and give up if another owner holds the lock.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// The exit code when another owner holds the lock, 0 to 255 [default: 75].
    #[arg(long, value_name = "N")]
    conflict_exit_code: Option<u8>,
    /// Keep the lock for this long after it was acquired, even if the command has ended or failed earlier.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    hold_at_least: Option<Duration>,
    /// Time from SIGTERM to SIGKILL when the command has to end [default: 5s]. If given, the limit also applies to a
    /// SIGTERM that is passed on.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    kill_after: Option<Duration>,
    /// Leave alone what the command leaves running when it ends by itself, such as a daemon.
    #[arg(long)]
    leave_running: bool,
    /// Run even if other clients use these nodes together with other nodes, or with another quorum.
    #[arg(long)]
    allow_other_lists: bool,
    /// Share KEY with other readers, that is with others who lock it with --shared.
    #[arg(long)]
    shared: bool,
    /// The lock: the name of the Redis key. Of several, all or none are locked.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The options that are no settings.
struct Options {
    no_wait: bool,
    conflict: Exit,
    hold_at_least: Duration,
    ending: Ending,
    other_lists: OtherLists,
    kind: Kind,
    keys: Vec<String>,
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let (settings, options) = parse(args)?;
    let mut signals = Signals::listen(&ALL)?;
    // Started first: SIGCHLD may be ignored, and as the first process of a container redlock is the parent of all
    // orphans.
    let mut reaper = Reaper::start()?;
    let redlock = tokio::select! {
        redlock = settings.clone().connect() => redlock,
        signal = signals.next() => return Ok(Exit::by_signal(signal)),
        () = reaper.reap_all() => return Ok(Exit::INTERNAL),
    };
    let result = under_lock(&redlock, &settings, options, report, &mut signals, &mut reaper).await;
    tokio::select! {
        () = redlock.shutdown() => {}
        () = reaper.reap_all() => {}
    }
    result
}

async fn under_lock(
    redlock: &Redlock,
    settings: &Settings,
    options: Options,
    report: Report,
    signals: &mut Signals,
    reaper: &mut Reaper,
) -> Result<Exit, Failure> {
    let Options { no_wait, conflict, hold_at_least, ending, other_lists, kind, keys, command } = options;
    let locks = Locks::new(redlock, kind, &keys)?;
    let held = Held::of(redlock, settings.key_prefix());
    held.check(&keys, conflict)?;
    let taken = async {
        let taken = if no_wait { locks.try_lock().await } else { locks.lock().await };
        let guard = match taken {
            Ok(guard) => guard,
            Err(error) => return Err(refusal::of(redlock, kind, &keys, error, conflict).await),
        };
        others::check(redlock, settings, other_lists, report).await?;
        Ok(guard)
    };
    let guard = tokio::select! {
        taken = taken => taken?,
        // The dropped attempt removes its keys from the nodes.
        signal = signals.next() => return Ok(Exit::by_signal(signal)),
        () = reaper.reap_all() => return Ok(Exit::INTERNAL),
    };
    let variables = [(HELD, held.with(&keys))];
    Job::new(guard, settings.ttl(), hold_at_least, ending, report)
        .run(&command, &variables, signals, reaper)
        .await
}

fn parse(args: Args) -> Result<(Settings, Options), Failure> {
    let Args {
        nodes,
        ttl,
        max_ttl,
        wait,
        no_wait,
        conflict_exit_code,
        hold_at_least,
        kill_after,
        leave_running,
        allow_other_lists,
        shared,
        keys,
        command,
    } = args;
    let ending = Ending {
        kill_after: kill_after.unwrap_or(KILL_AFTER),
        limit_passed_on: kill_after.is_some(),
        leave_running,
    };
    let options = Options {
        no_wait,
        conflict: conflict_exit_code.map_or(Exit::CONTENDED, Exit::chosen),
        hold_at_least: hold_at_least.unwrap_or_default(),
        ending,
        other_lists: if allow_other_lists { OtherLists::Allowed } else { OtherLists::Refused },
        kind: Kind::of(shared, &keys)?,
        keys,
        command,
    };
    Ok((settings(nodes, Times { ttl, max_ttl, wait })?, options))
}

/// The options for times; each overrides all other sources.
#[derive(Clone, Copy)]
struct Times {
    ttl: Option<Duration>,
    max_ttl: Option<Duration>,
    wait: Option<Duration>,
}

fn settings(nodes: NodeArgs, times: Times) -> Result<Settings, Failure> {
    let Times { ttl, max_ttl, wait } = times;
    let mut builder = nodes.builder();
    if let Some(ttl) = ttl {
        builder = builder.ttl(ttl);
    }
    if let Some(max_ttl) = max_ttl {
        builder = builder.max_ttl(max_ttl);
    }
    if let Some(wait) = wait {
        builder = builder.max_wait(wait);
    }
    builder.settings().map_err(|mistakes| {
        // `max_ttl` is never raised silently, because all clients would wait longer for a node that has lost locks.
        let is_too_long =
            ttl.is_some_and(|ttl| mistakes.iter().any(|mistake| is_above_max_ttl(mistake, ttl)));
        if is_too_long { Failure::TtlTooLong(mistakes) } else { Failure::Settings(mistakes) }
    })
}

fn is_above_max_ttl(mistake: &SettingsError, ttl: Duration) -> bool {
    matches!(mistake.reason(), SettingsError::OutOfRange { setting: "ttl", .. }) && ttl > TTL_MIN
}
