//! The origin of each value, and the origins that mistakes are reported with.

use std::collections::BTreeMap;

use crate::error::{SettingOrigin, SettingsError};

/// The origin of every setting that is not at its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingOrigins(BTreeMap<&'static str, SettingOrigin>);

/// Settings for the same value: the one that was given last counts.
pub(super) const PASSWORDS: [[&str; 3]; 2] = [
    ["password", "password_file", "password_env"],
    ["sentinel_password", "sentinel_password_file", "sentinel_password_env"],
];

/// Settings, each with the other settings on which its bound depends. A mistake in one of the others makes the check of
/// the setting worthless. A mistake in a setting that is at its default is reported at the origin of the others.
const DEPENDS: [(&str, &[&str]); 6] = [
    ("quorum", &["nodes"]),
    ("next_quorum", &["next_nodes"]),
    ("ttl", &["max_ttl"]),
    ("clock_drift_floor", &["ttl", "clock_drift_factor"]),
    ("min_validity", &["ttl", "clock_drift_factor", "clock_drift_floor"]),
    ("node_timeout", &["ttl"]),
];

impl SettingOrigins {
    pub(super) fn set(&mut self, setting: &'static str, origin: SettingOrigin) {
        others_for_the_same(setting).for_each(|other| drop(self.0.remove(other)));
        self.0.insert(setting, origin);
    }

    #[cfg(feature = "config")]
    pub(super) fn is_given(&self, setting: &str) -> bool {
        self.0.contains_key(setting)
    }

    pub(super) fn of(&self, setting: &str) -> &SettingOrigin {
        let given = self.0.get(setting);
        let given = given.or_else(|| others_for_the_same(setting).find_map(|other| self.0.get(other)));
        given.unwrap_or(&SettingOrigin::Default)
    }

    /// Adds to a mistake the origin of its value, or of the value that made a default wrong.
    fn locate(&self, mistake: SettingsError) -> SettingsError {
        let setting = mistake.setting();
        let own = self.of(setting);
        if *own != SettingOrigin::Default {
            return mistake.at(own);
        }
        let cause =
            dependencies(setting).iter().map(|other| self.of(other)).find(|p| **p != SettingOrigin::Default);
        match (cause, mistake) {
            // The wrong value is the default, and not the value that is written at this origin.
            (Some(cause), SettingsError::OutOfRange { setting, value, bound }) => {
                let value = format!("{value} (the default)");
                SettingsError::OutOfRange { setting, value, bound }.at(cause)
            }
            (Some(cause), mistake) => mistake.at(cause),
            (None, mistake) => mistake,
        }
    }
}

fn is_about_a_whole_file(mistake: &SettingsError) -> bool {
    matches!(mistake.reason(), SettingsError::Syntax { .. } | SettingsError::File { setting: "file", .. })
}

/// The other settings for the same value.
fn others_for_the_same(setting: &str) -> impl Iterator<Item = &'static str> {
    let same = PASSWORDS.iter().find(|same| same.contains(&setting)).map_or(&[][..], |same| same);
    same.iter().copied().filter(move |other| *other != setting)
}

fn dependencies(setting: &str) -> &'static [&'static str] {
    DEPENDS.iter().find(|(name, _)| *name == setting).map_or(&[], |(_, others)| others)
}

/// All mistakes, without those that only follow from others.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    origins: &'a SettingOrigins,
    found: Vec<SettingsError>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(origins: &'a SettingOrigins, found: Vec<SettingsError>) -> Self {
        Self { origins, found }
    }

    /// Returns the value, or records the mistake and returns `None`.
    pub(super) fn sift<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        result.map_err(|mistake| self.note(mistake)).ok()
    }

    fn note(&mut self, mistake: SettingsError) {
        let setting = mistake.setting();
        if mistake == SettingsError::NoNodes && self.found.iter().any(is_about_a_whole_file) {
            // The file that cannot be used may name the nodes.
            return;
        }
        if !self.is_wrong(setting) && !dependencies(setting).iter().any(|other| self.is_wrong(other)) {
            self.found.push(self.origins.locate(mistake));
        }
    }

    /// Whether a mistake is known in a setting, or in one of the fields of a node.
    fn is_wrong(&self, setting: &str) -> bool {
        let names = |found: &SettingsError| {
            let found = found.setting();
            found == setting
                || setting == "nodes" && found.starts_with("nodes.")
                || others_for_the_same(setting).any(|other| other == found)
        };
        self.found.iter().any(names)
    }

    /// As [`sift`](Self::sift), for mistakes that have their origins already.
    pub(super) fn sift_all<T>(&mut self, result: Result<T, Vec<SettingsError>>) -> Option<T> {
        let new = |mistakes: Vec<SettingsError>| {
            // A mistake in one node does not hide a mistake in another.
            let of_one = |mistake: &SettingsError| mistake.setting().starts_with("nodes");
            mistakes.into_iter().filter(|new| of_one(new) || !self.is_wrong(new.setting())).collect()
        };
        let new: Result<T, Vec<SettingsError>> = result.map_err(new);
        new.map_err(|mistakes| self.found.extend(mistakes)).ok()
    }

    pub(super) fn found(&self) -> &[SettingsError] {
        &self.found
    }

    /// The mistakes in the order of the file; those without a line come last.
    pub(super) fn into_sorted(mut self) -> Vec<SettingsError> {
        self.found.sort_by_key(|mistake| match mistake.origin() {
            Some(SettingOrigin::File { line, column, .. }) => (*line, *column),
            Some(
                SettingOrigin::Default
                | SettingOrigin::Code
                | SettingOrigin::Environment { .. }
                | SettingOrigin::Flag { .. },
            )
            | None => (usize::MAX, 0),
        });
        self.found
    }
}
