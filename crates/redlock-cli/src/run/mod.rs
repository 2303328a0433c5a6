//! `redlock run`: runs a command only as long as a lock is held.

mod command;
pub(crate) mod elect;
pub(crate) mod exec;
mod family;
pub(crate) mod guardian;
mod help;
mod job;
mod locks;
mod nested;
mod options;
mod others;
mod reaper;
mod refusal;
mod system;
mod wire;

use std::ffi::OsString;
use std::time::Duration;

use redlock_quorum::{Redlock, Settings};

use self::job::Job;
use self::locks::{Kind, Locks, Taken};
use self::nested::{HELD, Held};
use self::options::{Common, CommonArgs, connected};
use self::reaper::Reaper;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Report;
use crate::signals::Signals;

/// The environment variable with the number of the slot.
const SLOT: &str = "REDLOCK_SLOT";

/// The options of `redlock run`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = help::SHORT, long_about = help::LONG, after_long_help = help::after(help::EXAMPLES))]
pub(crate) struct Args {
    #[command(flatten)]
    common: CommonArgs,
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
    /// Share KEY with other readers, that is with others who lock it with --shared.
    #[arg(long)]
    shared: bool,
    /// Take one of N slots of KEY, so that at most N commands run at once. All clients have to give the same N, 1 to 64.
    #[arg(long, value_name = "N", conflicts_with = "shared")]
    slots: Option<usize>,
    /// The lock: the name of the Redis key. Of several, all or none are locked.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The options that are no settings.
struct Options {
    common: Common,
    no_wait: bool,
    conflict: Exit,
    hold_at_least: Duration,
    kind: Kind,
    keys: Vec<String>,
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { common, wait, no_wait, conflict_exit_code, hold_at_least, shared, slots, keys, command } =
        args;
    let (settings, common) = common.parse(wait)?;
    let options = Options {
        common,
        no_wait,
        conflict: conflict_exit_code.map_or(Exit::CONTENDED, Exit::chosen),
        hold_at_least: hold_at_least.unwrap_or_default(),
        kind: Kind::of(shared, slots, &keys)?,
        keys,
        command,
    };
    connected(&settings, async |redlock, signals, reaper| {
        under_lock(redlock, &settings, options, report, signals, reaper).await
    })
    .await
}

async fn under_lock(
    redlock: &Redlock,
    settings: &Settings,
    options: Options,
    report: Report,
    signals: &mut Signals,
    reaper: &mut Reaper,
) -> Result<Exit, Failure> {
    let Options {
        common: Common { ending, other_lists },
        no_wait,
        conflict,
        hold_at_least,
        kind,
        keys,
        command,
    } = options;
    let locks = Locks::new(redlock, kind, &keys)?;
    let held = Held::of(redlock, settings.key_prefix());
    held.check(&keys, conflict)?;
    let taken = async {
        let taken = if no_wait { locks.try_lock().await } else { locks.lock().await };
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => return Err(refusal::of(redlock, kind, &keys, error, conflict).await),
        };
        others::check(redlock, settings, other_lists, report).await?;
        Ok(taken)
    };
    let Taken { guard, slot } = tokio::select! {
        taken = taken => taken?,
        // The dropped attempt removes its keys from the nodes.
        signal = signals.next() => return Ok(Exit::by_signal(signal)),
        () = reaper.reap_all() => return Ok(Exit::INTERNAL),
    };
    let mut variables = vec![(HELD, held.with(&keys))];
    variables.extend(slot.map(|slot| (SLOT, slot.to_string())));
    Job::new(guard, settings.ttl(), hold_at_least, ending, report)
        .run(&command, &variables, signals, reaper)
        .await
}
