//! `redlock dev`: runs local masters, to try things with.

use std::io::{self, Write as _};
use std::time::Duration;

use redlock_testing::{LocalCluster, MAX_NODES, NodeState};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Report;
use crate::signals::{ENDING, Signals};

/// How often the servers are checked, so that the end of one of them is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Start independent Redis masters on this machine and keep them until Ctrl-C.
///
/// Prints the URL of each master on a line of its own, and a line to paste into another terminal. Needs redis-server or
/// valkey-server; REDIS_SERVER may name it. At the end the servers and their data are removed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock dev
  redlock dev --nodes 3
  redlock dev --json | jq -r '.urls[]'")]
pub(crate) struct Args {
    /// How many masters.
    #[arg(long, default_value_t = 5, value_parser = node_count)]
    nodes: usize,
    /// Print one JSON object instead, with the list `urls`.
    #[arg(long)]
    json: bool,
}

fn node_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_NODES).contains(count));
    count.ok_or_else(|| format!("must be a number from 1 to {MAX_NODES}"))
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, json } = args;
    // Listens before the start, so that a signal during the start still leads to a clean-up.
    let mut signals = Signals::listen(&ENDING)?;
    let cluster = spawn_blocking(move || LocalCluster::start(nodes)).await;
    let cluster = cluster.map_err(|panic| Failure::Internal(panic.to_string()))??;
    let text = if json { as_json(&cluster.urls()) } else { as_lines(&cluster.urls()) };
    print(&text)?;
    report.notice(format_args!("{nodes} masters are running; Ctrl-C ends them"));
    tokio::select! {
        _ = signals.next() => {}
        () = report_deaths(&cluster, report) => {}
    }
    drop(cluster);
    Ok(Exit::SUCCESS)
}

fn as_json(urls: &[String]) -> String {
    format!("{}\n", serde_json::json!({ "urls": urls }))
}

fn as_lines(urls: &[String]) -> String {
    format!("{}\nexport REDLOCK_NODES={}\n", urls.join("\n"), urls.join(","))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(|source| Failure::System { action: "print the URLs", source })
}

/// Reports each server that ends by itself, once. Never returns.
async fn report_deaths(cluster: &LocalCluster, report: Report) {
    let mut running: Vec<usize> = (0..cluster.len()).collect();
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        running.retain(|node| match cluster.state(*node) {
            NodeState::Running | NodeState::Paused => true,
            NodeState::Stopped => {
                report.notice(format_args!("{} has ended", cluster.url(*node)));
                false
            }
        });
    }
}
