//! Durations as texts, as everywhere in the settings.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::dice::Dice;

/// Faults that follow each other faster than this are one fault.
const SHORTEST: Duration = Duration::from_millis(10);

/// `"2s"`, or `["1s", "3s"]` to be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Range {
    low: Duration,
    high: Duration,
}

impl Range {
    pub(in super::super) fn draw(self, dice: &mut Dice) -> Duration {
        Duration::from_secs_f64(dice.between(self.low.as_secs_f64(), self.high.as_secs_f64()))
    }

    pub(super) fn is_too_short(self) -> bool {
        self.low < SHORTEST
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a duration as \"2s\", or two as [\"1s\", \"3s\"]")]
        enum Text {
            One(String),
            Two(String, String),
        }
        let parse = |text: &str| humantime::parse_duration(text).map_err(|error| wrong(text, &error));
        let (low, high) = match Text::deserialize(deserializer)? {
            Text::One(text) => (parse(&text)?, parse(&text)?),
            Text::Two(low, high) => (parse(&low)?, parse(&high)?),
        };
        if high < low {
            return Err(D::Error::custom("the first of two durations must not be the longer one"));
        }
        Ok(Self { low, high })
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| wrong(&text, &error))
}

pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn wrong<E: Error>(text: &str, error: &humantime::DurationError) -> E {
    E::custom(format!("{text:?} is no duration such as \"250ms\" or \"1m30s\": {error}"))
}
