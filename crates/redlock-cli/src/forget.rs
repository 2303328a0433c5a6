//! `redlock nodes forget`: lets the nodes forget what clients have announced.

use std::fmt::Write as _;

use redlock_quorum::{NodeResult, NodeStatus, OtherClients, Redlock, Settings};
use serde_json::{Value, json};

use crate::confirm::{ConfirmArgs, Word};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Tone, setting};
use crate::report::Report;

const ABOUT: &str = "\
Have the nodes forget what clients have announced

Each client announces to the nodes which nodes and quorum it uses, and the longest lease that it may take. The nodes \
remember that, and forget by themselves what no client uses any more, once its longest lease would have expired. With \
this command you declare that it is out of use now: after a node was replaced, or after all clients with another node \
list or a longer max_ttl are gone. Running clients announce their settings again within seconds. Locks are not \
changed.

A node that is in quarantine because it replaced another one then votes at once. A client that is cut off or paused, \
and uses other nodes or a longer max_ttl, is no longer taken into account. If such a client is left, or a lock is held \
on the replaced server, two clients can hold one lock at the same time.";

const EXAMPLES: &str = "\
Examples:
  redlock doctor
  redlock nodes forget
  redlock nodes forget --yes --node redis://a --node redis://b
  redlock nodes forget --yes --json | jq '.nodes[] | select(.failure)'

Exits with 0 when all nodes have forgotten it; with 1 when some have not, or the answer was no; with 69 when fewer \
nodes have forgotten it than have to agree.";

/// The meaning of the answer "yes", shown before the question.
const MEANING: &str = "\
Answer yes only if no client is left that uses other nodes, another quorum or a longer max_ttl, and nobody can hold a \
lock on a server that was replaced: otherwise two clients can hold one lock at the same time. When in doubt, wait: the \
nodes forget it by themselves.";

/// Manage what the nodes remember of their clients
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock nodes forget
  redlock nodes forget --help")]
pub(crate) struct NodesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Forget(Args),
}

/// The options of `redlock nodes forget`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Have the nodes forget what clients have announced", long_about = ABOUT, after_long_help = after_help())]
struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: NodesArgs, report: Report) -> Result<Exit, Failure> {
    let Action::Forget(Args { nodes, confirm, json }) = args.action;
    let settings = checked(nodes.builder())?;
    confirm.check()?;
    let redlock = settings.clone().connect().await;
    // Ensures that every node has been tried.
    redlock.survey().await;
    match confirm.ask(&known(&redlock, &settings), "Forget what clients have announced?").await? {
        Word::Yes => {}
        Word::No => {
            report.notice("nothing was forgotten");
            return Ok(Exit::UNCLEAN);
        }
    }
    let told = redlock.dangerous_forget_clients().await;
    if json {
        output::print_json(&as_json(&told, &settings))?;
    } else {
        output::print(&as_text(&told, &settings, Medium::of_stdout()))?;
    }
    Ok(match forgotten(&told) {
        all if all == told.len() => Exit::SUCCESS,
        some if some < settings.quorum() => Exit::NO_QUORUM,
        _ => Exit::UNCLEAN,
    })
}

fn forgotten(told: &[NodeResult<()>]) -> usize {
    told.iter().filter(|node| node.result().is_ok()).count()
}

/// The nodes' memory of their clients, shown before the question.
fn known(redlock: &Redlock, settings: &Settings) -> String {
    let medium = Medium::of_stderr();
    let mut text = String::new();
    for node in redlock.nodes() {
        let line = medium.fill(&format!("{}: ", node.name()), &remembered(&node));
        let _ = writeln!(text, "{line}");
    }
    let longest = redlock.longest_max_ttl();
    if longest > settings.max_ttl() {
        let _ = writeln!(
            text,
            "The longest max_ttl is {}, yours is {}.",
            setting(longest),
            setting(settings.max_ttl())
        );
    }
    let _ = write!(text, "\n{}", medium.fill("", MEANING));
    text
}

fn remembered(node: &NodeStatus) -> String {
    match (node.other_clients(), node.failure()) {
        (OtherClients::Different(_), _) => "other clients use other nodes or another quorum".to_owned(),
        (OtherClients::Unknown, Some(failure)) => failure.to_string(),
        (OtherClients::Same, _) => "all clients use these nodes and this quorum".to_owned(),
        (OtherClients::Unknown | _, _) => "it has not reported yet what other clients use".to_owned(),
    }
}

fn as_text(told: &[NodeResult<()>], settings: &Settings, medium: Medium) -> String {
    let mut text = String::new();
    for node in told {
        let (word, tone, rest) = match node.result() {
            Ok(()) => ("forgotten", Tone::Good, String::new()),
            Err(failure) => {
                ("not forgotten", Tone::Bad, format!(": {failure}; correct that and run this again"))
            }
        };
        let line = medium.fill(&format!("{}: ", node.name()), &format!("{word}{rest}"));
        let _ = writeln!(text, "{}", line.replacen(word, &medium.paint(word, tone), 1));
    }
    let _ = writeln!(text, "{} of {} nodes have forgotten it", forgotten(told), settings.nodes());
    text
}

fn as_json(told: &[NodeResult<()>], settings: &Settings) -> Value {
    let node = |node: &NodeResult<()>| {
        json!({
            "name": node.name(),
            "forgotten": node.result().is_ok(),
            "failure": node.result().err().map(ToString::to_string),
        })
    };
    json!({
        "nodes": told.iter().map(node).collect::<Vec<_>>(),
        "quorum": { "nodes": settings.nodes(), "needed": settings.quorum(), "forgotten": forgotten(told) },
    })
}
