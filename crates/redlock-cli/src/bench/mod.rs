//! `redlock bench`: measures how fast *your* nodes are.

mod load;
mod progress;
mod result;

use std::time::Duration;

use redlock_quorum::{Mutex, Redlock, SettingsError};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium};
use crate::report::Report;
use crate::signals::{ENDING, Signals};

use load::Load;

/// More tasks would measure this machine instead of the nodes.
const TASKS_MAX: usize = 1000;
/// A limit, so that a mistyped duration does not disturb the locks of production nodes for hours.
const DURATION_MAX: Duration = Duration::from_secs(600);
const DURATION_MIN: Duration = Duration::from_millis(100);

const ABOUT: &str = "\
Measure how fast your nodes grant and release locks

Tasks take and release locks as fast as they can for a while. The result is the percentiles of both and the number of \
locks per second. The keys are redlock's own (redlock-bench:HOST:PID:N), and none is left behind; the nodes remember \
their fencing tokens for fence_retention, as for every lock. Think before you run it on nodes that are in use, because \
it takes all the capacity that it can get.";

const EXAMPLES: &str = "\
Examples:
  redlock bench
  redlock bench --tasks 1      the latency without other load
  redlock bench --keys same    how fast a lock passes from task to task
  redlock bench --tasks 64 --duration 30s
  redlock bench --json | jq .lock.p99_ms";

/// The options of `redlock bench`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Measure how fast your nodes grant and release locks", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// How long to measure: 100ms to 10m.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// How many tasks run at a time: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = tasks)]
    tasks: usize,
    /// Keys that the tasks lock.
    #[arg(long, value_enum, default_value_t = Keys::Own)]
    keys: Keys,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Keys {
    /// A key for each task: no task waits.
    Own,
    /// One key for all tasks: all but one wait.
    Same,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (DURATION_MIN..=DURATION_MAX).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be 100ms to 10m".into())
    }
}

fn tasks(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=TASKS_MAX).contains(count));
    count.ok_or_else(|| format!("must be a number from 1 to {TASKS_MAX}"))
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, duration, tasks, keys, json } = args;
    let settings = checked(nodes.builder())?;
    let mut signals = Signals::listen(&ENDING)?;
    let redlock = settings.clone().connect().await;
    let mutexes = mutexes(&redlock, tasks, keys)?;
    // One lock first: where the nodes grant nothing there is no speed to measure.
    if let Some(mutex) = mutexes.first() {
        mutex.try_lock().await?.release().await.ok();
    }
    let load = Load::start(mutexes, duration)?;
    let ended = tokio::select! {
        () = progress::until_over(&load, report) => None,
        signal = signals.next() => Some(signal),
    };
    let measured = load.end().await;
    // Awaits the releases that are still under way.
    redlock.shutdown().await;
    let plan = result::Plan { nodes: settings.nodes(), needed: settings.quorum(), tasks, keys };
    if json {
        output::print_json(&result::as_json(&measured, plan))?;
    } else {
        output::print(&result::as_text(&measured, plan, Medium::of_stdout()))?;
    }
    Ok(match ended {
        Some(signal) => Exit::by_signal(signal),
        None if measured.failed() > 0 => Exit::UNCLEAN,
        None => Exit::SUCCESS,
    })
}

/// The mutex of each task.
fn mutexes(redlock: &Redlock, tasks: usize, keys: Keys) -> Result<Vec<Mutex>, SettingsError> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let pid = std::process::id();
    let mutex = |task| {
        let number = match keys {
            Keys::Own => task,
            Keys::Same => 0,
        };
        redlock.mutex(format!("redlock-bench:{host}:{pid}:{number}"))
    };
    (0..tasks).map(mutex).collect()
}
