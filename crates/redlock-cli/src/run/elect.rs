//! `redlock elect`: runs a command on one of many hosts, on another one when that is lost.

use std::ffi::OsString;
use std::time::Duration;

use redlock_quorum::{Redlock, Settings};

use super::job::Job;
use super::nested::{HELD, Held};
use super::options::{Common, CommonArgs, connected};
use super::reaper::Reaper;
use super::{help, others};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Report;
use crate::signals::Signals;

/// The options of `redlock elect`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = help::ELECT_SHORT, long_about = help::ELECT_LONG, after_long_help = help::after(help::ELECT_EXAMPLES))]
pub(crate) struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// What the leader says of itself to `redlock leader`, such as its address: at most 256 bytes [default: the host and
    /// the process id].
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// The election: the name of the Redis key.
    #[arg(value_name = "NAME")]
    name: String,
    /// The command of the leader, and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The options that are no settings.
struct Options {
    common: Common,
    value: Option<String>,
    name: String,
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { common, value, name, command } = args;
    let (settings, common) = common.parse(None)?;
    let options = Options { common, value, name, command };
    connected(&settings, async |redlock, signals, reaper| {
        campaign(redlock, &settings, options, report, signals, reaper).await
    })
    .await
}

/// Campaigns and runs the command until the command has ended under a leadership that was not lost.
async fn campaign(
    redlock: &Redlock,
    settings: &Settings,
    options: Options,
    report: Report,
    signals: &mut Signals,
    reaper: &mut Reaper,
) -> Result<Exit, Failure> {
    let Options { common: Common { ending, other_lists }, value, name, command } = options;
    let mut election = redlock.election(&name)?;
    if let Some(value) = value {
        election = election.value(value);
    }
    let held = Held::of(redlock, settings.key_prefix());
    held.check(std::slice::from_ref(&name), Exit::CONTENDED)?;
    let variables = [(HELD, held.with(std::slice::from_ref(&name)))];
    loop {
        let elected = async {
            let leadership = election.campaign().await?;
            others::check(redlock, settings, other_lists, report).await?;
            Ok::<_, Failure>(leadership)
        };
        let leadership = tokio::select! {
            elected = elected => elected?,
            signal = signals.next() => return Ok(Exit::by_signal(signal)),
            () = reaper.reap_all() => return Ok(Exit::INTERNAL),
        };
        report.notice(format_args!("leads {name:?} in term {}", leadership.term()));
        let job = Job::new(leadership.into(), settings.ttl(), Duration::ZERO, ending, report);
        match job.run(&command, &variables, signals, reaper).await {
            Err(lost @ Failure::LockLost { .. }) => {
                report.notice(format_args!("{lost}\nA candidate for {name:?} again"));
            }
            ended => return ended,
        }
    }
}
