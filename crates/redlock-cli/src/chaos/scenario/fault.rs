//! One fault of a scenario.

use std::time::Duration;

use redlock_testing::{ClientFault, Clients, Data, Link, Nemesis, Span, Step};
use serde::Deserialize;

use super::text::{self, Range};

/// What goes wrong, with whom, and when.
#[derive(Debug, Clone)]
pub(in super::super) struct Fault {
    pub(in super::super) harm: Harm,
    /// How many nodes, or which; of a harm to clients, how many clients.
    pub(in super::super) reach: Reach,
    /// How long a lasting one lasts.
    pub(in super::super) lasts: Option<Range>,
    pub(in super::super) timing: Timing,
}

/// To whom something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Harm {
    /// Of a link's, for all clients.
    Node(Nemesis),
    /// The way between some clients and some nodes.
    Way {
        clients: Count,
        link: Link,
    },
    Client(ClientFault),
}

/// Which ones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a number, a list of numbers, or \"minority\", \"majority\", \"all\" or \"next\""
)]
pub(in super::super) enum Reach {
    These(Vec<usize>),
    Drawn(Count),
}

/// How many, out of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCount")]
pub(in super::super) enum Count {
    Number(usize),
    /// The most without which a majority is left.
    Minority,
    /// The fewest without which none is left.
    Majority,
    All,
    /// One, and at each repetition the one after it.
    Next,
}

/// When, since the clients have begun.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Timing {
    Once {
        at: Duration,
    },
    Repeated {
        at: Duration,
        every: Range,
    },
    /// When it is drawn.
    Random,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or \"minority\", \"majority\", \"all\" or \"next\"")]
enum RawCount {
    Number(usize),
    Word(String),
}

impl TryFrom<RawCount> for Count {
    type Error = String;

    fn try_from(raw: RawCount) -> Result<Self, String> {
        match raw {
            RawCount::Number(0) => Err("must be at least 1".to_owned()),
            RawCount::Number(number) => Ok(Self::Number(number)),
            RawCount::Word(word) => match word.as_str() {
                "minority" => Ok(Self::Minority),
                "majority" => Ok(Self::Majority),
                "all" => Ok(Self::All),
                "next" => Ok(Self::Next),
                _ => Err(format!(
                    "{word:?} must be a number, or \"minority\", \"majority\", \"all\" or \"next\""
                )),
            },
        }
    }
}

impl Count {
    pub(in super::super) fn of(self, all: usize) -> usize {
        let majority = all / 2 + 1;
        match self {
            Self::Number(number) => number.min(all),
            Self::Minority => all - majority,
            Self::Majority => majority,
            Self::All => all,
            Self::Next => 1,
        }
    }
}

/// A fault as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    nemesis: Kind,
    #[serde(default, deserialize_with = "text::optional")]
    at: Option<Duration>,
    every: Option<Range>,
    #[serde(rename = "for")]
    lasts: Option<Range>,
    nodes: Option<Reach>,
    clients: Option<Count>,
    weight: Option<u32>,
    data: Option<RawData>,
    #[serde(default, deserialize_with = "text::optional")]
    latency: Option<Duration>,
    #[serde(default, deserialize_with = "text::optional")]
    jitter: Option<Duration>,
    percent: Option<u8>,
    bytes_per_second: Option<u32>,
    by: Option<String>,
    ppm: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawData {
    Kept,
    Lost,
}

impl Raw {
    /// One of `[[fault]]`.
    pub(super) fn scheduled(mut self) -> Result<Fault, String> {
        if self.weight.take().is_some() {
            return Err("weight is for [[random.fault]]".to_owned());
        }
        let at = self.at.take().unwrap_or(Duration::from_secs(1));
        let timing = match self.every.take() {
            None => Timing::Once { at },
            Some(every) if every.is_too_short() => return Err("every must be at least 10ms".to_owned()),
            Some(every) => Timing::Repeated { at, every },
        };
        self.fault(timing)
    }

    /// One of `[[random.fault]]`.
    pub(super) fn weighted(mut self) -> Result<(u32, Fault), String> {
        if self.at.is_some() || self.every.is_some() {
            return Err("at and every are for [[fault]]; [random] has its own".to_owned());
        }
        let weight = self.weight.take().unwrap_or(1);
        Ok((weight, self.fault(Timing::Random)?))
    }

    fn fault(mut self, timing: Timing) -> Result<Fault, String> {
        let harm = self.harm()?;
        let span = match &harm {
            Harm::Node(nemesis) => nemesis.span(),
            Harm::Way { .. } | Harm::Client(_) => Span::Lasting,
        };
        let lasts = self.lasts.take();
        match (span, lasts) {
            (Span::Lasting, None) => return Err(self.missing("for")),
            (Span::Momentary, Some(_)) => return Err(self.unused("for")),
            (Span::Lasting, Some(_)) | (Span::Momentary, None) => {}
        }
        let reach = match (&harm, self.nodes.take()) {
            (Harm::Client(_), Some(_)) => return Err(self.unused("nodes")),
            (Harm::Client(_), None) => Reach::Drawn(self.clients.take().unwrap_or(Count::Number(1))),
            (Harm::Node(_) | Harm::Way { .. }, nodes) => nodes.unwrap_or(Reach::Drawn(Count::Number(1))),
        };
        if let Some(name) = self.left_over() {
            return Err(self.unused(name));
        }
        Ok(Fault { harm, reach, lasts, timing })
    }

    /// Takes the fields that belong to the kind.
    fn harm(&mut self) -> Result<Harm, String> {
        let nemesis = match self.nemesis {
            Kind::Kill => Nemesis::Kill { data: self.data() },
            Kind::Restart => Nemesis::Restart { data: self.data() },
            Kind::Pause => Nemesis::Pause,
            Kind::Cut => return Ok(self.way(Link::Cut)),
            Kind::Reset => return Ok(self.way(Link::Reset)),
            Kind::Slow => {
                let latency = self.latency.take().ok_or_else(|| self.missing("latency"))?;
                let jitter = self.jitter.take().unwrap_or_default();
                return Ok(self.way(Link::Slow { latency, jitter }));
            }
            Kind::Lossy => {
                let percent = self.percent.take().filter(|percent| (1..=90).contains(percent));
                let percent = percent.ok_or("lossy needs percent, from 1 to 90")?;
                return Ok(self.way(Link::Lossy { percent }));
            }
            Kind::Narrow => {
                let bytes_per_second = self.bytes_per_second.take().filter(|bytes| *bytes > 0);
                let bytes_per_second = bytes_per_second.ok_or("narrow needs bytes_per_second, at least 1")?;
                return Ok(self.way(Link::Narrow { bytes_per_second }));
            }
            Kind::ClockStep => {
                let by = self.by.take().ok_or_else(|| self.missing("by"))?;
                Nemesis::ClockStep { step: step(&by)? }
            }
            Kind::ClockRate => {
                Nemesis::ClockRate { ppm: self.ppm.take().ok_or_else(|| self.missing("ppm"))? }
            }
            Kind::MemoryFull => Nemesis::MemoryFull,
            Kind::Flush => Nemesis::FlushAll,
            Kind::ScriptFlush => Nemesis::ScriptFlush,
            Kind::PauseClient => return Ok(Harm::Client(ClientFault::Pause)),
            Kind::KillClient => return Ok(Harm::Client(ClientFault::Kill)),
        };
        Ok(Harm::Node(nemesis))
    }

    fn data(&mut self) -> Data {
        match self.data.take() {
            None | Some(RawData::Kept) => Data::Kept,
            Some(RawData::Lost) => Data::Lost,
        }
    }

    fn way(&mut self, link: Link) -> Harm {
        match (self.clients.take(), link) {
            (Some(clients), link) => Harm::Way { clients, link },
            (None, Link::Cut) => Harm::Node(Nemesis::Cut),
            (None, link) => Harm::Node(Nemesis::Link { from: Clients::All, link }),
        }
    }

    /// A field that the kind has not taken.
    fn left_over(&self) -> Option<&'static str> {
        let left = [
            (self.clients.is_some(), "clients"),
            (self.data.is_some(), "data"),
            (self.latency.is_some(), "latency"),
            (self.jitter.is_some(), "jitter"),
            (self.percent.is_some(), "percent"),
            (self.bytes_per_second.is_some(), "bytes_per_second"),
            (self.by.is_some(), "by"),
            (self.ppm.is_some(), "ppm"),
        ];
        left.iter().find(|(is_left, _)| *is_left).map(|(_, name)| *name)
    }

    fn missing(&self, name: &str) -> String {
        format!("the nemesis {:?} needs {name}", self.nemesis)
    }

    fn unused(&self, name: &str) -> String {
        format!("the nemesis {:?} has no {name}", self.nemesis)
    }
}

/// `"2s"`, or `"-2s"` to step back.
fn step(text: &str) -> Result<Step, String> {
    let parse = |text: &str| {
        humantime::parse_duration(text.trim()).map_err(|error| format!("by = {text:?}: {error}"))
    };
    match text.strip_prefix('-') {
        Some(back) => parse(back).map(Step::Backward),
        None => parse(text.trim_start_matches('+')).map(Step::Forward),
    }
}
