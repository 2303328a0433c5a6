//! Settings from files, the environment and flags, on top of each other: what comes later wins.

use std::ffi::OsString;
use std::path::Path;

use super::origins::PASSWORDS;
use super::raw::{Given, Raw};
use super::table::Setting;
use super::{RedlockBuilder, file};
use crate::error::{SettingOrigin, SettingsError};

/// Beginning of the environment variables that are settings.
pub(super) const PREFIX: &str = "REDLOCK_";

/// Variables that begin so and are no settings: the tool's settings file, what `redlock run` tells its command, and what
/// the docker nodes and the tests of this project take.
const OTHERS: [&str; 9] = [
    "REDLOCK_CONFIG",
    "REDLOCK_RESOURCE",
    "REDLOCK_FENCING_TOKEN",
    "REDLOCK_HELD",
    "REDLOCK_NODE_IMAGE",
    "REDLOCK_NODE_NET",
    "REDLOCK_NODE_PORTS",
    "REDLOCK_NODE_USER",
    "REDLOCK_TEST_SEED",
];

impl RedlockBuilder {
    /// Reads settings from a TOML file; `redlock.example.toml` has them all. What it does not say stays as it was.
    ///
    /// Reads the file at once, and blocks for so long. Mistakes are kept, and answered by
    /// [`connect`](RedlockBuilder::connect) or [`settings`](RedlockBuilder::settings) with file, line and column.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        file::read(&mut self, path.as_ref());
        self
    }

    /// Reads settings from the environment: `REDLOCK_TTL` sets `ttl`, `REDLOCK_RETRY__FIRST` sets `retry.first`,
    /// `REDLOCK_NODES` is a list with commas. A variable that begins with `REDLOCK_` and is no setting is a
    /// mistake; but for `REDLOCK_CONFIG`, what `redlock run` gives to its command, what the docker nodes of this
    /// project take, and what Kubernetes adds for services. An empty variable counts as none.
    pub fn environment(self) -> Self {
        self.variables(std::env::vars_os())
    }

    pub(super) fn variables(mut self, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_setting =
                name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()) && !is_service(&name);
            (is_setting && !value.is_empty()).then_some((name, value))
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort();
        let mut passwords = Vec::new();
        for (variable, value) in ours {
            let origin = SettingOrigin::Environment { variable: variable.as_str().into() };
            let name = variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            let Some(setting) = Setting::find(&name).filter(|setting| setting.variable() == variable) else {
                let nearest = nearest(&name).map(Setting::variable);
                self.mistakes.push(SettingsError::Unknown { name: variable, nearest });
                continue;
            };
            let text = value.to_string_lossy();
            // Text that is not UTF-8 is no value of any setting.
            let value = value.to_str().map_or(Raw::Other("not UTF-8"), |_| Raw::Bare(&text));
            note_password(&mut passwords, setting.name(), &origin);
            self.give(setting, &Given { value, base: Path::new("") }, origin);
        }
        self.mistakes.extend(conflict(&passwords));
        self
    }

    /// Takes a setting from a command line: `flag` is what the program calls it, for messages; `setting` and
    /// `value` are as in a file, but without quotes.
    pub fn flag(mut self, flag: &str, setting: &str, value: &str) -> Self {
        let origin = SettingOrigin::Flag { flag: flag.into() };
        match Setting::find(setting) {
            Some(setting) => {
                self.give(setting, &Given { value: Raw::Bare(value), base: Path::new("") }, origin);
            }
            None => self.mistakes.push(unknown(setting).at(&origin)),
        }
        self
    }

    pub(super) fn give(&mut self, setting: &'static Setting, given: &Given<'_>, origin: SettingOrigin) {
        match setting.set(self, given) {
            Ok(()) => {
                if setting.name() == "nodes" {
                    self.nodes.iter_mut().for_each(|node| node.origin = origin.clone());
                }
                self.origins.set(setting.name(), origin);
            }
            Err(wrong) => self.mistakes.push(wrong.of(setting.name(), given.value).at(&origin)),
        }
    }
}

/// Kubernetes tells every container of the services around it; one named `redlock-a` is a likely node.
fn is_service(variable: &str) -> bool {
    variable.ends_with("_PORT")
        || ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
}

pub(super) fn unknown(name: &str) -> SettingsError {
    let nearest = nearest(name).map(|setting| setting.name().to_owned());
    SettingsError::Unknown { name: name.to_owned(), nearest }
}

fn nearest(name: &str) -> Option<&'static Setting> {
    let names: Vec<_> = Setting::all().map(Setting::name).collect();
    nearest_of(name, &names).and_then(Setting::find)
}

/// What was probably meant: at most a third of it is wrong.
pub(super) fn nearest_of<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Nobody meant anything that we know by something so long, and the comparison takes the square of it.
    const COMPARED_BYTES_MAX: usize = 64;
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let nearest = known.iter().copied().min_by_key(|known| distance(known))?;
    (distance(nearest) <= nearest.len().div_ceil(3)).then_some(nearest)
}

/// Remembers which of the ways to give a password one source uses.
pub(super) fn note_password(
    seen: &mut Vec<(&'static str, SettingOrigin)>,
    setting: &'static str,
    origin: &SettingOrigin,
) {
    if PASSWORDS.as_flattened().contains(&setting) {
        seen.push((setting, origin.clone()));
    }
}

/// A source may use one of them.
pub(super) fn conflict(passwords: &[(&'static str, SettingOrigin)]) -> Option<SettingsError> {
    PASSWORDS.iter().find_map(|same| {
        let mut given = passwords.iter().filter(|(setting, _)| same.contains(setting));
        let ((other, _), (setting, origin)) = (given.next()?, given.next_back()?);
        Some(SettingsError::Conflict { setting, other }.at(origin))
    })
}
