//! `redlock config`: shows the settings and the mistakes in them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use redlock_quorum::{Setting, SettingOrigin, Settings, SettingsError};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Tone, millis};

/// Values longer than this do not widen the column of all values, which would push the origins off the screen.
const ALIGNED_CHARS: usize = 32;

/// Typical round trips, for which `show` computes the remaining validity.
const ROUND_TRIPS: [(Duration, &str); 2] =
    [(Duration::from_millis(1), "within a site"), (Duration::from_millis(100), "between continents")];

const EXAMPLES: &str = "\
Examples:
  redlock config example > redlock.toml
  redlock config check redlock.toml
  redlock config show --config redlock.toml";

const CHECK_EXAMPLES: &str = "\
Examples:
  redlock config check /etc/redlock.toml
  redlock config check --set ttl=1m --set node_timeout=1s
  redlock config check --json redlock.toml | jq -r '.mistakes[].message'";

const SHOW_EXAMPLES: &str = "\
Examples:
  redlock config show
  redlock config show --set quorum=4          what that would mean
  redlock config show | grep -v 'default$'    what has been set
  redlock config show --json | jq .means.tolerated_failures

On a terminal the values are a table, elsewhere tab-separated lines. Passwords are not shown.";

/// Check settings, and see what they are and what they mean.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Find all mistakes at once, each with its line and column. Exits with 78 when there are any.
    #[command(after_long_help = format!("{CHECK_EXAMPLES}\n\n{ENVIRONMENT}"))]
    Check(CheckArgs),
    /// Show every setting with its value and the value's origin, and what the settings mean together.
    #[command(after_long_help = format!("{SHOW_EXAMPLES}\n\n{ENVIRONMENT}"))]
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
    match args.action {
        Action::Check(args) => return check(args),
        Action::Show(ShowArgs { nodes, json }) => {
            let settings = checked(nodes.builder())?;
            if json {
                output::print_json(&as_json(&settings))?;
            } else {
                output::print(&as_text(&settings, Medium::of_stdout()))?;
            }
        }
        Action::Example => output::print(&Setting::example_file())?,
    }
    Ok(Exit::SUCCESS)
}

fn check(args: CheckArgs) -> Result<Exit, Failure> {
    let CheckArgs { file, nodes, json } = args;
    let result = nodes.with_file(file).builder().settings();
    if json {
        let mistakes = result.as_ref().map_or_else(Vec::as_slice, |_| &[]);
        let exit = if mistakes.is_empty() { Exit::SUCCESS } else { Exit::CONFIGURATION };
        let mistakes: Vec<_> = mistakes.iter().map(mistake_as_json).collect();
        output::print_json(&json!({ "mistakes": mistakes }))?;
        return Ok(exit);
    }
    let settings = result.map_err(Failure::Settings)?;
    let medium = Medium::of_stdout();
    let told = format!("{}.", survival(&settings));
    let text = format!("{}\n", medium.paragraph("no mistakes", Tone::Good, &told));
    output::print(&(text + &warnings("", &settings, medium)))?;
    Ok(Exit::SUCCESS)
}

fn mistake_as_json(mistake: &SettingsError) -> Value {
    let origin = mistake.origin();
    json!({
        "setting": mistake.setting(),
        "origin": origin.map(origin_as_json),
        "message": mistake.reason().to_string(),
    })
}

fn origin_as_json(origin: &SettingOrigin) -> Value {
    match origin {
        SettingOrigin::File { path, line, column } => {
            json!({ "file": **path, "line": line, "column": column })
        }
        SettingOrigin::Environment { variable } => json!({ "variable": **variable }),
        SettingOrigin::Flag { flag } => json!({ "flag": **flag }),
        SettingOrigin::Default | SettingOrigin::Code | _ => Value::Null,
    }
}

fn as_json(settings: &Settings) -> Value {
    let values = settings.effective().map(|(setting, value, origin)| {
        (setting.name().to_owned(), json!({ "value": value, "origin": origin_as_json(origin) }))
    });
    json!({
        "settings": values.collect::<serde_json::Map<_, _>>(),
        "means": {
            "nodes": settings.nodes(),
            "quorum": settings.quorum(),
            "tolerated_failures": settings.tolerated_failures(),
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

fn as_text(settings: &Settings, medium: Medium) -> String {
    let mut rows = Vec::new();
    for (setting, value, origin) in settings.effective() {
        let name = setting.name();
        // URLs contain no comma followed by a blank.
        let values = if name == "nodes" { value.split(", ").collect() } else { vec![value.as_str()] };
        rows.extend(values.into_iter().map(|value| (name, value.to_owned(), origin)));
    }
    let mut text = match medium {
        Medium::Terminal { .. } => aligned(&rows, medium),
        // Tab-separated, for `cut` and `awk`.
        Medium::Pipe => {
            rows.iter().map(|(name, value, origin)| format!("{name}\t{value}\t{origin}\n")).collect()
        }
    };
    let _ = writeln!(text, "\n{}", medium.paint("What this means", Tone::Strong));
    for sentence in meaning(settings) {
        let _ = writeln!(text, "{}", medium.fill("  ", &sentence));
    }
    text + &warnings("  ", settings, medium)
}

fn aligned(rows: &[(&str, String, &SettingOrigin)], medium: Medium) -> String {
    let name_width = rows.iter().map(|(name, _, _)| name.len()).max().unwrap_or(0);
    let values = rows.iter().map(|(_, value, _)| value.chars().count());
    let value_width = values.filter(|width| *width <= ALIGNED_CHARS).max().unwrap_or(0);
    let (mut text, mut last) = (String::new(), "");
    for (name, value, origin) in rows {
        let shown = if *name == last { "" } else { name };
        let line = format!("{shown:name_width$}  {value:value_width$}  {origin}");
        let tone = if **origin == SettingOrigin::Default { Tone::Faint } else { Tone::Plain };
        let _ = writeln!(text, "{}", medium.paint(&line, tone));
        last = name;
    }
    text
}

fn warnings(indent: &str, settings: &Settings, medium: Medium) -> String {
    let mut text = String::new();
    for warning in settings.warnings() {
        let told = medium.paragraph("warning", Tone::Doubtful, &warning.to_string());
        let _ = writeln!(text, "{indent}{told}");
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
        sentences.push(format!("  {left:?} are left when the answers take {round_trip:?} ({what});"));
    }
    sentences.push(format!("  with {:?} or less left, the attempt fails.", settings.min_validity()));
    sentences.push(format!(
        "A crashed holder keeps others out for at most {:?}; for {:?} if its lock asked for max_ttl.",
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
    let losses = match settings.tolerated_failures() {
        0 => "none may be lost".to_owned(),
        losses => format!("{losses} may be lost"),
    };
    format!("{quorum} of {nodes} nodes have to agree, {losses}")
}
