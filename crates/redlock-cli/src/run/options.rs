//! The options of every command under a lock.

use std::time::Duration;

use redlock_quorum::{Redlock, Settings, SettingsError};

use super::command::Ending;
use super::others::OtherLists;
use super::reaper::Reaper;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::nodes::NodeArgs;
use crate::signals::{ALL, Signals};

/// Anything shorter is rejected as too short.
const TTL_MIN: Duration = Duration::from_millis(10);

/// Default time from SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
pub(super) struct CommonArgs {
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
}

/// What the options say, besides settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) ending: Ending,
    pub(super) other_lists: OtherLists,
}

impl CommonArgs {
    /// `wait` overrides the setting of that name, as the options of these arguments override theirs.
    pub(super) fn parse(self, wait: Option<Duration>) -> Result<(Settings, Common), Failure> {
        let Self { nodes, ttl, max_ttl, kill_after, leave_running, allow_other_lists } = self;
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
        let settings = builder.settings().map_err(|mistakes| {
            // `max_ttl` is never raised silently, because all clients would wait longer for a node that has lost locks.
            let is_too_long =
                ttl.is_some_and(|ttl| mistakes.iter().any(|mistake| is_above_max_ttl(mistake, ttl)));
            if is_too_long { Failure::TtlTooLong(mistakes) } else { Failure::Settings(mistakes) }
        })?;
        let ending = Ending {
            kill_after: kill_after.unwrap_or(KILL_AFTER),
            limit_passed_on: kill_after.is_some(),
            leave_running,
        };
        let other_lists = if allow_other_lists { OtherLists::Allowed } else { OtherLists::Refused };
        Ok((settings, Common { ending, other_lists }))
    }
}

fn is_above_max_ttl(mistake: &SettingsError, ttl: Duration) -> bool {
    matches!(mistake.reason(), SettingsError::OutOfRange { setting: "ttl", .. }) && ttl > TTL_MIN
}

/// Connects, does the work, and shuts the client down. Signals and orphans are attended to meanwhile.
pub(super) async fn connected(
    settings: &Settings,
    work: impl AsyncFnOnce(&Redlock, &mut Signals, &mut Reaper) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen(&ALL)?;
    // Started first: SIGCHLD may be ignored, and as the first process of a container redlock is the parent of all
    // orphans.
    let mut reaper = Reaper::start()?;
    let redlock = tokio::select! {
        redlock = settings.clone().connect() => redlock,
        signal = signals.next() => return Ok(Exit::by_signal(signal)),
        () = reaper.reap_all() => return Ok(Exit::INTERNAL),
    };
    let result = work(&redlock, &mut signals, &mut reaper).await;
    tokio::select! {
        () = redlock.shutdown() => {}
        () = reaper.reap_all() => {}
    }
    result
}
