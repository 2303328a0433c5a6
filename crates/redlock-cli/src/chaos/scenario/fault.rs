//! One fault of a scenario.

use std::time::Duration;

use redlock_testing::{ClientFault, Clients, ClockStep, Data, FaultDuration, Link, Nemesis};
use toml::de::DeValue;

use super::document::{Fields, Spot, shown, suggestion};
use super::text::{self, Range};

/// A fault, its victims and its time.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The file's word for the fault.
    pub(crate) name: &'static str,
    /// The position of that word in the file.
    pub(crate) spot: Spot,
    pub(crate) harm: Harm,
    /// How many nodes, or which ones; for a fault of clients, how many clients.
    pub(crate) reach: Reach,
    /// The duration, for a fault that lasts.
    pub(crate) lasts: Option<Range>,
    pub(crate) timing: Timing,
}

/// The victims and the kind of the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Harm {
    /// A fault of nodes. A fault of a link concerns all clients.
    Node(Nemesis),
    /// A fault of the way between some clients and some nodes.
    Way {
        clients: Count,
        link: Link,
    },
    Client(ClientFault),
}

/// The victims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    These(Vec<usize>),
    Drawn(Count),
}

/// How many of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Number(usize),
    /// The largest number whose loss leaves a majority.
    Minority,
    /// The smallest number whose loss leaves no majority.
    Majority,
    All,
    /// One, and at each repetition the next one.
    Next,
}

/// When the fault comes, since the clients have begun.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timing {
    Once {
        at: Duration,
    },
    Repeated {
        at: Duration,
        every: Range,
    },
    /// At a random time.
    Random,
}

impl Count {
    pub(crate) fn of(self, all: usize) -> usize {
        let majority = all / 2 + 1;
        match self {
            Self::Number(number) => number.min(all),
            Self::Minority => all.saturating_sub(majority),
            Self::Majority => majority,
            Self::All => all,
            Self::Next => 1,
        }
    }

    /// # Errors
    ///
    /// The values that would be accepted.
    pub(super) fn read(value: &DeValue<'_>, all: usize) -> Result<Self, String> {
        let words: &'static [(&'static str, Self)] = &[
            ("minority", Self::Minority),
            ("majority", Self::Majority),
            ("all", Self::All),
            ("next", Self::Next),
        ];
        if value.as_str().is_some() {
            text::one_of(words)(value)
        } else {
            text::number(1, all)(value).map(Self::Number)
        }
    }
}

impl Reach {
    /// Reads the victims. `names` are the names of all nodes.
    fn read(value: &DeValue<'_>, names: &[String]) -> Result<Self, String> {
        let DeValue::Array(items) = value else {
            let count = Count::read(value, names.len())?;
            if count.of(names.len()) == 0 {
                return Err(format!("of {} nodes there is no minority", names.len()));
            }
            return Ok(Self::Drawn(count));
        };
        if items.is_empty() {
            return Err("must name a node".to_owned());
        }
        items.iter().map(|item| node(item.get_ref(), names)).collect::<Result<_, _>>().map(Self::These)
    }
}

/// Finds a node by its number or its name.
fn node(value: &DeValue<'_>, names: &[String]) -> Result<usize, String> {
    let found = match value.as_str() {
        Some(text) => names.iter().position(|name| name == text),
        None => text::number(0, names.len().saturating_sub(1))(value).ok(),
    };
    found.ok_or_else(|| {
        let meant = value.as_str().map(|text| suggestion(text, names.iter().map(String::as_str)));
        let meant = meant.unwrap_or_default();
        format!(
            "there is no node {}: the nodes are 0 to {}, or {}{meant}",
            shown(value),
            names.len().saturating_sub(1),
            names.join(", ")
        )
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    Restart,
    Pause,
    Cut,
    Reset,
    Slow,
    Lossy,
    Narrow,
    ClockStep,
    ClockRate,
    MemoryFull,
    Flush,
    ScriptFlush,
    PauseClient,
    KillClient,
}

/// The words of a scenario file, as documented in docs/chaos.md.
const KINDS: &[(&str, Kind)] = &[
    ("kill", Kind::Kill),
    ("restart", Kind::Restart),
    ("pause", Kind::Pause),
    ("cut", Kind::Cut),
    ("reset", Kind::Reset),
    ("slow", Kind::Slow),
    ("lossy", Kind::Lossy),
    ("narrow", Kind::Narrow),
    ("clock-step", Kind::ClockStep),
    ("clock-rate", Kind::ClockRate),
    ("memory-full", Kind::MemoryFull),
    ("flush", Kind::Flush),
    ("script-flush", Kind::ScriptFlush),
    ("pause-client", Kind::PauseClient),
    ("kill-client", Kind::KillClient),
];

const DATA: &[(&str, Data)] = &[("kept", Data::Kept), ("lost", Data::Lost)];

/// All fields that any fault has.
const FIELDS: [&str; 14] = [
    "nemesis",
    "at",
    "every",
    "for",
    "nodes",
    "clients",
    "weight",
    "data",
    "latency",
    "jitter",
    "percent",
    "bytes_per_second",
    "by",
    "ppm",
];

/// The possible victims, and the end of all faults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cast<'a> {
    /// The names of the nodes.
    pub(super) nodes: &'a [String],
    pub(super) clients: usize,
    /// When the faults of the run end.
    pub(super) end: Duration,
}

/// Reads one table of `[[fault]]`.
pub(super) fn scheduled(mut fields: Fields<'_, '_>, cast: Cast<'_>) -> Option<Fault> {
    let (at, spot) =
        fields.optional("at", text::duration).unwrap_or((Duration::from_secs(1), fields.spot.clone()));
    if at >= cast.end {
        let text = format!("at: {at:?}; the faults of this run end after {:?}", cast.end);
        fields.source.note(spot, text);
    }
    let timing = match fields.optional("every", text::interval) {
        None => Timing::Once { at },
        Some((every, _)) => Timing::Repeated { at, every },
    };
    read(fields, cast, timing)
}

/// Reads one table of `[[random.fault]]`.
pub(super) fn weighted(mut fields: Fields<'_, '_>, cast: Cast<'_>) -> Option<(u32, Fault)> {
    let weight = fields.optional("weight", text::number(1, 1_000_000)).map_or(1, |(weight, _)| weight);
    Some((weight, read(fields, cast, Timing::Random)?))
}

/// Takes the fields that belong to the nemesis; all others are mistakes.
fn read(mut fields: Fields<'_, '_>, cast: Cast<'_>, timing: Timing) -> Option<Fault> {
    let given = fields.required("nemesis", "a fault", text::one_of(KINDS));
    let Some((kind, spot)) = given else {
        // Without the nemesis it is unknown which fields belong to it.
        fields.finish(&FIELDS, |_| None);
        return None;
    };
    let (name, _) = KINDS.iter().find(|(_, known)| *known == kind)?;
    let what = format!("the nemesis {name:?}");
    let harm = harm(&mut fields, kind, &what, cast);
    let span = match &harm {
        Some(Harm::Node(nemesis)) => nemesis.span(),
        // The step itself was a mistake, which has been reported.
        None if kind == Kind::ClockStep => FaultDuration::Momentary,
        Some(Harm::Way { .. } | Harm::Client(_)) | None => FaultDuration::Lasting,
    };
    let lasts = match span {
        FaultDuration::Lasting => fields.required("for", &what, text::range),
        FaultDuration::Momentary => None,
    };
    let one = Reach::Drawn(Count::Number(1));
    let reach = match kind {
        Kind::PauseClient | Kind::KillClient => {
            let count = fields.optional("clients", |value| Count::read(value, cast.clients));
            count.map_or(one, |(count, _)| Reach::Drawn(count))
        }
        Kind::Kill
        | Kind::Restart
        | Kind::Pause
        | Kind::Cut
        | Kind::Reset
        | Kind::Slow
        | Kind::Lossy
        | Kind::Narrow
        | Kind::ClockStep
        | Kind::ClockRate
        | Kind::MemoryFull
        | Kind::Flush
        | Kind::ScriptFlush => {
            fields.optional("nodes", |value| Reach::read(value, cast.nodes)).map_or(one, |(reach, _)| reach)
        }
    };
    fields.finish(&FIELDS, |field| {
        Some(match (field, timing) {
            ("weight", _) => "weight: is for [[random.fault]]".to_owned(),
            ("at" | "every", Timing::Random) => format!("{field}: is for [[fault]]; [random] has its own"),
            (_, Timing::Once { .. } | Timing::Repeated { .. } | Timing::Random) => {
                format!("{field}: {what} has no {field}")
            }
        })
    });
    let lasts = lasts.map(|(lasts, _)| lasts);
    Some(Fault { name, spot, harm: harm?, reach, lasts, timing })
}

fn harm(fields: &mut Fields<'_, '_>, kind: Kind, what: &str, cast: Cast<'_>) -> Option<Harm> {
    let link = match kind {
        Kind::Kill => return Some(Harm::Node(Nemesis::Kill { data: data(fields) })),
        Kind::Restart => return Some(Harm::Node(Nemesis::Restart { data: data(fields) })),
        Kind::Pause => return Some(Harm::Node(Nemesis::Pause)),
        Kind::ClockStep => {
            let (step, _) = fields.required("by", what, step)?;
            return Some(Harm::Node(Nemesis::ClockStep { step }));
        }
        Kind::ClockRate => {
            let (ppm, _) = fields.required("ppm", what, text::number(-1_000_000, i32::MAX))?;
            return Some(Harm::Node(Nemesis::ClockRate { ppm }));
        }
        Kind::MemoryFull => return Some(Harm::Node(Nemesis::MemoryFull)),
        Kind::Flush => return Some(Harm::Node(Nemesis::FlushAll)),
        Kind::ScriptFlush => return Some(Harm::Node(Nemesis::ScriptFlush)),
        Kind::PauseClient => return Some(Harm::Client(ClientFault::Pause)),
        Kind::KillClient => return Some(Harm::Client(ClientFault::Kill)),
        Kind::Cut => Some(Link::Cut),
        Kind::Reset => Some(Link::Reset),
        Kind::Slow => {
            let latency = fields.required("latency", what, text::duration);
            let jitter =
                fields.optional("jitter", text::duration).map_or(Duration::ZERO, |(jitter, _)| jitter);
            latency.map(|(latency, _)| Link::Slow { latency, jitter })
        }
        Kind::Lossy => {
            fields.required("percent", what, text::number(1, 90)).map(|(percent, _)| Link::Lossy { percent })
        }
        Kind::Narrow => fields
            .required("bytes_per_second", what, text::number(1, u32::MAX))
            .map(|(bytes_per_second, _)| Link::Narrow { bytes_per_second }),
    };
    let clients = fields.optional("clients", |value| Count::read(value, cast.clients));
    Some(match (clients, link?) {
        (Some((clients, _)), link) => Harm::Way { clients, link },
        (None, Link::Cut) => Harm::Node(Nemesis::Cut),
        (None, link) => Harm::Node(Nemesis::Link { from: Clients::All, link }),
    })
}

fn data(fields: &mut Fields<'_, '_>) -> Data {
    fields.optional("data", text::one_of(DATA)).map_or(Data::Kept, |(data, _)| data)
}

/// Reads `"2s"`, or `"-2s"` to step back.
fn step(value: &DeValue<'_>) -> Result<ClockStep, String> {
    let expected = || "must be a duration such as \"2s\", or \"-2s\" to step back".to_owned();
    let DeValue::String(text) = value else { return Err(expected()) };
    let parse = |text: &str| humantime::parse_duration(text.trim()).map_err(|_| expected());
    match text.strip_prefix('-') {
        Some(back) => parse(back).map(ClockStep::Backward),
        None => parse(text.trim_start_matches('+')).map(ClockStep::Forward),
    }
}
