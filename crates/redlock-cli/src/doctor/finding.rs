//! One finding of `redlock doctor`.

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The nodes concerned; empty where the finding concerns all of them, or the settings.
    pub(super) nodes: Vec<String>,
    pub(super) what: String,
    pub(super) advice: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// A vote or a guarantee is missing.
    Problem,
    /// Everything works, but could work better.
    Note,
}

pub(super) fn problem(nodes: Vec<String>, what: String, advice: impl Into<String>) -> Finding {
    Finding { severity: Severity::Problem, nodes, what, advice: advice.into() }
}

pub(super) fn note(nodes: Vec<String>, what: String, advice: impl Into<String>) -> Finding {
    Finding { severity: Severity::Note, nodes, what, advice: advice.into() }
}
