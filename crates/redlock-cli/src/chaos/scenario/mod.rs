//! What is to go wrong, as data: TOML files, some of them built in. docs/chaos.md is their manual.

mod fault;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

pub(super) use self::fault::{Count, Fault, Harm, Reach, Timing};
use self::text::Range;
use crate::failure::Failure;

/// The most nodes that the lock supports.
const NODES_MAX: usize = 31;
/// Each is a process with a connection to each node.
pub(super) const CLIENTS_MAX: usize = redlock_testing::MAX_CLIENTS;
/// More names than this are never contended for. Those that are held for long are numbered from there on.
const RESOURCES_MAX: u64 = super::event::LONG as u64;

/// The scenarios that are built in, by name.
pub(super) const READY: [(&str, &str); 9] = [
    ("minority-down", include_str!("../scenarios/minority-down.toml")),
    ("rolling-restart", include_str!("../scenarios/rolling-restart.toml")),
    ("majority-outage", include_str!("../scenarios/majority-outage.toml")),
    ("flapping-node", include_str!("../scenarios/flapping-node.toml")),
    ("partitioned-client", include_str!("../scenarios/partitioned-client.toml")),
    ("slow-node", include_str!("../scenarios/slow-node.toml")),
    ("clock-step", include_str!("../scenarios/clock-step.toml")),
    ("amnesia", include_str!("../scenarios/amnesia.toml")),
    ("random", include_str!("../scenarios/random.toml")),
];

/// A scenario that holds together.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) nodes: usize,
    pub(super) durability: Durability,
    pub(super) duration: Duration,
    pub(super) clients: usize,
    pub(super) work: Work,
    /// Below the user's own settings.
    pub(super) settings: Vec<(String, String)>,
    pub(super) faults: Vec<Fault>,
    pub(super) random: Option<Random>,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Work {
    /// Names that are locked briefly.
    pub(super) resources: u64,
    /// The longest of these holds.
    #[serde(deserialize_with = "text::duration")]
    pub(super) hold: Duration,
    /// The longest pause between two of them.
    #[serde(deserialize_with = "text::duration")]
    pub(super) rest: Duration,
    /// Names that are held for long.
    pub(super) long_resources: u64,
    /// The longest of these holds, long enough for renewals.
    #[serde(deserialize_with = "text::duration")]
    pub(super) long_hold: Duration,
    /// One visit of so many is to one of these; 0 for none.
    pub(super) long_one_in: u64,
}

/// What survives the death of a local node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Durability {
    #[default]
    Always,
    Volatile,
}

/// Faults that are drawn one after the other.
#[derive(Debug, Clone)]
pub(super) struct Random {
    /// The time from one to the next.
    pub(super) every: Range,
    /// The most nodes that are faulty at once.
    pub(super) nodes: Count,
    /// The most clients that are faulty at once.
    pub(super) clients: Count,
    /// Each with its weight.
    pub(super) faults: Vec<(u32, Fault)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default = "five")]
    nodes: usize,
    #[serde(default)]
    durability: Durability,
    #[serde(deserialize_with = "text::duration")]
    duration: Duration,
    #[serde(default = "eight")]
    clients: usize,
    #[serde(default)]
    work: Work,
    #[serde(default)]
    settings: BTreeMap<String, toml::Value>,
    #[serde(default)]
    fault: Vec<fault::Raw>,
    random: Option<RawRandom>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRandom {
    every: Range,
    #[serde(default = "minority")]
    nodes: Count,
    #[serde(default = "one")]
    clients: Count,
    fault: Vec<fault::Raw>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            resources: 2,
            hold: Duration::from_millis(5),
            rest: Duration::from_millis(20),
            long_resources: 4,
            long_hold: Duration::from_millis(4500),
            long_one_in: 100,
        }
    }
}

impl Scenario {
    /// The ready one of that name, or else the file.
    pub(super) fn load(name: &str) -> Result<Self, Failure> {
        if let Some((name, text)) = READY.iter().find(|(ready, _)| *ready == name) {
            return parse(name, text).map_err(|error| Failure::Internal(format!("scenario {name}: {error}")));
        }
        let path = Path::new(name);
        let wrong = |reason: String| Failure::Scenario { name: name.to_owned(), reason };
        if path.extension().is_none() && !path.exists() {
            let ready: Vec<&str> = READY.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!("there is no such file, and the ready ones are {}", ready.join(", "))));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        parse(&stem, &text).map_err(wrong)
    }
}

fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let File { about, nodes, durability, duration, clients, work, settings, fault, random } = file;
    bounded("nodes", nodes, 1, NODES_MAX)?;
    bounded("clients", clients, 1, CLIENTS_MAX)?;
    bounded("work.resources", work.resources, 1, RESOURCES_MAX)?;
    bounded("work.long_resources", work.long_resources, 1, RESOURCES_MAX)?;
    if duration < Duration::from_secs(1) {
        return Err("duration must be at least 1s".to_owned());
    }
    let mut lines = Vec::new();
    flatten("", settings.into_iter(), &mut lines)?;
    let faults = fault.into_iter().map(fault::Raw::scheduled).collect::<Result<_, _>>()?;
    let random = random.map(RawRandom::check).transpose()?;
    Ok(Scenario {
        name: name.to_owned(),
        about,
        nodes,
        durability,
        duration,
        clients,
        work,
        settings: lines,
        faults,
        random,
    })
}

impl RawRandom {
    fn check(self) -> Result<Random, String> {
        let Self { every, nodes, clients, fault } = self;
        if every.is_too_short() {
            return Err("random.every must be at least 10ms".to_owned());
        }
        if fault.is_empty() {
            return Err("random needs at least one [[random.fault]]".to_owned());
        }
        let faults = fault.into_iter().map(fault::Raw::weighted).collect::<Result<_, _>>()?;
        Ok(Random { every, nodes, clients, faults })
    }
}

/// Settings as `--set` takes them.
fn flatten(
    prefix: &str,
    table: impl Iterator<Item = (String, toml::Value)>,
    lines: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{name}."), inner.into_iter(), lines)?,
            toml::Value::String(text) => lines.push((name, text)),
            toml::Value::Integer(number) => lines.push((name, number.to_string())),
            toml::Value::Float(number) => lines.push((name, number.to_string())),
            toml::Value::Boolean(is) => lines.push((name, is.to_string())),
            toml::Value::Datetime(_) | toml::Value::Array(_) => {
                return Err(format!("settings.{name} must be a text, a number or true or false"));
            }
        }
    }
    Ok(())
}

fn bounded<T: Copy + PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("{name} is {value}; must be between {least} and {most}"));
    }
    Ok(())
}

fn five() -> usize {
    5
}

fn eight() -> usize {
    8
}

fn minority() -> Count {
    Count::Minority
}

fn one() -> Count {
    Count::Number(1)
}

#[cfg(test)]
mod tests;
