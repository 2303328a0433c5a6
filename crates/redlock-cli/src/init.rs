//! `redlock init`: lets an operator declare that nodes are new.

use std::fmt::Write as _;

use redlock_quorum::{Declared, NodeFailure, NodeResult, NodeStatus, QuarantineCause, Redlock, Settings};
use serde_json::{Value, json};

use crate::confirm::{ConfirmArgs, Word};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Tone, millis, setting, short};
use crate::report::Report;

const ABOUT: &str = "\
Declare that nodes are new, so that their votes count at once

A node without a memory of an earlier life is either new or has lost its data, and with it the locks that it granted. \
The node cannot tell which, so its vote does not count until every lock that it may have forgotten has expired. When \
you set up nodes, declare once with this command that they are new and nobody holds a lock on them. A node that cannot \
be new refuses.

The declaration holds until the next restart of a node that does not keep every write (appendonly yes, appendfsync \
always) or that has replicas; without such a restart it holds for good. If a node is in quarantine for another reason, \
such as the promotion of a replica or evicted keys, its vote does not count at once, and the answer gives the reason.";

const EXAMPLES: &str = "\
Examples:
  redlock init
  redlock init --yes --node redis://a --node redis://b --node redis://c
  redlock init --yes --json | jq '.nodes[] | select(.votes | not)'

Exits with 0 when all nodes have been declared, now or before; with 1 when some have not; with 69 when fewer nodes \
vote afterwards than have to agree.";

/// The meaning of the declaration, shown before the question.
const MEANING: &str = "\
Answer yes only if nobody can hold a lock on them: if one lost its data while a client held a lock, another client \
gets the same lock, and two work at the same time. When in doubt, wait: each vote counts by itself when its quarantine \
is over.";

/// The options of `redlock init`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Declare that nodes are new, so that they vote at once", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
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

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, confirm, json } = args;
    let settings = checked(nodes.builder())?;
    confirm.check()?;
    let redlock = settings.clone().connect().await;
    // Ensures that every node has been tried.
    redlock.survey().await;
    match confirm.ask(&known(&redlock.nodes()), "Are these nodes new?").await? {
        Word::Yes => {}
        Word::No => {
            report.notice("nothing was declared");
            return Ok(Exit::UNCLEAN);
        }
    }
    let declared = redlock.dangerous_declare_new().await;
    let outcomes = outcomes(declared, &settings).await;
    let all = outcomes.iter().all(Outcome::is_declared);
    let votes = outcomes.iter().filter(|outcome| outcome.failure.is_none()).count();
    if json {
        output::print_json(&as_json(&outcomes, &settings, votes))?;
    } else {
        output::print(&as_text(&outcomes, &settings, votes, Medium::of_stdout()))?;
    }
    Ok(match all {
        _ if votes < settings.quorum() => Exit::NO_QUORUM,
        true => Exit::SUCCESS,
        false => Exit::UNCLEAN,
    })
}

/// The outcome for one node. `failure` is the reason why its vote still does not count after the attempt to declare it.
struct Outcome {
    declared: NodeResult<Declared>,
    failure: Option<NodeFailure>,
}

impl Outcome {
    fn is_declared(&self) -> bool {
        matches!(self.declared.result(), Ok(Declared::Now | Declared::Before))
    }
}

/// A connected client notices a declaration only at its next connection. A new client therefore observes the nodes.
async fn outcomes(declared: Vec<NodeResult<Declared>>, settings: &Settings) -> Vec<Outcome> {
    let newcomer: Redlock = settings.clone().connect().await;
    newcomer.survey().await;
    let after = newcomer.nodes();
    let outcome = |(declared, status): (NodeResult<Declared>, &NodeStatus)| Outcome {
        declared,
        failure: status.failure().cloned(),
    };
    declared.into_iter().zip(&after).map(outcome).collect()
}

/// The known facts about the nodes, shown before the question.
fn known(nodes: &[NodeStatus]) -> String {
    let medium = Medium::of_stderr();
    let mut text = String::new();
    for node in nodes {
        let up =
            node.facts().map_or_else(String::new, |facts| format!(", up for {}", setting(facts.uptime())));
        let now = match node.failure() {
            None => "it votes already".to_owned(),
            Some(NodeFailure::Quarantined { left, cause: QuarantineCause::NewOrWiped }) => {
                format!("it is new or has lost its data; without a declaration it votes in {}", short(*left))
            }
            Some(failure) => failure.to_string(),
        };
        let _ = writeln!(text, "{}", medium.fill(&format!("{}{up}: ", node.name()), &now));
    }
    let _ = write!(text, "\n{}", medium.fill("", MEANING));
    let is_voting = |node: &&NodeStatus| node.failure().is_none();
    let voting = nodes.iter().filter(is_voting).count();
    if 0 < voting && voting < nodes.len() {
        let doubt = format!(
            "{voting} of these nodes vote already, so they have been in use. Is one of the others a node that lost its \
             data?"
        );
        let _ = write!(text, "\n{}", medium.paragraph("warning", Tone::Doubtful, &doubt));
    }
    text
}

fn as_text(outcomes: &[Outcome], settings: &Settings, votes: usize, medium: Medium) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let (word, tone, advice) = describe(outcome);
        let line = medium.fill(&format!("{}: ", outcome.declared.name()), &format!("{word}{advice}"));
        let _ = writeln!(text, "{}", line.replacen(word, &medium.paint(word, tone), 1));
    }
    let (needed, nodes) = (settings.quorum(), settings.nodes());
    let _ = writeln!(text, "{votes} of {nodes} nodes vote, {needed} have to agree");
    text
}

/// The outcome for a node, and what to do about it.
fn describe(outcome: &Outcome) -> (&'static str, Tone, String) {
    let vote = match &outcome.failure {
        None => "; its vote counts".to_owned(),
        Some(NodeFailure::Quarantined { left, cause: QuarantineCause::NewOrWiped }) => {
            format!("; its vote counts in {}", short(*left))
        }
        Some(NodeFailure::Quarantined { left, cause }) => {
            format!("; its vote counts in {}, because {cause}", short(*left))
        }
        Some(failure) => format!("; it has no vote: {failure}"),
    };
    match outcome.declared.result() {
        Ok(Declared::Now) => ("declared new", Tone::Good, vote),
        Ok(Declared::Before) => ("declared before", Tone::Good, vote),
        Ok(Declared::Older) => (
            "refused",
            Tone::Bad,
            format!(
                ": it is not new, because it remembers an earlier life; there is nothing to declare{vote}"
            ),
        ),
        Ok(Declared::HoldsLocks) => (
            "refused",
            Tone::Bad,
            format!(
                ": it holds a key that expires, which may be a lock; wait until there is none, or use a server of its \
                 own for locks{vote}"
            ),
        ),
        Ok(Declared::TooManyKeys) => (
            "refused",
            Tone::Bad,
            format!(": it holds too many keys to be new; use a server of its own for locks{vote}"),
        ),
        Ok(_) => ("refused", Tone::Bad, vote),
        Err(failure) => ("not declared", Tone::Bad, format!(": {failure}; correct that and run this again")),
    }
}

fn as_json(outcomes: &[Outcome], settings: &Settings, votes: usize) -> Value {
    let node = |outcome: &Outcome| {
        let declared = match outcome.declared.result() {
            Ok(Declared::Now) => "now",
            Ok(Declared::Before) => "before",
            Ok(Declared::Older) => "refused_older",
            Ok(Declared::HoldsLocks) => "refused_holds_locks",
            Ok(Declared::TooManyKeys) => "refused_too_many_keys",
            Ok(_) => "refused",
            Err(_) => "not_asked",
        };
        let quarantine = outcome.failure.as_ref().and_then(NodeFailure::quarantine);
        json!({
            "name": outcome.declared.name(),
            "declared": declared,
            "votes": outcome.failure.is_none(),
            "failure": outcome.failure.as_ref().map(ToString::to_string),
            "quarantine_ms": quarantine.map(millis),
        })
    };
    json!({
        "nodes": outcomes.iter().map(node).collect::<Vec<_>>(),
        "quorum": { "nodes": settings.nodes(), "needed": settings.quorum(), "voting": votes },
    })
}
