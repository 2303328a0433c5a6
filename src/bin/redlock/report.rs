//! What the tool says, all of it on stderr: stdout belongs to results and to the command that `run` runs.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ArgAction;
use tracing_subscriber::EnvFilter;

/// Heading in `--help`, so that these options do not mix with each subcommand's own.
const OUTPUT: &str = "Output";

/// How much to say.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Say nothing on stderr; the exit code tells.
    #[arg(short, long, global = true, help_heading = OUTPUT, conflicts_with = "verbose")]
    quiet: bool,
    /// Log to stderr what the connections and attempts do; -vv for every detail.
    #[arg(short, long, global = true, help_heading = OUTPUT, action = ArgAction::Count)]
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
            .with_ansi(io::stderr().is_terminal())
            .compact()
            .init();
        Report::Speaking
    }
}

impl Report {
    /// One line, or more.
    pub(crate) fn notice(self, text: impl fmt::Display) {
        match self {
            Self::Quiet => {}
            // With stderr closed there is nobody to tell.
            Self::Speaking => drop(writeln!(io::stderr(), "redlock: {text}")),
        }
    }
}
