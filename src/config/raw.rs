//! Values as files, the environment and command lines give them, before they are parsed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Password;
use super::files::SecretFile;
use crate::error::SettingsError;
use crate::types::Secret;

/// Most characters of a wrong value that an error repeats.
const VALUE_SHOWN_CHARS: usize = 64;

const DURATION: &str = "a duration with its unit, such as 10s, 250ms or 1m30s";

/// A value of one setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    /// A TOML string.
    Text(&'a str),
    /// Text from the environment or a command line, which stands for a value of any kind.
    Bare(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date, a list or a table, which no setting takes.
    Other(&'static str),
}

/// A value, and the directory that relative paths start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) value: Raw<'a>,
    pub(super) base: &'a Path,
}

/// Why a value is refused.
pub(super) enum Wrong {
    /// The value is not of the expected kind, which is named here.
    Kind(&'static str),
    Mistake(SettingsError),
}

impl Wrong {
    pub(super) fn of(self, setting: &'static str, value: Raw<'_>) -> SettingsError {
        match self {
            Self::Kind(expected) => {
                let secret = setting.ends_with("password") || setting.ends_with("url");
                let value = if secret { "***".to_owned() } else { value.shown() };
                SettingsError::Malformed { setting, value, expected }
            }
            Self::Mistake(mistake) => mistake,
        }
    }
}

impl Raw<'_> {
    fn shown(self) -> String {
        match self {
            Self::Text(text) | Self::Bare(text) => {
                format!("{:?}", text.chars().take(VALUE_SHOWN_CHARS).collect::<String>())
            }
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(yes) => yes.to_string(),
            Self::Other(kind) => kind.to_owned(),
        }
    }
}

impl Given<'_> {
    pub(super) fn duration(&self) -> Result<Duration, Wrong> {
        match self.value {
            Raw::Text(text) | Raw::Bare(text) => {
                humantime::parse_duration(text).map_err(|_| Wrong::Kind(DURATION))
            }
            Raw::Integer(_) | Raw::Float(_) | Raw::Boolean(_) | Raw::Other(_) => Err(Wrong::Kind(DURATION)),
        }
    }

    pub(super) fn count(&self) -> Result<usize, Wrong> {
        let count = match self.value {
            Raw::Integer(number) => usize::try_from(number).ok(),
            Raw::Bare(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Float(_) | Raw::Boolean(_) | Raw::Other(_) => None,
        };
        count.ok_or(Wrong::Kind("a whole number"))
    }

    pub(super) fn ratio(&self) -> Result<f64, Wrong> {
        let ratio = match self.value {
            Raw::Float(number) => Some(number),
            #[expect(clippy::cast_precision_loss, reason = "no integer that is in range is that large")]
            Raw::Integer(number) => Some(number as f64),
            Raw::Bare(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Boolean(_) | Raw::Other(_) => None,
        };
        ratio.ok_or(Wrong::Kind("a number, such as 0.01"))
    }

    pub(super) fn yes(&self) -> Result<bool, Wrong> {
        match self.value {
            Raw::Boolean(yes) => Ok(yes),
            Raw::Bare("true") => Ok(true),
            Raw::Bare("false") => Ok(false),
            Raw::Bare(_) | Raw::Text(_) | Raw::Integer(_) | Raw::Float(_) | Raw::Other(_) => {
                Err(Wrong::Kind("true or false"))
            }
        }
    }

    pub(super) fn text(&self) -> Result<&str, Wrong> {
        match self.value {
            Raw::Text(text) | Raw::Bare(text) => Ok(text),
            Raw::Integer(_) | Raw::Float(_) | Raw::Boolean(_) | Raw::Other(_) => Err(Wrong::Kind("a text")),
        }
    }

    pub(super) fn path(&self) -> Result<PathBuf, Wrong> {
        Ok(self.base.join(self.text()?))
    }

    pub(super) fn secret(&self) -> Result<Secret, Wrong> {
        self.text().map(|text| Secret::new(text.to_owned()))
    }

    pub(super) fn password(&self) -> Result<Password, Wrong> {
        self.secret().map(Password::Known)
    }

    /// The content of the file that the value names, without a line end behind it.
    pub(super) fn secret_in_file(&self, setting: &'static str) -> Result<Password, Wrong> {
        let path = self.text()?;
        SecretFile::open(setting, path, &self.base.join(path)).map(Password::InFile).map_err(Wrong::Mistake)
    }

    /// The content of the environment variable that the value names.
    pub(super) fn secret_in_environment(&self, setting: &'static str) -> Result<Password, Wrong> {
        let variable = self.text()?;
        let problem = match std::env::var(variable) {
            Ok(secret) => return Ok(Password::known(secret)),
            Err(std::env::VarError::NotPresent) => "not set",
            Err(std::env::VarError::NotUnicode(_)) => "not UTF-8",
        };
        Err(Wrong::Mistake(SettingsError::Variable { setting, variable: variable.to_owned(), problem }))
    }
}
