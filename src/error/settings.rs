//! Settings, names and URLs that cannot be used.

/// A setting, name or URL that cannot be used. Always the caller's mistake; nothing was sent anywhere.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No node was given.
    #[error("nodes: none given; name at least one Redis master, 3 or 5 independent ones to survive failures")]
    NoNodes,
    /// More nodes than make sense.
    #[error("nodes: {nodes} given, at most {max} are supported")]
    TooManyNodes {
        /// How many were given.
        nodes: usize,
        /// The bound.
        max: usize,
    },
    /// The same server twice: its vote would count twice, and two clients could hold one lock.
    #[error("nodes: {node} is listed twice; every node must be a server of its own")]
    DuplicateNode {
        /// Host and port of the node.
        node: String,
    },
    /// A URL that cannot be used. Never contains the password.
    #[error("nodes: {url}: {problem}; expected redis://[user:password@]host[:port][/db]")]
    NodeUrl {
        /// Its position in the list, from 1, and its address where that can be told; never its credentials.
        url: String,
        /// What is wrong with it.
        problem: String,
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
        /// What would be right.
        bound: String,
    },
    /// A resource name that cannot be used.
    #[error("resource {name:?}: {problem}")]
    Resource {
        /// The name as given, cut after 64 characters.
        name: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
}
