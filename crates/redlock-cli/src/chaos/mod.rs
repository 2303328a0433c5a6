//! `redlock chaos`: real clients and real faults, with a verdict and a picture.

pub(crate) mod arena;
pub(crate) mod client;
pub(crate) mod counter;
mod crew;
pub(crate) mod event;
pub(crate) mod judge;
mod keys;
pub(crate) mod log;
pub(crate) mod plan;
mod report;
pub(crate) mod scenario;
mod show;
pub(crate) mod stage;
mod store;
mod wish;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::arena::{Arena, Kind};
use self::judge::{Expected, Finding, Judgement, Promise, judge};
use self::log::Log;
use self::plan::Scope;
use self::report::Facts;
use self::scenario::{CLIENTS_MAX, Given, READY, Scenario};
use self::show::Show;
use self::stage::{Ending, Goal, Script, Stage};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, assignment, checked};
use crate::report::Report;
use crate::signals::{ENDING, Signals};

const ABOUT: &str = "\
Subject nodes and clients to faults, and judge what the clients saw

Client processes lock, work, write to a store that checks fencing tokens, and release, while a scenario kills, pauses \
and cuts off nodes and clients. The verdict on what they saw covers exclusion, fencing, losses announced in time, \
progress after healing, keys left behind, and the times when no lock could be acquired. Exits with 0 only when nothing \
is wrong and all faults that the scenario names were played.";

const EXAMPLES: &str = "\
Examples:
  redlock chaos --list
  redlock chaos --duration 1m --report /tmp/report
  redlock chaos --scenario majority-outage --config redlock.toml
  redlock chaos --nodes docker --seed 7 --json | jq .verdict
  redlock chaos --scenario clocks-in-turn --seed 7 --without clock-step";

/// The options of `redlock chaos`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Subject nodes and clients to faults, and judge what the clients saw", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    /// `local` starts its own masters. `docker` uses the containers of `make docker-up`. A comma-separated list of URLs
    /// uses nodes that somebody else runs: their network is disturbed, the nodes themselves are not.
    #[arg(long, default_value = "local", value_name = "local|docker|URL,...")]
    nodes: String,
    /// The name of a ready scenario, or a file; `--list` shows the names.
    #[arg(long, default_value = "random", value_name = "NAME|FILE")]
    scenario: String,
    /// List the ready scenarios and exit.
    #[arg(long)]
    list: bool,
    /// Duration with faults: 90s or 10m [default: as the scenario says].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Number of clients, each a process [default: as the scenario says].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX as u64))]
    clients: Option<u64>,
    /// Seed that decides which fault hits which victim and when [default: random].
    #[arg(long)]
    seed: Option<u64>,
    /// Leave out the faults that the scenario calls so, to compare. The seed decides the same of all others; may be
    /// repeated.
    #[arg(long, value_name = "NEMESIS")]
    without: Vec<String>,
    /// Write report.html, report.json and history.jsonl into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Your settings, to see how they behave; `redlock config example` prints all of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as `--set ttl=5s`; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Print the verdict as one JSON object, as in report.json.
    #[arg(long)]
    json: bool,
}

/// Parses a duration. A shorter run would test nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < scenario::DURATION_MIN {
        return Err(format!("must be at least {:?}", scenario::DURATION_MIN));
    }
    Ok(duration)
}

fn after_help() -> String {
    let ready = READY.map(|(name, _)| name).join(", ");
    format!(
        "{EXAMPLES}\n\nReady scenarios: {ready}.\nAll other sources override the settings of a scenario.\n\n{ENVIRONMENT}\n\n{}",
        exit::table()
    )
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    if args.list {
        return list();
    }
    // Listens before the start, so that a signal during the start still leads to a clean-up.
    let mut signals = Signals::listen(&ENDING)?;
    let seed = args.seed.map_or_else(crate::dice::random_seed, Ok)?;
    let kind = Kind::parse(&args.nodes);
    let given = Given {
        nodes: kind.nodes(),
        clients: args.clients.map(|clients| usize::try_from(clients).unwrap_or(1)),
        duration: args.duration,
        without: args.without.clone(),
    };
    let mut scenario = Scenario::load(&args.scenario, &given)?;
    let settings = settings(&args, &scenario)?;
    let arena = open(&kind, &scenario).await?;
    for dropped in arena.admit(&mut scenario)? {
        report.notice(format_args!("left out: {dropped}"));
    }
    let run = Run::new(args, kind, scenario, &settings, seed, arena);
    let mut stage = Stage::new(run.script()?, Show::new(report, run.scenario.duration));
    let ending = stage.play(&mut signals).await;
    // In every case nodes are healed and clients ended in order.
    let closed = tokio::select! {
        () = stage.close() => Ok(()),
        signal = signals.next() => Err(signal),
    };
    if let Err(signal) = closed {
        report
            .notice("interrupted again: there is no verdict, and nodes that are not local may not be healed");
        return Ok(Exit::by_signal(signal));
    }
    let judgement = judge(&stage.log, &run.promise, &Expected::of(&run.scenario));
    let exit = run.tell(&judgement, &stage.log)?;
    Ok(match ending? {
        Ending::Interrupted(signal) if exit != Exit::UNCLEAN => {
            report.notice("interrupted: the verdict covers the time until now");
            Exit::by_signal(signal)
        }
        Ending::Interrupted(_) | Ending::Played => exit,
    })
}

/// Runs in a thread that may block, because starting servers blocks.
pub(crate) async fn open(kind: &Kind, scenario: &Scenario) -> Result<Arc<Arena>, Failure> {
    let (kind, scenario) = (kind.clone(), scenario.clone());
    let opened = tokio::task::spawn_blocking(move || Arena::open(&kind, &scenario, scenario.clients)).await;
    opened.map_err(|panic| Failure::Internal(panic.to_string()))?.map(Arc::new)
}

/// The facts that are known before the run begins.
struct Run {
    args: Args,
    kind: Kind,
    scenario: Scenario,
    seed: u64,
    arena: Arc<Arena>,
    promise: Promise,
    shown: Vec<(String, String)>,
}

impl Run {
    fn new(
        args: Args,
        kind: Kind,
        scenario: Scenario,
        settings: &redlock_quorum::Settings,
        seed: u64,
        arena: Arc<Arena>,
    ) -> Self {
        let longest = scenario.work.hold.max(scenario.work.long_hold);
        let (promise, shown) = (Promise::of(settings, longest), shown(settings));
        Self { promise, shown, args, kind, scenario, seed, arena }
    }

    fn script(&self) -> Result<Script, Failure> {
        let Self { args, scenario, seed, arena, promise, .. } = self;
        let scope = Scope {
            nodes: arena.count(),
            clients: scenario.clients,
            duration: scenario.duration,
            quarantine: promise.quarantine,
            seed: *seed,
        };
        let history = match &args.report {
            None => None,
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|source| Failure::System { action: "create the report's directory", source })?;
                Some(directory.join("history.jsonl"))
            }
        };
        Ok(Script {
            arena: Arc::clone(arena),
            nodes: scenario.nodes.clone(),
            plan: plan::draw(scenario, scope),
            duration: scenario.duration,
            goal: Goal::default(),
            keys: keys(&promise.key_prefix, scenario.work),
            quarantine: promise.quarantine,
            ttl: promise.ttl,
            bound: promise.bound,
            arguments: (0..scenario.clients).map(|client| self.arguments(client)).collect(),
            seed: *seed,
            history,
        })
    }

    fn arguments(&self, client: usize) -> Vec<OsString> {
        let Self { args, scenario, arena, .. } = self;
        let mut arguments = client::config_argument(args.config.as_ref());
        for (setting, value) in &args.set {
            arguments.extend(["--set".into(), format!("{setting}={value}").into()]);
        }
        arguments.extend(work_arguments(scenario, arena, client));
        arguments
    }

    fn tell(&self, judgement: &Judgement, log: &Log) -> Result<Exit, Failure> {
        let facts = Facts { run: self, log, judgement };
        if let Some(directory) = &self.args.report {
            let written = facts.write(directory);
            written.map_err(|source| Failure::System { action: "write the report", source })?;
        }
        let mut text = if self.args.json { format!("{:#}\n", facts.json()) } else { facts.text() };
        if let (Some(directory), false) = (&self.args.report, self.args.json) {
            text.push_str(&format!("report: {}\n", directory.join("report.html").display()));
        }
        print(&text)?;
        Ok(match judgement.finding() {
            Finding::Clean => Exit::SUCCESS,
            Finding::Inconclusive => Exit::INCONCLUSIVE,
            Finding::Violated => Exit::UNCLEAN,
        })
    }

    /// The operator's names for the nodes.
    fn node_names(&self) -> &[String] {
        &self.scenario.nodes
    }

    /// The settings that are not defaults, without the nodes.
    fn settings_shown(&self) -> Vec<(String, String)> {
        self.shown.clone()
    }

    /// The command that repeats the run, without passwords.
    fn command(&self) -> String {
        let Self { args, kind, scenario, seed, .. } = self;
        let nodes = match kind {
            Kind::Local => "local".to_owned(),
            Kind::Docker => "docker".to_owned(),
            Kind::Urls(_) => {
                let urls: Vec<String> =
                    self.node_names().iter().map(|name| format!("redis://{name}")).collect();
                urls.join(",")
            }
        };
        let mut command = format!(
            "redlock chaos --nodes {nodes} --scenario {} --duration {} --clients {} --seed {seed}",
            args.scenario,
            humantime::format_duration(scenario.duration).to_string().replace(' ', ""),
            scenario.clients
        );
        if let Some(file) = &args.config {
            command.push_str(&format!(" --config {}", file.display()));
        }
        for nemesis in &args.without {
            command.push_str(&format!(" --without {nemesis}"));
        }
        for (setting, value) in &args.set {
            command.push_str(&format!(" --set {setting}={value}"));
        }
        command
    }
}

/// The arguments of a client that describe its work and its way to the nodes.
pub(crate) fn work_arguments(scenario: &Scenario, arena: &Arena, client: usize) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    for scenario::Assignment { setting, value, .. } in &scenario.settings {
        arguments.extend(["--default".into(), format!("{setting}={value}").into()]);
    }
    for url in arena.urls(client) {
        arguments.extend(["--url".into(), url.into()]);
    }
    let work = scenario.work;
    let numbers = [
        ("--resources", work.resources),
        ("--long-resources", work.long_resources),
        ("--hold", micros(work.hold)),
        ("--rest", micros(work.rest)),
        ("--long-hold", micros(work.long_hold)),
        ("--long-one-in", work.long_one_in),
        ("--shared-one-in", work.shared_one_in),
        ("--multi-one-in", work.multi_one_in),
        ("--slot-one-in", work.slot_one_in),
        ("--lead-one-in", work.lead_one_in),
        ("--slots", work.slots),
        ("--shortest-ttl", micros(work.shortest_ttl)),
    ];
    for (flag, number) in numbers {
        arguments.extend([flag.into(), number.to_string().into()]);
    }
    arguments
}

/// The clients' settings. The number of nodes is right but their URLs are not, because nodes are started after the
/// settings have been checked.
fn settings(args: &Args, scenario: &Scenario) -> Result<redlock_quorum::Settings, Failure> {
    let spots: Vec<String> = scenario.settings.iter().map(|given| given.spot.to_string()).collect();
    let given = scenario.settings.iter().zip(&spots);
    let mut builder = client::below(
        given.map(|(given, spot)| (spot.as_str(), given.setting.as_str(), given.value.as_str())),
    );
    let nodes: Vec<String> =
        (1..=scenario.nodes.len()).map(|node| format!("redis://127.0.0.1:{node}")).collect();
    if let Some(file) = &args.config {
        builder = builder.file(file);
    }
    builder = builder.environment().flag("--nodes", "nodes", &nodes.join(","));
    for (setting, value) in &args.set {
        builder = builder.flag(&format!("--set {setting}"), setting, value);
    }
    checked(builder)
}

/// The settings that somebody has chosen, except the nodes, which are shown elsewhere. The library hides passwords.
fn shown(settings: &redlock_quorum::Settings) -> Vec<(String, String)> {
    let chosen = settings.effective().filter(|(setting, _, place)| {
        **place != redlock_quorum::SettingOrigin::Default && setting.name() != "nodes"
    });
    chosen.map(|(setting, value, _)| (setting.name().to_owned(), value)).collect()
}

fn list() -> Result<Exit, Failure> {
    let mut text = String::new();
    for (name, _) in READY {
        let Scenario { about, .. } = Scenario::load(name, &Given::default())?;
        text.push_str(&format!("{name:20}{about}\n"));
    }
    print(&text)?;
    Ok(Exit::SUCCESS)
}

fn print(text: &str) -> Result<(), Failure> {
    let printed = io::stdout().write_all(text.as_bytes());
    printed.map_err(|source| Failure::System { action: "print the verdict", source })
}

fn keys(prefix: &str, work: scenario::Work) -> Vec<String> {
    let names = |first: usize, count: u64| (first..).take(usize::try_from(count).unwrap_or(1));
    let all = names(0, work.resources).chain(names(event::LONG, work.long_resources)).chain([event::LEADER]);
    let slots = (0..work.slots)
        .map(|slot| format!("redlock-quorum:slot:{slot}:{prefix}{}", event::resource_name(event::SLOTS)));
    all.map(|resource| format!("{prefix}{}", event::resource_name(resource))).chain(slots).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
