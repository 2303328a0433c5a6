//! `redlock demo`: shows the lock at work on this machine while nodes die.

mod picture;
mod scenario;
mod show;
mod summary;
mod verdict;
mod view;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use self::show::{Show, Stream};
use self::verdict::Evidence;
use self::view::{Frame, View};
use crate::chaos::arena::{Arena, Kind};
use crate::chaos::counter::Counter;
use crate::chaos::event::{COUNTER, resource_name};
use crate::chaos::judge::{self, Expected, Promise};
use crate::chaos::log::Log;
use crate::chaos::plan::{self, Scope};
use crate::chaos::scenario::Scenario;
use crate::chaos::stage::{self, Goal, Show as _, Stage};
use crate::chaos::{client, work_arguments};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::nodes::checked;
use crate::report::Report;
use crate::signals::{ENDING, Signals};
use crate::{clock, dice};

/// The most nodes that the lock supports.
const NODES_MAX: u64 = 31;
/// The most workers. Each is a client with a connection to each node.
const WORKERS_MAX: u64 = 64;
/// One in this many of the wanted sections has to follow the return of all nodes.
const AFTERWARDS: usize = 10;

/// See the lock at work: workers increment a counter under it while nodes are killed and paused.
///
/// Starts its own masters. Worker processes read, compute and write one shared file under one lock, while one node is
/// killed, another is paused, and both return. The verdict on the recorded history reports lost updates, holders at the
/// same time, and keys left behind. Exits with 1 when any of these was found. Needs redis-server or valkey-server;
/// REDIS_SERVER may name it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock demo
  redlock demo --seed 7           the same faults every time
  redlock demo --without-lock     what goes wrong without, and is found
  redlock demo --nodes 3 --workers 20 --json | tail -1 | jq .")]
pub(crate) struct Args {
    /// Number of masters.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=NODES_MAX))]
    nodes: u64,
    /// Number of workers that contend, each a process.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=WORKERS_MAX))]
    workers: u64,
    /// Least number of increments; there are more if the faults take longer.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    sections: u64,
    /// Seed that decides which faults hit which node and when [default: random].
    #[arg(long)]
    seed: Option<u64>,
    /// End stdout with one line that holds a JSON object; everything else goes to stderr.
    #[arg(long)]
    json: bool,
    /// Do not lock, to show what then goes wrong and that the verdict finds it.
    #[arg(long)]
    without_lock: bool,
    /// Give up after this many seconds, and say what was waited for.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: u64,
}

/// The parameters of the demo.
#[derive(Debug)]
struct Play {
    nodes: usize,
    workers: usize,
    sections: usize,
    seed: u64,
    exclusion: Exclusion,
}

/// Whether the workers lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusion {
    Lock,
    /// The workers do not lock, to show that the checks find what then goes wrong.
    None,
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, workers, sections, seed, json, without_lock, time_limit } = args;
    let play = Play {
        nodes: count(nodes),
        workers: count(workers),
        sections: count(sections),
        seed: seed.map_or_else(dice::random_seed, Ok)?,
        exclusion: if without_lock { Exclusion::None } else { Exclusion::Lock },
    };
    let stream = if json { Stream::Stderr } else { Stream::Stdout };
    let scenario = scenario::draw(play.nodes, play.workers, play.seed);
    let frame = Frame {
        wanted: play.sections,
        addresses: Vec::new(),
        faults: scenario.faults.len(),
        began_at: clock::now(),
    };
    // Listens before the start, so that a signal during the start still leads to a clean-up.
    let mut signals = Signals::listen(&ENDING)?;
    let limit = tokio::time::sleep(Duration::from_secs(time_limit));
    tokio::pin!(limit);
    let mut show = match report {
        Report::Quiet => Show::quiet(frame.clone()),
        Report::Speaking => Show::on(stream, frame.clone()),
    };
    let nothing_yet = Log::new(play.workers, scenario.nodes.clone());
    show.tick(&nothing_yet);
    let gave_up = |awaited: &str| {
        format!("gave up after {time_limit} s, waiting for {awaited}; --time-limit gives more time")
    };
    let opened = tokio::select! {
        arena = open(&scenario) => arena?,
        signal = signals.next() => return Ok(interrupted(report, signal)),
        () = &mut limit => {
            let mut log = nothing_yet;
            log.troubles.push(gave_up(&View::of(&log, &frame).awaited));
            let settings = settings(&scenario)?;
            let (play, scenario, settings) = (&play, &scenario, &settings);
            return tell(&Told { play, scenario, settings, log: &log, frame: &frame, growth: 0 }, stream);
        }
    };
    let (arena, counter) = opened;
    let frame = Frame { addresses: addresses(&arena), ..frame };
    show.handle_addresses(frame.addresses.clone());
    let settings = settings(&scenario)?;
    let mut stage = Stage::new(script(&play, &scenario, &settings, arena), show);
    let ending = tokio::select! {
        ending = stage.play(&mut signals) => ending?,
        () = &mut limit => {
            let awaited = View::of(&stage.log, &frame).awaited;
            stage.log.troubles.push(gave_up(&awaited));
            stage::Ending::Played
        }
    };
    match ending {
        stage::Ending::Played => {}
        stage::Ending::Interrupted(signal) => {
            drop(stage);
            return Ok(interrupted(report, signal));
        }
    }
    // Nodes are healed and workers ended in order, so that every write has its record.
    tokio::select! {
        () = stage.close() => {}
        signal = signals.next() => return Ok(interrupted(report, signal)),
    }
    let growth =
        counter.read().map_err(|source| Failure::System { action: "read the shared file", source })?;
    let (play, scenario, settings) = (&play, &scenario, &settings);
    tell(&Told { play, scenario, settings, log: &stage.log, frame: &frame, growth }, stream)
}

fn interrupted(report: Report, signal: Signal) -> Exit {
    report.notice("interrupted; workers and servers are ended, there is no verdict");
    Exit::by_signal(signal)
}

/// Starts the masters, and creates the shared file in their directory.
async fn open(scenario: &Scenario) -> Result<(Arc<Arena>, Counter), Failure> {
    let arena = crate::chaos::open(&Kind::Local, scenario).await?;
    let counter = Counter::create(&file(&arena));
    let counter = counter.map_err(|source| Failure::System { action: "create the shared file", source })?;
    Ok((arena, counter))
}

fn file(arena: &Arena) -> std::path::PathBuf {
    arena.directory().map(|directory| directory.join("counter")).unwrap_or_default()
}

/// Host and port of each node.
fn addresses(arena: &Arena) -> Vec<String> {
    let urls = arena.urls(0).into_iter();
    urls.map(|url| url.trim_start_matches("redis://").to_owned()).collect()
}

/// The demo's own settings. The settings of the environment are for other nodes.
fn settings(scenario: &Scenario) -> Result<redlock_quorum::Settings, Failure> {
    let given = scenario.settings.iter();
    let builder = client::below(given.map(|given| ("", given.setting.as_str(), given.value.as_str())));
    checked(builder.nodes((1..=scenario.nodes.len()).map(|node| format!("redis://127.0.0.1:{node}"))))
}

fn script(
    play: &Play,
    scenario: &Scenario,
    settings: &redlock_quorum::Settings,
    arena: Arc<Arena>,
) -> stage::Script {
    let promise = Promise::of(settings, scenario.work.hold);
    let scope = Scope {
        nodes: play.nodes,
        clients: play.workers,
        duration: scenario.duration,
        quarantine: promise.quarantine,
        seed: play.seed,
    };
    stage::Script {
        nodes: scenario.nodes.clone(),
        plan: plan::draw(scenario, scope),
        duration: scenario.duration,
        goal: Goal { sections: play.sections, afterwards: play.sections.div_ceil(AFTERWARDS) },
        keys: vec![resource_name(COUNTER)],
        quarantine: promise.quarantine,
        ttl: promise.ttl,
        bound: promise.bound,
        arguments: (0..play.workers).map(|worker| arguments(play, scenario, &arena, worker)).collect(),
        seed: play.seed,
        history: None,
        arena,
    }
}

fn arguments(play: &Play, scenario: &Scenario, arena: &Arena, worker: usize) -> Vec<OsString> {
    let mut arguments = work_arguments(scenario, arena, worker);
    arguments.extend(["--defaults-alone".into(), "--counter".into(), file(arena).into()]);
    match play.exclusion {
        Exclusion::Lock => {}
        Exclusion::None => arguments.push("--without-lock".into()),
    }
    arguments
}

/// The facts for the verdict.
struct Told<'a> {
    play: &'a Play,
    scenario: &'a Scenario,
    settings: &'a redlock_quorum::Settings,
    log: &'a Log,
    frame: &'a Frame,
    /// The increase of the counter.
    growth: u64,
}

fn tell(told: &Told<'_>, stream: Stream) -> Result<Exit, Failure> {
    let Told { play, scenario, settings, log, frame, growth } = *told;
    let (view, elapsed) = (&View::of(log, frame), clock::since(frame.began_at));
    let promise = Promise::of(settings, scenario.work.hold);
    let judgement = judge::judge(log, &promise, &Expected::of(scenario).without_contention());
    let verdict = verdict::judge(Evidence { log, judgement: &judgement, wanted: play.sections, growth });
    let mut text = summary::text(play, view, &verdict, elapsed);
    if let Some(width) = stream.width() {
        text = summary::wrap(&text, width);
    }
    let printed = match stream {
        Stream::Stdout => io::stdout().write_all(text.as_bytes()),
        Stream::Stderr => {
            // The JSON object is the result; the text is for a person who watches.
            let _ = io::stderr().write_all(text.as_bytes());
            writeln!(io::stdout(), "{}", summary::json(play, view, &verdict, elapsed))
        }
    };
    printed.map_err(|source| Failure::System { action: "print the verdict", source })?;
    Ok(if verdict.is_clean() { Exit::SUCCESS } else { Exit::UNCLEAN })
}

/// Converts an argument. The bounds of the arguments are far below any machine's limit.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
