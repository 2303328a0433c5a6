//! Every setting, once: its name, default, bounds, and the reason to change it. Files, the environment, flags,
//! `config show` and `redlock.example.toml` are all drawn from here.

mod holding;
mod nodes;
mod timing;
mod tls;
mod waiting;

use std::time::Duration;

use super::raw::{Given, Wrong};
use super::{RedlockBuilder, Settings};

/// One setting, as the example file and the documentation describe it.
#[derive(Debug)]
pub struct Setting {
    name: &'static str,
    example: &'static str,
    default: &'static str,
    bounds: &'static str,
    what: &'static str,
    why: &'static str,
    access: Access,
}

/// How to set it and how to read it.
#[derive(Debug)]
enum Access {
    Duration(fn(&mut RedlockBuilder, Duration), fn(&Settings) -> Duration),
    YesOrNo(fn(&mut RedlockBuilder, bool), fn(&Settings) -> bool),
    Other { unit: &'static str, set: fn(&mut RedlockBuilder, &Given<'_>) -> Result<(), Wrong>, show: Show },
}

/// `None` where it does not apply.
type Show = fn(&Settings) -> Option<String>;

/// Settings that belong together, and what the example file calls them.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) settings: &'static [Setting],
}

/// In the order of the example file. In TOML a table ends where the next begins, so `retry` has to be the last.
pub(super) static GROUPS: [Group; 5] = [
    Group { title: "Nodes", settings: &nodes::SETTINGS },
    Group { title: "TLS", settings: &tls::SETTINGS },
    Group { title: "Time", settings: &timing::SETTINGS },
    Group { title: "What a lock promises", settings: &holding::SETTINGS },
    Group { title: "Waiting", settings: &waiting::SETTINGS },
];

impl Setting {
    /// Every setting there is, in the order of the example file.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        GROUPS.iter().flat_map(|group| group.settings)
    }

    /// `redlock.example.toml`: a settings file with all of them and what there is to say about each.
    #[must_use]
    pub fn example_file() -> String {
        super::example::text()
    }

    /// Its name in files, with a dot behind the name of a table. In the environment it is `REDLOCK_` and the name in
    /// capitals, with two underscores for the dot.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A value, as a file gives it: the default, where that is a plain value.
    #[must_use]
    pub fn example(&self) -> &'static str {
        self.example
    }

    /// What holds when it is not set.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        self.default
    }

    /// What its values are.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match &self.access {
            Access::Duration(..) => "duration",
            Access::YesOrNo(..) => "true or false",
            Access::Other { unit, .. } => unit,
        }
    }

    /// Which values are allowed.
    #[must_use]
    pub fn bounds(&self) -> &'static str {
        self.bounds
    }

    /// What it decides.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// When to change it.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// The variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::layers::PREFIX, self.name.to_ascii_uppercase().replace('.', "__"))
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

    /// The effective value, as a file gives it but for quotes; `None` where it does not apply.
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
