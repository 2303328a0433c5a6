//! `redlock demo`: the lock at work on this machine, while nodes die.

mod counter;
mod crew;
mod picture;
mod plan;
mod protocol;
mod show;
mod stage;
mod summary;
mod tally;
mod verdict;
pub(crate) mod worker;

use std::io::{self, Write as _};
use std::time::Duration;

use rustix::process::Signal;

use self::show::{Show, Stream};
use self::stage::{Script, Stage};
use self::verdict::Evidence;
use self::worker::Exclusion;
use crate::dice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Report;
use crate::signals::{ENDING, Signals};

/// The most nodes that the lock supports.
const NODES_MAX: u64 = 31;
/// Each is a client with a connection to each node.
const WORKERS_MAX: u64 = 64;

/// See the lock at work: workers raise a counter under it while nodes are killed and paused.
///
/// Starts masters of its own, lets worker processes read, compute and write one shared file under one lock, kills
/// one node, pauses another and brings both back. Then it judges what the workers recorded: lost updates, holders
/// at the same time, keys left behind. Exits with 1 when any of these was found. Needs redis-server or
/// valkey-server; REDIS_SERVER may name it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock demo
  redlock demo --seed 7           the same faults every time
  redlock demo --without-lock     what goes wrong without, and is found
  redlock demo --nodes 3 --workers 20 --json | tail -1 | jq .")]
pub(crate) struct Args {
    /// How many masters.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=NODES_MAX))]
    nodes: u64,
    /// How many workers contend, spread over two processes.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=WORKERS_MAX))]
    workers: u64,
    /// How often the counter is raised, at least; more if the faults take longer.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    sections: u64,
    /// Decides which faults hit which node and when; random unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// End stdout with one line that holds a JSON object; everything else goes to stderr.
    #[arg(long)]
    json: bool,
    /// Do not lock, to see what then goes wrong and that it is found.
    #[arg(long)]
    without_lock: bool,
    /// Give up after so many seconds, and say what was waited for.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: u64,
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, workers, sections, seed, json, without_lock, time_limit } = args;
    let script = Script {
        nodes: count(nodes),
        workers: count(workers),
        sections: count(sections),
        seed: seed.map_or_else(dice::random_seed, Ok)?,
        exclusion: if without_lock { Exclusion::None } else { Exclusion::Lock },
    };
    let stream = if json { Stream::Stderr } else { Stream::Stdout };
    let show = match report {
        Report::Quiet => Show::quiet(),
        Report::Speaking => Show::on(stream),
    };
    // Before the start, so that a signal during it still finds somebody who cleans up.
    let mut signals = Signals::listen(&ENDING)?;
    let mut stage = Stage::new(script, show);
    let ending = tokio::select! {
        played = stage.play() => { played?; Ending::Played }
        signal = signals.next() => Ending::Signal(signal),
        () = tokio::time::sleep(Duration::from_secs(time_limit)) => Ending::TimeLimit,
    };
    stage.end_show();
    match ending {
        Ending::Played => {}
        Ending::TimeLimit => {
            let awaited = &stage.tally.awaited;
            let trouble =
                format!("gave up after {time_limit} s, waiting for {awaited}; --time-limit gives more time");
            stage.tally.troubles.push(trouble);
            // So that no write is without its record.
            stage.dismiss().await;
        }
        Ending::Signal(signal) => {
            drop(stage);
            report.notice("interrupted; workers and servers are ended, there is no verdict");
            return Ok(Exit::by_signal(signal));
        }
    }
    judge(&stage, stream)
}

/// Why the play is over.
enum Ending {
    Played,
    Signal(Signal),
    TimeLimit,
}

fn judge(stage: &Stage, stream: Stream) -> Result<Exit, Failure> {
    let elapsed = stage.elapsed();
    let Stage { script, tally, left, .. } = stage;
    let verdict = verdict::judge(&Evidence {
        visits: tally.visits.clone(),
        wanted: script.sections,
        growth: stage.growth()?,
        left: left.clone(),
        troubles: tally.troubles.clone(),
    });
    let mut text = summary::text(script, tally, &verdict, elapsed);
    if let Some(width) = stream.width() {
        text = summary::wrap(&text, width);
    }
    let printed = match stream {
        Stream::Stdout => io::stdout().write_all(text.as_bytes()),
        Stream::Stderr => {
            // The object is the result; the text is for whoever watches.
            let _ = io::stderr().write_all(text.as_bytes());
            writeln!(io::stdout(), "{}", summary::json(script, tally, &verdict, elapsed))
        }
    };
    printed.map_err(|source| Failure::System { action: "print the verdict", source })?;
    Ok(if verdict.is_clean() { Exit::SUCCESS } else { Exit::UNCLEAN })
}

/// The bounds of the arguments are far below what any machine counts to.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
