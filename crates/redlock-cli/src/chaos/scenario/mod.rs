//! Scenarios: planned faults, as data in TOML files, some of them built in. docs/chaos.md is the manual.

mod document;
mod fault;
mod text;

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use redlock_quorum::{Redlock, SettingsError};
use toml::de::{DeTable, DeValue};

use self::document::{Fields, Source};
pub(crate) use self::document::{Mistake, Spot};
use self::fault::Cast;
pub(crate) use self::fault::{Count, Fault, Harm, Reach, Timing};
pub(crate) use self::text::Range;
use crate::failure::Failure;

/// The part of a run without faults at the end: a fifth, at most 3 s. Clients have to acquire locks again in that time.
const CALM_MAX: Duration = Duration::from_secs(3);
const CALM_PART: u32 = 5;

/// The most nodes that the lock supports.
const NODES_MAX: usize = 31;
/// The most clients. Each is a process with a connection to each node.
pub(crate) const CLIENTS_MAX: usize = redlock_testing::MAX_CLIENTS;
/// More names than this are never contended. The numbers of resources that are held for long begin here.
const RESOURCES_MAX: u64 = super::event::LONG as u64;
/// A shorter run would be over before the first client is ready.
pub(crate) const DURATION_MIN: Duration = Duration::from_secs(1);

/// The scenarios that are built in, by name.
pub(super) const READY: [(&str, &str); 10] = [
    ("minority-down", include_str!("../scenarios/minority-down.toml")),
    ("rolling-restart", include_str!("../scenarios/rolling-restart.toml")),
    ("majority-outage", include_str!("../scenarios/majority-outage.toml")),
    ("flapping-node", include_str!("../scenarios/flapping-node.toml")),
    ("partitioned-client", include_str!("../scenarios/partitioned-client.toml")),
    ("slow-node", include_str!("../scenarios/slow-node.toml")),
    ("clock-step", include_str!("../scenarios/clock-step.toml")),
    ("clocks-in-turn", include_str!("../scenarios/clocks-in-turn.toml")),
    ("amnesia", include_str!("../scenarios/amnesia.toml")),
    ("random", include_str!("../scenarios/random.toml")),
];

/// A complete and valid scenario.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) about: String,
    /// The names of the nodes.
    pub(crate) nodes: Vec<String>,
    pub(crate) durability: Durability,
    pub(crate) duration: Duration,
    pub(crate) clients: usize,
    pub(crate) work: Work,
    /// Overridden by the user's own settings.
    pub(crate) settings: Vec<Assignment>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) random: Option<Random>,
    /// The words of faults that are planned and not played.
    pub(crate) without: Vec<String>,
}

/// One setting of the lock, as the scenario gives it.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) setting: String,
    pub(crate) value: String,
    /// The position in the file.
    pub(crate) spot: Spot,
}

/// The command line's part of a scenario, which overrides the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// The names of the nodes, where these are not the scenario's own.
    pub(crate) nodes: Option<Vec<String>>,
    pub(crate) clients: Option<usize>,
    pub(crate) duration: Option<Duration>,
    /// The words of faults that are not played.
    pub(crate) without: Vec<String>,
}

/// The work of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Number of resources that are locked briefly.
    pub(crate) resources: u64,
    /// The longest brief hold.
    pub(crate) hold: Duration,
    /// The longest pause between two holds.
    pub(crate) rest: Duration,
    /// Number of resources that are held for long.
    pub(crate) long_resources: u64,
    /// The longest long hold, long enough for renewals.
    pub(crate) long_hold: Duration,
    /// One hold of this many is a long one; 0 for none.
    pub(crate) long_one_in: u64,
    /// One lock of this many is a reader's; 0 for none.
    pub(crate) shared_one_in: u64,
    /// One brief lock of this many is of two resources; 0 for none.
    pub(crate) multi_one_in: u64,
    /// One lock of this many is a slot; 0 for none.
    pub(crate) slot_one_in: u64,
    /// One lock of this many is a leadership; 0 for none.
    pub(crate) lead_one_in: u64,
    /// Number of slots.
    pub(crate) slots: u64,
    /// The TTL of each lease is drawn from here to the setting `ttl`; zero for always the latter.
    pub(crate) shortest_ttl: Duration,
}

/// Whether a local node keeps its data when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Durability {
    #[default]
    Always,
    Volatile,
}

/// Faults that are drawn at random, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    /// The time from one fault to the next.
    pub(crate) every: Range,
    /// The most nodes that are faulty at once.
    pub(crate) nodes: Count,
    /// The most clients that are faulty at once.
    pub(crate) clients: Count,
    /// Each fault with its weight.
    pub(crate) faults: Vec<(u32, Fault)>,
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
            shared_one_in: 4,
            multi_one_in: 6,
            slot_one_in: 8,
            lead_one_in: 12,
            slots: 3,
            shortest_ttl: Duration::ZERO,
        }
    }
}

impl Scenario {
    /// Loads the ready scenario of that name, or else the file.
    ///
    /// # Errors
    ///
    /// All mistakes in the scenario.
    pub(crate) fn load(name: &str, given: &Given) -> Result<Self, Failure> {
        let wrong =
            |mistakes: Vec<Mistake>| Failure::Scenario(mistakes.iter().map(ToString::to_string).collect());
        if let Some((name, text)) = READY.iter().find(|(ready, _)| *ready == name) {
            return parse(name, name, text, given).map_err(wrong)?.leaving_out(&given.without);
        }
        let path = Path::new(name);
        let failed = |reason: String| Failure::Scenario(vec![format!("scenario {name}: {reason}")]);
        if path.extension().is_none() && !path.exists() {
            let ready: Vec<&str> = READY.iter().map(|(name, _)| *name).collect();
            let meant = document::suggestion(name, ready.iter().copied());
            let ready = ready.join(", ");
            return Err(failed(format!("there is no such file, and the ready ones are {ready}{meant}")));
        }
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        parse(&stem, name, &text, given).map_err(wrong)?.leaving_out(&given.without)
    }

    /// The scenario without the faults of these words. They stay in the plan, so that a seed decides the same of the others.
    fn leaving_out(self, without: &[String]) -> Result<Self, Failure> {
        let random = self.random.iter().flat_map(|random| random.faults.iter().map(|(_, fault)| fault));
        let mut words: Vec<&str> = self.faults.iter().chain(random).map(|fault| fault.name).collect();
        words.sort_unstable();
        words.dedup();
        let wrong = |word: &&String| !words.contains(&word.as_str());
        let mistake =
            |word: &String| format!("--without {word}: the faults of this scenario are {}", words.join(", "));
        let mistakes: Vec<String> = without.iter().filter(wrong).map(mistake).collect();
        if !mistakes.is_empty() {
            return Err(Failure::Scenario(mistakes));
        }
        Ok(Self { without: without.to_vec(), ..self })
    }

    /// Whether faults of this word are not played.
    pub(crate) fn leaves_out(&self, word: &str) -> bool {
        self.without.iter().any(|left_out| left_out == word)
    }
}

#[cfg(test)]
impl Scenario {
    pub(crate) fn of_text(text: &str) -> Self {
        parse("test", "t.toml", text, &Given::default()).unwrap()
    }
}

/// The name of a local node, in messages and in scenarios.
fn local_name(node: usize) -> String {
    format!("node {node}")
}

const FIELDS: [&str; 9] =
    ["about", "nodes", "durability", "duration", "clients", "work", "settings", "fault", "random"];
const WORK_FIELDS: [&str; 12] = [
    "resources",
    "hold",
    "rest",
    "long_resources",
    "long_hold",
    "long_one_in",
    "shared_one_in",
    "multi_one_in",
    "slot_one_in",
    "lead_one_in",
    "slots",
    "shortest_ttl",
];
const RANDOM_FIELDS: [&str; 4] = ["every", "nodes", "clients", "fault"];
const DURABILITIES: &[(&str, Durability)] =
    &[("always", Durability::Always), ("volatile", Durability::Volatile)];

fn parse(name: &str, file: &str, text: &str, given: &Given) -> Result<Scenario, Vec<Mistake>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let source = Source::new(file, text);
    if !errors.is_empty() {
        // Reading stops here, because the rest of a file that is not TOML is incomplete and would produce false
        // mistakes.
        for error in &errors {
            source.note(
                source.spot(&error.span().unwrap_or(0..0)),
                format_args!("not TOML: {}", error.message()),
            );
        }
        return Err(source.mistakes());
    }
    let scenario = read(name, Fields::new(&source, "", &(0..0), document.get_ref()), given);
    let mistakes = source.mistakes();
    scenario.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

fn read(name: &str, mut fields: Fields<'_, '_>, given: &Given) -> Option<Scenario> {
    let about = fields.required("about", "a scenario", text::text);
    let count = fields.optional("nodes", text::number(1, NODES_MAX)).map_or(5, |(nodes, _)| nodes);
    let nodes = given.nodes.clone().unwrap_or_else(|| (0..count).map(local_name).collect());
    let durability = fields.optional("durability", text::one_of(DURABILITIES));
    let duration = fields.required("duration", "a scenario", |value| {
        let duration = text::duration(value)?;
        if duration < DURATION_MIN { Err(format!("must be at least {DURATION_MIN:?}")) } else { Ok(duration) }
    });
    let own_clients =
        fields.optional("clients", text::number(1, CLIENTS_MAX)).map_or(8, |(clients, _)| clients);
    let clients = given.clients.unwrap_or(own_clients);
    // If a user shortens the run, faults may fall outside of it. The verdict lists them.
    let longest = duration.iter().map(|(own, _)| *own).chain(given.duration).max();
    let end = longest.map_or(Duration::MAX, faults_end);
    let cast = Cast { nodes: &nodes, clients, end };
    let work = fields.table("work", "work.").map_or_else(Work::default, read_work);
    let mut settings = Vec::new();
    if let Some(value) = fields.take("settings") {
        flatten(&fields.source, "", value.get_ref(), &mut settings);
    }
    let faults = fields.tables("fault", "");
    let faults = faults.into_iter().filter_map(|fault| fault::scheduled(fault, cast)).collect();
    let random = fields.table("random", "random.").and_then(|random| read_random(random, cast));
    fields.finish(&FIELDS, |_| None);
    Some(Scenario {
        name: name.to_owned(),
        about: about?.0,
        durability: durability.map_or_else(Durability::default, |(durability, _)| durability),
        duration: given.duration.unwrap_or(duration?.0),
        clients,
        work,
        settings,
        faults,
        random,
        nodes,
        without: Vec::new(),
    })
}

fn read_work(mut fields: Fields<'_, '_>) -> Work {
    let default = Work::default();
    let mut duration =
        |name, default| fields.optional(name, text::duration).map_or(default, |(read, _)| read);
    let hold = duration("hold", default.hold);
    let rest = duration("rest", default.rest);
    let long_hold = duration("long_hold", default.long_hold);
    let shortest_ttl =
        fields.optional("shortest_ttl", text::ttl).map_or(default.shortest_ttl, |(ttl, _)| ttl);
    let mut number = |name, least, most, default| {
        fields.optional(name, text::number(least, most)).map_or(default, |(read, _)| read)
    };
    let resources = number("resources", 1, RESOURCES_MAX, default.resources);
    let long_resources = number("long_resources", 1, RESOURCES_MAX, default.long_resources);
    let slots = number("slots", 1, 64, default.slots);
    let mut one_in = |name, default| number(name, 0, u64::from(u32::MAX), default);
    let long_one_in = one_in("long_one_in", default.long_one_in);
    let shared_one_in = one_in("shared_one_in", default.shared_one_in);
    let multi_one_in = one_in("multi_one_in", default.multi_one_in);
    let slot_one_in = one_in("slot_one_in", default.slot_one_in);
    let lead_one_in = one_in("lead_one_in", default.lead_one_in);
    fields.finish(&WORK_FIELDS, |_| None);
    Work {
        resources,
        hold,
        rest,
        long_resources,
        long_hold,
        long_one_in,
        shared_one_in,
        multi_one_in,
        slot_one_in,
        lead_one_in,
        slots,
        shortest_ttl,
    }
}

fn read_random(mut fields: Fields<'_, '_>, cast: Cast<'_>) -> Option<Random> {
    let every = fields.required("every", "[random]", text::interval);
    let nodes = fields.optional("nodes", |value| Count::read(value, cast.nodes.len()));
    let clients = fields.optional("clients", |value| Count::read(value, cast.clients));
    let tables = fields.tables("fault", "");
    if tables.is_empty() {
        fields.note("random needs at least one [[random.fault]]");
    }
    let faults = tables.into_iter().filter_map(|fault| fault::weighted(fault, cast)).collect();
    fields.finish(&RANDOM_FIELDS, |_| None);
    Some(Random {
        every: every?.0,
        nodes: nodes.map_or(Count::Minority, |(nodes, _)| nodes),
        clients: clients.map_or(Count::Number(1), |(clients, _)| clients),
        faults,
    })
}

/// Flattens a table of settings to names as `--set` takes them.
fn flatten(source: &Rc<Source<'_>>, prefix: &str, table: &DeValue<'_>, settings: &mut Vec<Assignment>) {
    let DeValue::Table(table) = table else { return };
    for (key, value) in table {
        let setting = format!("{prefix}{}", key.get_ref());
        let text = match value.get_ref() {
            DeValue::Table(_) => {
                flatten(source, &format!("{setting}."), value.get_ref(), settings);
                continue;
            }
            DeValue::String(text) => text.to_string(),
            other @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => document::shown(other),
            DeValue::Datetime(_) | DeValue::Array(_) => {
                let text = format!("settings.{setting}: must be a text, a number or true or false");
                source.note(source.spot(&value.span()), text);
                continue;
            }
        };
        let unknown = setting_mistake(&setting, &text);
        let is_unknown = matches!(unknown, Some(SettingsError::Unknown { .. }));
        let spot = source.spot(&if is_unknown { key.span() } else { value.span() });
        unknown.into_iter().for_each(|mistake| source.note(spot.clone(), format_args!("settings.{mistake}")));
        settings.push(Assignment { setting, value: text, spot });
    }
}

/// The mistake of a single setting. Mistakes that depend on several settings are found when all settings are known.
fn setting_mistake(setting: &str, value: &str) -> Option<SettingsError> {
    let builder = Redlock::builder().nodes(["redis://127.0.0.1"]).flag("", setting, value);
    let mistakes = builder.settings().err()?;
    let mut reasons = mistakes.iter().map(SettingsError::reason);
    let is_its_own = |reason: &&SettingsError| {
        matches!(reason, SettingsError::Unknown { .. } | SettingsError::Malformed { .. })
    };
    reasons.find(is_its_own).cloned()
}

/// When the faults of a run end. Afterwards clients have to acquire locks again.
pub(crate) fn faults_end(duration: Duration) -> Duration {
    duration.saturating_sub(CALM_MAX.min(duration / CALM_PART))
}

#[cfg(test)]
mod tests;
