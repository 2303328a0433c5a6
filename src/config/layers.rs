//! Settings from files, the environment and flags, in layers: a later source wins over an earlier one.

use std::ffi::OsString;
use std::path::Path;

use super::origins::PASSWORDS;
use super::raw::{Given, Raw};
use super::table::{PREFIX, Setting};
use super::{RedlockBuilder, file};
use crate::error::{SettingOrigin, SettingsError};

/// Variables with this prefix that are no settings: the tool's settings file, the variables that `redlock run` sets for
/// its command, and those of this project's docker nodes and tests.
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
    /// Reads settings from a TOML file; `redlock.example.toml` lists them all. Settings that the file does not name
    /// stay unchanged.
    ///
    /// The file is read at once, which blocks. Mistakes are collected, and returned by
    /// [`connect`](RedlockBuilder::connect) or [`settings`](RedlockBuilder::settings) with file, line and column.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        file::read(&mut self, path.as_ref());
        self
    }

    /// Reads settings from the environment: `REDLOCK_TTL` sets `ttl`, `REDLOCK_RETRY__FIRST` sets `retry.first`,
    /// `REDLOCK_NODES` is a list with commas. An empty variable counts as not set.
    ///
    /// Any other variable that begins with `REDLOCK_` is a mistake, except `REDLOCK_CONFIG`, the variables that
    /// `redlock run` sets for its command, those of this project's docker nodes and tests, and those that Kubernetes
    /// adds for services.
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
            // No setting has a value that is not UTF-8.
            let value = value.to_str().map_or(Raw::Other("not UTF-8"), |_| Raw::Bare(&text));
            note_password(&mut passwords, setting.name(), &origin);
            self.give(setting, &Given { value, base: Path::new("") }, origin);
        }
        self.mistakes.extend(conflict(&passwords));
        self
    }

    /// Takes a setting from a command line. `flag` is the program's name for it, shown in messages; `setting` and
    /// `value` are written as in a file, but without quotes.
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
                let nodes = match setting.name() {
                    "nodes" => &mut self.nodes[..],
                    "next_nodes" => &mut self.next_nodes[..],
                    _ => &mut [],
                };
                nodes.iter_mut().for_each(|node| node.origin = origin.clone());
                self.origins.set(setting.name(), origin);
            }
            Err(wrong) => self.mistakes.push(wrong.of(setting.name(), given.value).at(&origin)),
        }
    }
}

/// Whether Kubernetes sets the variable: each container gets such variables for the services around it, and a service
/// named `redlock-a` is a likely node.
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

/// The known name that was probably meant: at most a third of its letters differ.
pub(super) fn nearest_of<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // A longer name resembles no known one, and the time of the comparison grows with the square of the length.
    const COMPARED_BYTES_MAX: usize = 64;
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let nearest = known.iter().copied().min_by_key(|known| distance(known))?;
    (distance(nearest) <= nearest.len().div_ceil(3)).then_some(nearest)
}

/// Records a setting if it is one of the ways to give a password.
pub(super) fn note_password(
    seen: &mut Vec<(&'static str, SettingOrigin)>,
    setting: &'static str,
    origin: &SettingOrigin,
) {
    if PASSWORDS.as_flattened().contains(&setting) {
        seen.push((setting, origin.clone()));
    }
}

/// The mistake of one source that gives a password in two ways.
pub(super) fn conflict(passwords: &[(&'static str, SettingOrigin)]) -> Option<SettingsError> {
    PASSWORDS.iter().find_map(|same| {
        let mut given = passwords.iter().filter(|(setting, _)| same.contains(setting));
        let ((other, _), (setting, origin)) = (given.next()?, given.next_back()?);
        Some(SettingsError::Conflict { setting, other }.at(origin))
    })
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
