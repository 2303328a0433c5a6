//! The tool's messages. All go to stderr, because stdout belongs to results and to the command that `run` runs.

use std::fmt;
use std::io::{self, IsTerminal as _};

use clap::ArgAction;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::output::Medium;
use crate::stderr::{self, Stderr};

/// Heading in `--help`, so that these options do not mix with each subcommand's own.
const OUTPUT: &str = "Output";

/// The library's log events that a waiting user should see without asking for the log.
const NOTICES: &str = "redlock_quorum::coordinator::lock=warn";

/// How much to print.
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
    /// Starts the log if it is wanted.
    pub(crate) fn start(self) -> Report {
        let Self { quiet, verbose } = self;
        let level = match verbose {
            0 if quiet => return Report::Quiet,
            0 => {
                let notices = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(NOTICES));
                notices.with_writer(|| Stderr).event_format(Notice).init();
                return Report::Speaking;
            }
            1 => "redlock_quorum=debug,redlock=debug",
            _ => "trace",
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_writer(|| Stderr)
            .with_ansi(io::stderr().is_terminal())
            .compact()
            .init();
        Report::Speaking
    }
}

impl Report {
    /// Prints a notice of one line or more.
    pub(crate) fn notice(self, text: impl fmt::Display) {
        match self {
            Self::Quiet => {}
            Self::Speaking => stderr::say(format!("{}\n", as_notice(&text.to_string())).into_bytes()),
        }
    }
}

fn as_notice(text: &str) -> String {
    Medium::of_stderr().lines("redlock: ", text)
}

/// Formats a log event as a bare message, like one of the tool's own notices.
struct Notice;

impl<S, N> FormatEvent<S, N> for Notice
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message(String::new());
        event.record(&mut message);
        writeln!(writer, "{}", as_notice(&message.0))
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
