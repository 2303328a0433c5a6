//! `redlock config`: what the settings are, and what is wrong with them.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crossterm::style::Stylize as _;
use redlock_quorum::{Place, Setting, Settings, SettingsError};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};

/// Answers of a master in the same room, and of one on another continent.
const ROUND_TRIPS: [(Duration, &str); 2] =
    [(Duration::from_millis(1), "within a site"), (Duration::from_millis(100), "between continents")];

/// Check settings, and see what they are and what they mean.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Look for mistakes: all at once, each with its line and column. Exits with 78 when there are any.
    #[command(after_long_help = ENVIRONMENT)]
    Check(CheckArgs),
    /// Show every setting with its value and where that is from, and what the settings mean together.
    #[command(after_long_help = ENVIRONMENT)]
    Show(ShowArgs),
    /// Print a settings file with all settings, their defaults, bounds and reasons.
    Example,
}

#[derive(clap::Args)]
struct CheckArgs {
    /// The settings file, instead of --config.
    file: Option<PathBuf>,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one JSON object instead, with the list `mistakes`.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let (text, exit) = match args.action {
        Action::Check(args) => check(args)?,
        Action::Show(ShowArgs { nodes, json }) => {
            let settings = checked(nodes.builder())?;
            let text = if json { format!("{:#}\n", as_json(&settings)) } else { as_text(&settings) };
            (text, Exit::SUCCESS)
        }
        Action::Example => (Setting::example_file(), Exit::SUCCESS),
    };
    let printed = io::stdout().write_all(text.as_bytes());
    printed.map_err(|source| Failure::System { action: "print the settings", source })?;
    Ok(exit)
}

fn check(args: CheckArgs) -> Result<(String, Exit), Failure> {
    let CheckArgs { file, nodes, json } = args;
    let result = nodes.with_file(file).builder().settings();
    if json {
        let mistakes = result.as_ref().map_or_else(Vec::as_slice, |_| &[]);
        let exit = if mistakes.is_empty() { Exit::SUCCESS } else { Exit::CONFIGURATION };
        let mistakes: Vec<_> = mistakes.iter().map(mistake_as_json).collect();
        return Ok((format!("{:#}\n", json!({ "mistakes": mistakes })), exit));
    }
    let settings = result.map_err(Failure::Settings)?;
    let mut text = format!("no mistakes: {}\n", survival(&settings));
    for warning in settings.warnings() {
        let _ = writeln!(text, "warning: {warning}");
    }
    Ok((text, Exit::SUCCESS))
}

fn mistake_as_json(mistake: &SettingsError) -> Value {
    let place = mistake.place();
    json!({
        "setting": mistake.setting(),
        "place": place.map(place_as_json),
        "message": mistake.reason().to_string(),
    })
}

fn place_as_json(place: &Place) -> Value {
    match place {
        Place::File { path, line, column } => json!({ "file": **path, "line": line, "column": column }),
        Place::Environment { variable } => json!({ "variable": **variable }),
        Place::Flag { flag } => json!({ "flag": **flag }),
        Place::Default | Place::Code | _ => Value::Null,
    }
}

fn as_json(settings: &Settings) -> Value {
    let values = settings.effective().map(|(setting, value, place)| {
        (setting.name().to_owned(), json!({ "value": value, "place": place_as_json(place) }))
    });
    json!({
        "settings": values.collect::<serde_json::Map<_, _>>(),
        "means": {
            "nodes": settings.nodes(),
            "quorum": settings.quorum(),
            "losses_survived": settings.losses_survived(),
            "validity_ms": millis(settings.validity_after(Duration::ZERO)),
            "validity_by_round_trip": ROUND_TRIPS.map(|(round_trip, _)| json!({
                "round_trip_ms": millis(round_trip),
                "validity_ms": millis(settings.validity_after(round_trip)),
            })),
            "outage_after_crash_ms": millis(settings.outage_after_crash(settings.ttl())),
            "outage_after_crash_at_max_ttl_ms": millis(settings.outage_after_crash(settings.max_ttl())),
            "quarantine_ms": millis(settings.quarantine()),
            "warnings": settings.warnings(),
        },
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn as_text(settings: &Settings) -> String {
    let rows: Vec<_> = settings.effective().map(|(s, value, place)| (s.name(), value, place)).collect();
    let name_width = rows.iter().map(|(name, _, _)| name.len()).max().unwrap_or(0);
    // One long value does not push all places off the screen.
    let value_width =
        rows.iter().map(|(_, value, _)| value.len()).filter(|width| *width <= 32).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value, place) in rows {
        let values = if name == "nodes" { value.split(", ").collect() } else { vec![value.as_str()] };
        let names = [name].into_iter().chain(std::iter::repeat(""));
        for (name, value) in names.zip(values) {
            let line = format!("{name:name_width$}  {value:value_width$}  {place}");
            let line = if *place == Place::Default { dimmed(&line) } else { line };
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "\n{}", bold("What this means"));
    for sentence in meaning(settings) {
        let _ = writeln!(text, "  {sentence}");
    }
    for warning in settings.warnings() {
        let _ = writeln!(text, "  {}: {warning}", bold("warning"));
    }
    text
}

fn meaning(settings: &Settings) -> Vec<String> {
    let (ttl, max_ttl) = (settings.ttl(), settings.max_ttl());
    let mut sentences = vec![
        format!("{}.", survival(settings)),
        format!("A lease of {ttl:?} is good for {:?} after drift;", settings.validity_after(Duration::ZERO)),
    ];
    for (round_trip, what) in ROUND_TRIPS {
        let left = settings.validity_after(round_trip);
        sentences.push(format!("  {left:?} of it are left when the answers take {round_trip:?} ({what});"));
    }
    sentences
        .push(format!("  with {:?} or less left, the lock is not handed over.", settings.min_validity()));
    sentences.push(format!(
        "A holder that crashes keeps others out for {:?} at most; for {:?} where a lock asks for max_ttl.",
        settings.outage_after_crash(ttl),
        settings.outage_after_crash(max_ttl),
    ));
    let quarantine = settings.quarantine();
    if !quarantine.is_zero() {
        sentences.push(format!(
            "A node that may have forgotten locks, after a restart or a failover, has no vote for {quarantine:?}."
        ));
    }
    sentences
}

fn survival(settings: &Settings) -> String {
    let (nodes, quorum) = (settings.nodes(), settings.quorum());
    let losses = match settings.losses_survived() {
        0 => "none may be lost".to_owned(),
        losses => format!("{losses} may be lost"),
    };
    format!("{quorum} of {nodes} nodes have to agree, {losses}")
}

fn bold(text: &str) -> String {
    if io::stdout().is_terminal() { text.bold().to_string() } else { text.to_owned() }
}

fn dimmed(text: &str) -> String {
    if io::stdout().is_terminal() { text.dim().to_string() } else { text.to_owned() }
}
