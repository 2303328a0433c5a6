//! Where each value was given, and what that says of mistakes.

use std::collections::BTreeMap;

use crate::error::{Place, SettingsError};

/// The place of every setting that is not at its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(BTreeMap<&'static str, Place>);

/// Settings that stand for the same thing: the last one given is the one that counts.
pub(super) const PASSWORDS: [[&str; 3]; 2] = [
    ["password", "password_file", "password_env"],
    ["sentinel_password", "sentinel_password_file", "sentinel_password_env"],
];

/// Whose bound depends on which other settings: a mistake in these makes what is said of the first worthless, and
/// where the first is a default, these are where to look.
const DEPENDS: [(&str, &[&str]); 5] = [
    ("quorum", &["nodes"]),
    ("ttl", &["max_ttl"]),
    ("clock_drift_floor", &["ttl", "clock_drift_factor"]),
    ("min_validity", &["ttl", "clock_drift_factor", "clock_drift_floor"]),
    ("node_timeout", &["ttl"]),
];

impl Places {
    pub(super) fn set(&mut self, setting: &'static str, place: Place) {
        if let Some(same) = PASSWORDS.iter().find(|same| same.contains(&setting)) {
            self.0.retain(|other, _| !same.contains(other));
        }
        self.0.insert(setting, place);
    }

    #[cfg(feature = "config")]
    pub(super) fn is_given(&self, setting: &str) -> bool {
        self.0.contains_key(setting)
    }

    pub(super) fn of(&self, setting: &str) -> &Place {
        self.0.get(setting).unwrap_or(&Place::Default)
    }

    /// Says of a mistake where to look for it.
    fn locate(&self, mistake: SettingsError) -> SettingsError {
        let setting = mistake.setting();
        let own = self.of(setting);
        if *own != Place::Default {
            return mistake.at(own);
        }
        let cause = dependencies(setting).iter().map(|other| self.of(other)).find(|p| **p != Place::Default);
        match (cause, mistake) {
            // What is written at that place is not the value that is wrong.
            (Some(cause), SettingsError::OutOfRange { setting, value, bound }) => {
                let value = format!("{value} (the default)");
                SettingsError::OutOfRange { setting, value, bound }.at(cause)
            }
            (Some(cause), mistake) => mistake.at(cause),
            (None, mistake) => mistake,
        }
    }
}

fn dependencies(setting: &str) -> &'static [&'static str] {
    DEPENDS.iter().find(|(name, _)| *name == setting).map_or(&[], |(_, others)| others)
}

/// All that is wrong, without what only follows from something else that is.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    places: &'a Places,
    found: Vec<SettingsError>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(places: &'a Places, found: Vec<SettingsError>) -> Self {
        Self { places, found }
    }

    /// The value, or `None` and the mistake noted.
    pub(super) fn sift<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        result.map_err(|mistake| self.note(mistake)).ok()
    }

    fn note(&mut self, mistake: SettingsError) {
        let setting = mistake.setting();
        let follows = |found: &SettingsError| {
            found.setting() == setting || dependencies(setting).contains(&found.setting())
        };
        if !self.found.iter().any(follows) {
            self.found.push(self.places.locate(mistake));
        }
    }

    /// For those that know their places themselves.
    pub(super) fn sift_all<T>(&mut self, result: Result<T, Vec<SettingsError>>) -> Option<T> {
        result.map_err(|mistakes| self.found.extend(mistakes)).ok()
    }

    pub(super) fn found(&self) -> &[SettingsError] {
        &self.found
    }

    /// As they follow each other in the file; what has no line comes last.
    pub(super) fn into_sorted(mut self) -> Vec<SettingsError> {
        self.found.sort_by_key(|mistake| match mistake.place() {
            Some(Place::File { line, column, .. }) => (*line, *column),
            Some(Place::Default | Place::Code | Place::Environment { .. } | Place::Flag { .. }) | None => {
                (usize::MAX, 0)
            }
        });
        self.found
    }
}
