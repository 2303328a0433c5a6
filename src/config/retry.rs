//! The retry strategy as separate settings, because different sources may give its parts.

use std::time::Duration;

use super::origins::SettingOrigins;
use crate::error::{SettingOrigin, SettingsError};
use crate::protocol::{Retry, Strategy};

/// Settings of the exponential strategy. The FIFO strategy uses them, too: during outages, and where nodes cannot
/// notify the client.
const OF_EXPONENTIAL: [&str; 2] = ["retry.first", "retry.longest"];
/// Settings of the fixed strategy.
const OF_FIXED: [&str; 2] = ["retry.attempts", "retry.delay"];

/// The strategy, and the parameters of all strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryOptions {
    pub(super) kind: RetryKind,
    pub(super) first: Duration,
    pub(super) longest: Duration,
    /// Not a setting: only tests choose it.
    look_again: Duration,
    pub(super) attempts: u32,
    pub(super) delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryKind {
    Fifo,
    Exponential,
    Fixed,
}

impl RetryOptions {
    pub(super) fn retry(self) -> Retry {
        match self.kind {
            RetryKind::Fifo => Retry::fifo_with(self.first, self.longest, self.look_again),
            RetryKind::Exponential => Retry::exponential(self.first, self.longest),
            RetryKind::Fixed => Retry::fixed(self.attempts, self.delay),
        }
    }

    /// # Errors
    ///
    /// Returns a mistake for each setting that was given but that the strategy does not use.
    pub(super) fn check(self, origins: &SettingOrigins) -> Result<(), Vec<SettingsError>> {
        let (unused, strategy) = match self.kind {
            RetryKind::Fifo | RetryKind::Exponential => (OF_FIXED, "fixed"),
            RetryKind::Fixed => (OF_EXPONENTIAL, "exponential"),
        };
        let mistakes: Vec<_> = unused
            .into_iter()
            .filter(|setting| !matches!(origins.of(setting), SettingOrigin::Default | SettingOrigin::Code))
            .map(|setting| {
                let bound = format!("left out unless retry.strategy is {strategy:?}");
                SettingsError::OutOfRange { setting, value: "given".into(), bound }.at(origins.of(setting))
            })
            .collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

impl From<Retry> for RetryOptions {
    fn from(retry: Retry) -> Self {
        let mut options = Self {
            kind: RetryKind::Fifo,
            first: Duration::from_millis(5),
            longest: Duration::from_millis(200),
            look_again: retry.look_again(),
            attempts: 5,
            delay: Duration::from_millis(200),
        };
        match retry.strategy() {
            Strategy::Fifo { first, longest, look_again: _ } => {
                (options.kind, options.first, options.longest) = (RetryKind::Fifo, first, longest);
            }
            Strategy::Exponential { first, longest } => {
                (options.kind, options.first, options.longest) = (RetryKind::Exponential, first, longest);
            }
            Strategy::Fixed { attempts, delay } => {
                (options.kind, options.attempts, options.delay) = (RetryKind::Fixed, attempts, delay);
            }
        }
        options
    }
}
