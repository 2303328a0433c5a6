//! `redlock doctor`: examines the nodes, and says what to do.

mod examined;
mod finding;
mod findings;
mod sheet;
mod tuning;

use std::time::Duration;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, setting};

use examined::Examined;
use finding::{Finding, Severity};

const ABOUT: &str = "\
Examine the nodes: what they are, whether their votes count, and what to do about it

Shows a table of the nodes, then what is wrong or could be better, and last whether locks can be taken and how many \
more nodes may be lost. CLOCK is how far a node's wall clock is ahead of this machine's. RATE is how much faster it runs, \
in parts in a million (ppm), or \"not measured\" where --sample is too short for the round trips. The round trips are \
those of fifty small commands. Changes nothing except the record that every client writes to the nodes when it connects.";

const EXAMPLES: &str = "\
Examples:
  redlock doctor
  redlock doctor --config /etc/redlock.toml
  redlock doctor --sample 1m
  redlock doctor --json | jq '.findings[] | .what'
  redlock doctor >/dev/null || echo 'see to the lock nodes' | mail ops

On a terminal the result is a table, elsewhere tab-separated lines.";

/// The options of `redlock doctor`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Examine the nodes, and say what to do", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// How long to follow the clocks before their rates are told. The longer, the more exact; up to 1h.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = sample)]
    sample: Duration,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

/// The longest sample. A rate changes with the temperature, so longer ones would tell no more.
const SAMPLE_MAX: Duration = Duration::from_secs(3600);

fn sample(text: &str) -> Result<Duration, String> {
    let sample = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if sample > SAMPLE_MAX {
        return Err(format!("must be at most {}", setting(SAMPLE_MAX)));
    }
    Ok(sample)
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

/// Whether locks can be acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Healthy,
    /// Locks can be acquired, but something needs attention.
    Degraded,
    NoQuorum,
}

/// The number of nodes, of nodes that have to agree, and of nodes that vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quorum {
    nodes: usize,
    needed: usize,
    voting: usize,
    /// Whether the nodes that vote are enough.
    is_met: bool,
    /// How many more nodes may fail.
    spare: usize,
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let Args { nodes, sample, json } = args;
    let settings = checked(nodes.builder())?;
    let redlock = settings.clone().connect().await;
    let earlier = redlock.survey().await;
    tokio::time::sleep(sample).await;
    let surveys = redlock.survey().await;
    let nodes: Vec<_> =
        surveys.iter().zip(&earlier).map(|(survey, earlier)| Examined::new(survey, earlier)).collect();
    let findings = findings::of(&nodes, &settings, redlock.longest_max_ttl());
    let voting = || nodes.iter().enumerate().filter(|(_, node)| node.votes()).map(|(i, _)| i);
    let lost = settings.nodes() - voting().count();
    let quorum = Quorum {
        nodes: settings.nodes(),
        needed: settings.quorum(),
        voting: voting().count(),
        is_met: settings.is_quorum(voting()),
        spare: settings.tolerated_failures().saturating_sub(lost),
    };
    let health = quorum.health(&findings);
    if json {
        output::print_json(&sheet::as_json(&nodes, &findings, quorum, health))?;
    } else {
        output::print(&sheet::as_text(&nodes, &findings, quorum, health, Medium::of_stdout()))?;
    }
    Ok(match health {
        Health::Healthy => Exit::SUCCESS,
        Health::Degraded => Exit::UNCLEAN,
        Health::NoQuorum => Exit::NO_QUORUM,
    })
}

impl Quorum {
    fn health(self, findings: &[Finding]) -> Health {
        if !self.is_met {
            Health::NoQuorum
        } else if findings.iter().any(|finding| finding.severity == Severity::Problem) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }
}
