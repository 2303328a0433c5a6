//! Votes and the decision from them.

/// A node's answer to one command of one attempt. `Unknown` means that the command may or may not have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vote {
    Granted,
    Denied,
    Unknown,
}

/// The decision from the votes so far. `Won` and `Failed` are final, because no later vote can change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending,
    Won,
    Failed,
}

/// Why a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundFailure {
    /// Enough nodes answered, but too many of them denied.
    Contended,
    /// Too few nodes answered for a quorum, whatever the answers were.
    NoQuorum,
}
