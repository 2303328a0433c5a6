//! Types of values: durations (written as in the settings), numbers and words.

use std::time::Duration;

use toml::de::DeValue;

use super::document::suggestion;
use crate::dice::Dice;

/// Faults in a closer sequence than this would be one fault.
const SHORTEST: Duration = Duration::from_millis(10);

/// The shortest TTL that the lock takes.
const TTL_MIN: Duration = Duration::from_millis(10);

/// `"2s"`, or `["1s", "3s"]` for a random value in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    low: Duration,
    high: Duration,
}

impl Range {
    pub(crate) fn exactly(duration: Duration) -> Self {
        Self { low: duration, high: duration }
    }

    pub(crate) fn draw(self, dice: &mut Dice) -> Duration {
        Duration::from_secs_f64(dice.between(self.low.as_secs_f64(), self.high.as_secs_f64()))
    }
}

pub(super) fn range(value: &DeValue<'_>) -> Result<Range, String> {
    let (low, high) = match value.as_array().map(|items| items.iter().collect::<Vec<_>>()) {
        None => (duration(value)?, duration(value)?),
        Some(items) => match items[..] {
            [low, high] => (duration(low.get_ref())?, duration(high.get_ref())?),
            [..] => {
                return Err("must be a duration such as \"2s\", or two such as [\"1s\", \"3s\"]".to_owned());
            }
        },
    };
    if high < low {
        return Err("the first of two durations must not be the longer one".to_owned());
    }
    Ok(Range { low, high })
}

/// Reads a range of pauses between two faults.
pub(super) fn interval(value: &DeValue<'_>) -> Result<Range, String> {
    let range = range(value)?;
    if range.low < SHORTEST {
        return Err(format!("must be at least {SHORTEST:?}"));
    }
    Ok(range)
}

pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let expected = || "must be a duration with a unit, such as \"250ms\" or \"1m30s\"".to_owned();
    value.as_str().and_then(|text| humantime::parse_duration(text).ok()).ok_or_else(expected)
}

/// Reads the TTL of a lease.
pub(super) fn ttl(value: &DeValue<'_>) -> Result<Duration, String> {
    let ttl = duration(value)?;
    if ttl < TTL_MIN { Err(format!("must be at least {TTL_MIN:?}")) } else { Ok(ttl) }
}

pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a text".to_owned())
}

/// Reads a whole number within bounds.
pub(super) fn number<T>(least: T, most: T) -> impl Fn(&DeValue<'_>) -> Result<T, String>
where
    T: Copy + PartialOrd + std::fmt::Display + TryFrom<i64>,
{
    move |value| {
        let number = value.as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("must be a whole number between {least} and {most}"))
    }
}

/// Reads one of several words.
pub(super) fn one_of<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let given = value.as_str().unwrap_or_default();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
            return Ok(*meaning);
        }
        let meant = suggestion(given, all.iter().copied());
        Err(format!("must be one of {}{meant}", all.join(", ")))
    }
}
