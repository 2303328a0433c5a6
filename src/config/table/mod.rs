//! The table of all settings: name, default, bounds, and the reason to change each. Files, the environment, flags,
//! `config show` and `redlock.example.toml` are generated from it.

mod holding;
mod nodes;
mod timing;
mod tls;
mod waiting;

use std::time::Duration;

use super::raw::{Given, Wrong};
use super::retry::RetryKind;
use super::{RedlockBuilder, Settings};

/// Beginning of the environment variables that are settings.
pub(super) const PREFIX: &str = "REDLOCK_";

/// One setting, with the description that the example file and the documentation show.
#[derive(Debug)]
pub struct Setting {
    name: &'static str,
    default: DefaultText,
    bounds: &'static str,
    what: &'static str,
    why: &'static str,
    access: Access,
}

/// How the default of a setting is written.
#[derive(Debug)]
enum DefaultText {
    /// As the value of the setting in a builder that was given nothing.
    Value,
    /// In words, with an example of a value.
    Words { default: &'static str, example: &'static str },
}

/// How to set and read a setting.
#[derive(Debug)]
enum Access {
    Duration(fn(&mut RedlockBuilder, Duration), fn(&Settings) -> Duration),
    YesOrNo(fn(&mut RedlockBuilder, bool), fn(&Settings) -> bool),
    Other { unit: &'static str, set: fn(&mut RedlockBuilder, &Given<'_>) -> Result<(), Wrong>, show: Show },
}

/// Shows a setting's value; `None` where the setting does not apply.
type Show = fn(&Settings) -> Option<String>;

/// Settings that belong together, under one title in the example file.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) settings: &'static [Setting],
}

/// All settings in the order of the example file. `retry` is last, because a TOML table ends only where the next
/// begins.
pub(super) static GROUPS: [Group; 5] = [
    Group { title: "Nodes", settings: &nodes::SETTINGS },
    Group { title: "TLS", settings: &tls::SETTINGS },
    Group { title: "Time", settings: &timing::SETTINGS },
    Group { title: "What a lock promises", settings: &holding::SETTINGS },
    Group { title: "Waiting", settings: &waiting::SETTINGS },
];

impl Setting {
    /// All settings, in the order of the example file.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        GROUPS.iter().flat_map(|group| group.settings)
    }

    /// The setting's name in files, with a dot behind the name of a table. The environment variable is `REDLOCK_` and
    /// the name in capitals, with two underscores for the dot.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An example value as a file gives it: the default, if that is a plain value.
    #[must_use]
    pub fn example(&self) -> String {
        match self.default {
            DefaultText::Value => {
                let value = self.default_value();
                let is_bare = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
                if is_bare { value } else { format!("\"{value}\"") }
            }
            DefaultText::Words { example, .. } => example.to_owned(),
        }
    }

    /// The default, in words if it is not a plain value.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.default {
            DefaultText::Value => self.default_value(),
            DefaultText::Words { default, .. } => default.to_owned(),
        }
    }

    /// The value in a builder that was given nothing but a node; for settings of the fixed retry strategy, with that.
    fn default_value(&self) -> String {
        let shown = |kind| {
            let mut builder = RedlockBuilder::new().nodes(["redis://localhost"]);
            builder.retry.kind = kind;
            self.show(&builder.validate().ok()?)
        };
        [RetryKind::Fifo, RetryKind::Fixed].into_iter().find_map(shown).unwrap_or_default()
    }

    /// The unit or kind of the values.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match &self.access {
            Access::Duration(..) => "duration",
            Access::YesOrNo(..) => "true or false",
            Access::Other { unit, .. } => unit,
        }
    }

    /// The allowed values.
    #[must_use]
    pub fn bounds(&self) -> &'static str {
        self.bounds
    }

    /// The effect of the setting.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// When to change the setting.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// The environment variable that gives the setting.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", PREFIX, self.name.to_ascii_uppercase().replace('.', "__"))
    }

    pub(super) fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|setting| setting.name == name)
    }

    pub(super) fn set(&self, builder: &mut RedlockBuilder, given: &Given<'_>) -> Result<(), Wrong> {
        match &self.access {
            Access::Duration(set, _) => set(builder, given.duration()?),
            Access::YesOrNo(set, _) => set(builder, given.yes()?),
            Access::Other { set, .. } => set(builder, given)?,
        }
        Ok(())
    }

    /// The effective value, written as in a file but without quotes; `None` where the setting does not apply.
    pub(super) fn show(&self, settings: &Settings) -> Option<String> {
        match &self.access {
            Access::Duration(_, value) => Some(text(value(settings))),
            Access::YesOrNo(_, value) => Some(value(settings).to_string()),
            Access::Other { show, .. } => show(settings),
        }
    }
}

fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}
