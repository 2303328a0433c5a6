//! What the tool says, all of it on stderr: stdout belongs to results and to the command that `run` runs.

use std::fmt;
use std::io::{self, Write as _};

use clap::ArgAction;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// How much to say.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Say nothing on stderr; the exit code tells.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log to stderr what the connections and attempts do; -vv for every detail.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

/// Whether the tool speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Quiet,
    Speaking,
}

impl ReportArgs {
    /// Starts the log, if it is wanted.
    pub(crate) fn start(self) -> Report {
        let Self { quiet, verbose } = self;
        let level = match verbose {
            0 => return if quiet { Report::Quiet } else { Report::Speaking },
            1 => "redlock_quorum=debug,redlock=debug",
            _ => "trace",
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_writer(io::stderr)
            .compact()
            .init();
        Report::Speaking
    }
}

impl Report {
    /// Something that does not change how the tool ends.
    pub(crate) fn notice(self, text: impl fmt::Display) {
        match self {
            Self::Quiet => {}
            // With stderr closed there is nobody to tell.
            Self::Speaking => drop(writeln!(io::stderr(), "redlock: {text}")),
        }
    }

    /// Why the tool ends as it does.
    pub(crate) fn failure(self, failure: &Failure) {
        self.notice(failure);
    }
}
