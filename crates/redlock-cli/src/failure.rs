//! Reasons why the tool did not do what was asked, each with its exit code and message.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::process::ExitStatus;

use redlock_quorum::{LockError, SettingsError, Votes};
use redlock_testing::ClusterError;

use crate::durations::short;
use crate::exit::Exit;

const NO_NODES: &str = "no nodes given: repeat --node URL for each master, set REDLOCK_NODES to a comma-separated \
                        list of URLs, or name a settings file with --config; `redlock dev` starts local ones to try";

/// A failure, with one line for stderr, or one line for each node. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, or the environment that stands in for it, is incomplete.
    #[error("{0}")]
    Usage(&'static str),
    /// Settings, a key or URLs cannot be used; at least one mistake.
    #[error("{}", settings_text(.0))]
    Settings(Vec<SettingsError>),
    /// Settings cannot be used, and one of the mistakes is a `--ttl` above `max_ttl`.
    #[error("{}; --max-ttl or --set max_ttl=... raises the bound, which should be the same for all clients", settings_text(.0))]
    TtlTooLong(Vec<SettingsError>),
    /// The lock was not acquired.
    #[error("{}", lock_text(.0))]
    Lock(#[from] LockError),
    /// Another owner holds the lock; `held` names the owner and says for how long.
    #[error("{key:?} is {held}; try again later, or give it longer with --wait")]
    Held { key: String, held: String, exit: Exit },
    /// A `redlock run` above this one holds the lock.
    #[error(
        "{key:?} is held by the `redlock run` that this one runs under (process {pid}), and waiting for it would never \
         end: leave this `redlock run` out, or give it another key"
    )]
    Nested { key: String, pid: i32, exit: Exit },
    /// Other clients use these nodes together with other nodes, or with another quorum.
    #[error("{}", other_lists_text(.nodes))]
    OtherLists { nodes: Vec<String> },
    /// The lock was lost while the command ran. The command has ended.
    #[error("{}", lost_text(key, *command, votes.as_ref()))]
    LockLost { key: String, command: ExitStatus, votes: Option<Votes> },
    /// The command could not be started.
    #[error("cannot run {program:?}: {source}")]
    Command { program: OsString, source: io::Error },
    /// Local servers could not be started.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A scenario cannot be played; at least one mistake.
    #[error("{}", several("scenario", .0))]
    Scenario(Vec<String>),
    /// The operating system refused something.
    #[error("could not {action}: {source}")]
    System { action: &'static str, source: io::Error },
    /// A bug of redlock.
    #[error("this is a bug, please report it: {0}")]
    Internal(String),
}

impl Failure {
    /// The exit code for this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::USAGE,
            Self::Settings(mistakes) if are_nodes_missing(mistakes) => Exit::USAGE,
            Self::Settings(_) | Self::TtlTooLong(_) => Exit::CONFIGURATION,
            Self::Lock(error) => of_lock(error),
            Self::Held { exit, .. } | Self::Nested { exit, .. } => *exit,
            Self::OtherLists { .. } => Exit::CONFIGURATION,
            Self::LockLost { .. } => Exit::LOCK_LOST,
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NOT_FOUND,
            Self::Command { .. } => Exit::NOT_EXECUTABLE,
            Self::Scenario(_) => Exit::CONFIGURATION,
            Self::Cluster(_) | Self::System { .. } => Exit::SYSTEM,
            Self::Internal(_) => Exit::INTERNAL,
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(mistake: SettingsError) -> Self {
        Self::Settings(vec![mistake])
    }
}

/// Whether no nodes were given at all, which is not a mistake in a value.
fn are_nodes_missing(mistakes: &[SettingsError]) -> bool {
    matches!(mistakes, [SettingsError::NoNodes])
}

fn settings_text(mistakes: &[SettingsError]) -> String {
    if are_nodes_missing(mistakes) {
        return NO_NODES.to_owned();
    }
    several("settings", mistakes)
}

/// The mistakes in `what`, each on a line of its own.
fn several(what: &str, mistakes: &[impl ToString]) -> String {
    if let [mistake] = mistakes {
        return mistake.to_string();
    }
    let mut text = format!("{} mistakes in the {what}:", mistakes.len());
    for mistake in mistakes {
        let _ = write!(text, "\n  {}", mistake.to_string());
    }
    text
}

fn of_lock(error: &LockError) -> Exit {
    match error.reason() {
        LockError::Contended { .. } => Exit::CONTENDED,
        LockError::NoQuorum { .. } | LockError::TooLate { .. } => Exit::NO_QUORUM,
        LockError::Invalid(_)
        | LockError::OtherPermits { .. }
        | LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. } => Exit::CONFIGURATION,
        LockError::Timeout { .. } | LockError::ShutDown | _ => Exit::INTERNAL,
    }
}

fn lock_text(error: &LockError) -> String {
    let waited = if let LockError::Timeout { max_wait, .. } = error {
        format!(" after waiting {}", humantime::format_duration(*max_wait))
    } else {
        String::new()
    };
    match error.reason() {
        LockError::Contended { resource, .. } => format!(
            "{resource:?} is held by another owner{waited}; try again later, or give it longer with --wait"
        ),
        LockError::NoQuorum { resource, needed, votes } => {
            let count = votes.iter().count();
            let nodes = node_lines(votes);
            let advice = match error.quarantine() {
                Some(left) => format!(
                    "wait for another {} (--wait), or declare with `redlock init` which of them are new, if nobody \
                     can hold a lock on them.",
                    short(left)
                ),
                None => "start these nodes, or find out why they cannot be reached from here.".to_owned(),
            };
            format!(
                "no quorum for {resource:?}{waited}: {needed} of {count} nodes must answer{nodes}\n  Nobody can take \
                 this lock until the votes of {needed} count: {advice}"
            )
        }
        LockError::TooLate { resource, left, min_validity, .. } => format!(
            "{resource:?} was granted too late{waited}: {left:?} of the lease were left, {min_validity:?} are \
             needed; raise --ttl, or find out why the nodes are slow"
        ),
        LockError::Invalid(error) => error.to_string(),
        reason @ (LockError::OtherPermits { .. }
        | LockError::ClockSkew { .. }
        | LockError::FenceTooHigh { .. }) => reason.to_string(),
        reason @ (LockError::Timeout { .. } | LockError::ShutDown | _) => {
            Failure::Internal(reason.to_string()).to_string()
        }
    }
}

fn other_lists_text(nodes: &[String]) -> String {
    let mut text =
        "other clients use these nodes together with other ones, or with another quorum, so their locks and \
                    ours may not exclude each other:"
            .to_owned();
    for node in nodes {
        let _ = write!(text, "\n  {node}");
    }
    text + "\n  The command was not run. Give all clients the same nodes and quorum; `redlock doctor` says what the others \
            use, and how to settle it when they no longer do. --allow-other-lists runs the command all the same."
}

fn lost_text(key: &str, command: ExitStatus, votes: Option<&Votes>) -> String {
    let nodes = votes.map(node_lines).unwrap_or_default();
    format!(
        "the lock on {key:?} was lost while the command ran; check what it left half done. It ended with \
         {command}{nodes}"
    )
}

/// One line for each node that did not agree, with the reason.
fn node_lines(votes: &Votes) -> String {
    let mut lines = String::new();
    for (node, failure) in votes.failures() {
        let _ = write!(lines, "\n  {node}: {failure}");
    }
    for node in votes.denials() {
        let _ = write!(lines, "\n  {node}: holds no key of ours");
    }
    lines
}
