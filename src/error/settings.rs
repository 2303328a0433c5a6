//! Settings, names and URLs that cannot be used, and where they were given.

use std::fmt;
use std::sync::Arc;

/// A setting, name or URL that cannot be used. The mistake is always the caller's; nothing was sent anywhere.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No node was given.
    #[error("nodes: none given; name at least one Redis master, 3 or 5 independent ones to survive failures")]
    NoNodes,
    /// More nodes were given than the library supports.
    #[error("nodes: {nodes} given, at most {max} are supported")]
    TooManyNodes {
        /// The number of nodes given.
        nodes: usize,
        /// The bound.
        max: usize,
    },
    /// One server is listed twice. Its vote would count twice, and two clients could hold one lock.
    #[error("nodes: {node} is listed twice; every node must be a server of its own")]
    DuplicateNode {
        /// Host and port of the node, or the name that two nodes were given.
        node: String,
    },
    /// A URL that cannot be used. The error never contains the password.
    #[error("nodes: {url}: {problem}; expected {expected}")]
    NodeUrl {
        /// The URL's position in the list, from 1, and its address if that is known; never its credentials.
        url: String,
        /// The problem of the URL.
        problem: String,
        /// The form of such a URL.
        expected: &'static str,
    },
    /// A quorum that does not intersect itself, or that the nodes cannot reach.
    #[error("quorum: {quorum} of {nodes} nodes; must be between {min} (the majority) and {nodes}")]
    Quorum {
        /// The value.
        quorum: usize,
        /// How many nodes are configured.
        nodes: usize,
        /// The smallest sound quorum.
        min: usize,
    },
    /// A value outside its bounds.
    #[error("{setting}: {value}; must be {bound}")]
    OutOfRange {
        /// Name of the setting.
        setting: &'static str,
        /// The value as given.
        value: String,
        /// The values that are allowed.
        bound: String,
    },
    /// A value of the wrong kind: a duration without its unit, a text where a number belongs.
    #[error("{setting}: {value}; must be {expected}")]
    Malformed {
        /// Name of the setting.
        setting: &'static str,
        /// The value as given; `***` for a secret.
        value: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// No setting has this name.
    #[error("{name}: no such setting{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// The name as given.
        name: String,
        /// The setting that was probably meant.
        nearest: Option<String>,
    },
    /// Two settings that exclude each other were given in one source.
    #[error("{setting}: given together with {other}; must be one of them")]
    Conflict {
        /// Name of the setting.
        setting: &'static str,
        /// Name of the other setting.
        other: &'static str,
    },
    /// A file that cannot be used: the settings file, or a file that a setting names.
    #[error("{setting}: cannot read {path}: {problem}")]
    File {
        /// Name of the setting; `file` for the settings file.
        setting: &'static str,
        /// The path as given.
        path: String,
        /// The error of the operating system, or the bound that the file breaks.
        problem: String,
    },
    /// An environment variable that another setting names is not set, or is not UTF-8.
    #[error("{setting}: the environment variable {variable} is {problem}")]
    Variable {
        /// Name of the setting.
        setting: &'static str,
        /// Name of the variable.
        variable: String,
        /// The problem of the variable.
        problem: &'static str,
    },
    /// The value needs a feature of the crate that was not compiled in.
    #[error("{setting}: {value}: needs the feature `{feature}` of redlock-quorum")]
    FeatureMissing {
        /// Name of the setting.
        setting: &'static str,
        /// The value; for a URL, its number and address.
        value: String,
        /// The feature of the crate.
        feature: &'static str,
    },
    /// The file is not TOML.
    #[error("not TOML: {problem}")]
    Syntax {
        /// The parser's message.
        problem: String,
    },
    /// A resource name that cannot be used.
    #[error("resource {name:?}: {problem}")]
    Resource {
        /// The name as given, cut after 64 characters.
        name: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// One of the above mistakes, in a value from a file, the environment or a flag.
    #[error("{origin}: {mistake}")]
    At {
        /// Where the value was given.
        origin: SettingOrigin,
        /// The mistake; never `At`.
        mistake: Box<SettingsError>,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

impl SettingsError {
    /// The mistake itself: for [`SettingsError::At`], the mistake inside, else this error.
    #[must_use]
    pub fn reason(&self) -> &Self {
        match self {
            Self::At { mistake, .. } => mistake.reason(),
            Self::NoNodes
            | Self::TooManyNodes { .. }
            | Self::DuplicateNode { .. }
            | Self::NodeUrl { .. }
            | Self::Quorum { .. }
            | Self::OutOfRange { .. }
            | Self::Malformed { .. }
            | Self::Unknown { .. }
            | Self::Conflict { .. }
            | Self::File { .. }
            | Self::Variable { .. }
            | Self::Syntax { .. }
            | Self::FeatureMissing { .. }
            | Self::Resource { .. } => self,
        }
    }

    /// Where the value was given; `None` for values set in code and for defaults.
    #[must_use]
    pub fn origin(&self) -> Option<&SettingOrigin> {
        if let Self::At { origin, .. } = self { Some(origin) } else { None }
    }

    /// Name of the setting; empty where the mistake is not about one setting.
    #[must_use]
    pub fn setting(&self) -> &str {
        match self {
            Self::At { mistake, .. } => mistake.setting(),
            Self::NoNodes | Self::TooManyNodes { .. } | Self::DuplicateNode { .. } | Self::NodeUrl { .. } => {
                "nodes"
            }
            Self::Quorum { .. } => "quorum",
            Self::OutOfRange { setting, .. }
            | Self::Malformed { setting, .. }
            | Self::Conflict { setting, .. }
            | Self::File { setting, .. }
            | Self::FeatureMissing { setting, .. }
            | Self::Variable { setting, .. } => setting,
            Self::Unknown { name, .. } => name,
            Self::Resource { .. } => "resource",
            Self::Syntax { .. } => "",
        }
    }

    /// Adds the origin of the value, unless the mistake has an origin already or the value was set in code or by
    /// default.
    pub(crate) fn at(self, origin: &SettingOrigin) -> Self {
        match (origin, &self) {
            (SettingOrigin::Default | SettingOrigin::Code, _) | (_, Self::At { .. }) => self,
            (
                SettingOrigin::File { .. } | SettingOrigin::Environment { .. } | SettingOrigin::Flag { .. },
                _,
            ) => Self::At { origin: origin.clone(), mistake: Box::new(self) },
        }
    }
}

/// Where a value was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingOrigin {
    /// Nowhere: the value is the default.
    #[default]
    Default,
    /// In the program, by a method of the builder.
    Code,
    /// In a settings file.
    File {
        /// The path as given.
        path: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In the environment.
    Environment {
        /// Name of the variable.
        variable: Arc<str>,
    },
    /// On a command line.
    Flag {
        /// The flag as the program spells it.
        flag: Arc<str>,
    },
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Code => f.write_str("code"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment { variable } => f.write_str(variable),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}
