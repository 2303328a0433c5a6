//! `redlock leader`: shows who leads.

use std::time::SystemTime;

use redlock_quorum::{Election, Leader, LeaderState};
use serde_json::{Value, json};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, short};
use crate::signals::{ENDING, Signals};

const ABOUT: &str = "\
Show who leads

Asks the nodes for the leader that `redlock elect`, or a program with an election of this name, has made: what it says \
of itself, its term, which grows with every leader, and since when. The answer may be out of date as soon as you read it.";

const EXAMPLES: &str = "\
Examples:
  redlock leader reports
  redlock leader --json reports | jq -r .value
  redlock leader --watch reports

Exits with 0 when somebody leads, 1 when nobody does, 69 when too few nodes answered to know.";

/// The options of `redlock leader`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Show who leads", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one JSON object instead; with --watch, one in a line for each change.
    #[arg(long)]
    json: bool,
    /// Print a line for each change, until interrupted.
    #[arg(long)]
    watch: bool,
    /// The election: the name of the Redis key.
    #[arg(value_name = "NAME")]
    name: String,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let Args { nodes, json, watch, name } = args;
    let mut signals = Signals::listen(&ENDING)?;
    let redlock = checked(nodes.builder())?.connect().await;
    let election = redlock.election(&name)?;
    if watch {
        return tokio::select! {
            failure = watched(&election, &name, json) => failure.map(|()| Exit::SUCCESS),
            signal = signals.next() => Ok(Exit::by_signal(signal)),
        };
    }
    let state = election.leader().await;
    if json {
        output::print_json(&as_json(&name, &state))?;
    } else {
        output::print(&format!("{}\n", sentence(&name, &state)))?;
    }
    Ok(match state {
        LeaderState::Leads(_) => Exit::SUCCESS,
        LeaderState::Vacant => Exit::UNCLEAN,
        LeaderState::Unknown | _ => Exit::NO_QUORUM,
    })
}

/// Prints changes until printing fails.
async fn watched(election: &Election, name: &str, json: bool) -> Result<(), Failure> {
    let mut watch = election.watch();
    loop {
        let state = watch.changed().await.map_or(LeaderState::Vacant, LeaderState::Leads);
        let line = if json { as_json(name, &state).to_string() } else { sentence(name, &state) };
        output::print(&format!("{line}\n"))?;
    }
}

fn sentence(name: &str, state: &LeaderState) -> String {
    match state {
        LeaderState::Leads(leader) => {
            let (value, term) = (leader.value().escape_debug(), leader.term());
            format!("{value} leads {name:?} in term {term}, since {} ago", short(age(leader)))
        }
        LeaderState::Vacant => format!("nobody leads {name:?}"),
        LeaderState::Unknown | _ => format!("it is not known who leads {name:?}: too few nodes answered"),
    }
}

/// Zero if the leader's clock is ahead of ours.
#[expect(clippy::disallowed_methods, reason = "compared with another machine's wall clock, for people")]
fn age(leader: &Leader) -> std::time::Duration {
    SystemTime::now().duration_since(leader.since()).unwrap_or_default()
}

fn as_json(name: &str, state: &LeaderState) -> Value {
    let (word, leader) = match state {
        LeaderState::Leads(leader) => ("leads", Some(leader)),
        LeaderState::Vacant => ("vacant", None),
        LeaderState::Unknown | _ => ("unknown", None),
    };
    let since = |leader: &Leader| {
        let since = leader.since().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    json!({
        "name": name,
        "state": word,
        "value": leader.map(Leader::value),
        "term": leader.map(|leader| leader.term().get()),
        "since_unix_ms": leader.map(since),
    })
}
