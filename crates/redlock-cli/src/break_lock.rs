//! `redlock break`: takes a lock from its holder.

use std::fmt::Write as _;

use redlock_quorum::{Inspection, KeyContent, LockState, NodeResult, Removal};
use serde_json::{Value, json};

use crate::confirm::{ConfirmArgs, Word};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::inspect;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Tone};
use crate::report::Report;

const ABOUT: &str = "\
Take a lock from its holder

Removes the key from every node that answers, whichever client set it. The holder continues until it notices the loss: \
a holder that uses redlock at its next renewal, at most a third of the TTL later; any other holder at its deadline. \
Until then the old and the next holder may work at the same time; a store that checks fencing tokens refuses the old \
one. Use this for a holder that is gone or hangs, when you cannot wait for the TTL or the next renewal.";

const EXAMPLES: &str = "\
Examples:
  redlock inspect invoice:42
  redlock break invoice:42
  redlock break --yes --json invoice:42

Exits with 0 when the holder has lost its quorum, or there was none; with 1 when the answer was no; with 69 when the \
nodes that did not answer may still give the holder its quorum.";

const MEANING: &str = "\
The holder continues until it notices, and until then it and the next holder may work at the same time.";

/// The options of `redlock break`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(name = "break", about = "Take a lock from its holder", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
    /// The lock: the name of the Redis key.
    key: String,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args, report: Report) -> Result<Exit, Failure> {
    let Args { nodes, confirm, json, key } = args;
    let settings = checked(nodes.builder())?;
    confirm.check()?;
    let redlock = settings.connect().await;
    let before = redlock.inspect(&key).await?;
    let broken = if is_locked(&before) {
        let medium = Medium::of_stderr();
        let summary = medium.fill("", &format!("{}.", inspect::summary(&before)));
        let known = format!("{summary}\n{}", medium.fill("", MEANING));
        match confirm.ask(&known, "Break it?").await? {
            Word::Yes => redlock.dangerous_break(&key).await?,
            Word::No => {
                report.notice("nothing was broken");
                return Ok(Exit::UNCLEAN);
            }
        }
    } else {
        Vec::new()
    };
    let end = End::of(&before, &broken);
    if json {
        output::print_json(&as_json(&before, &broken, end))?;
    } else {
        output::print(&as_text(&before, &broken, end, Medium::of_stdout()))?;
    }
    Ok(match end {
        End::NothingThere | End::Broken => Exit::SUCCESS,
        End::Readers => Exit::UNCLEAN,
        End::NotKnown => Exit::NO_QUORUM,
    })
}

/// Whether any node has a lock's key to remove.
fn is_locked(inspection: &Inspection) -> bool {
    inspection.nodes().any(|node| matches!(node.content(), Some(KeyContent::Lock(_))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NothingThere,
    /// The previous holder has lost its quorum.
    Broken,
    /// Readers hold the lock, and stay.
    Readers,
    /// The nodes that did not answer may be a quorum.
    NotKnown,
}

impl End {
    fn of(before: &Inspection, broken: &[NodeResult<Removal>]) -> Self {
        if broken.is_empty() {
            return match before.state() {
                LockState::NotHeld => Self::NothingThere,
                LockState::HeldByReaders(_) => Self::Readers,
                LockState::Held(_) | LockState::Unknown | _ => Self::NotKnown,
            };
        }
        let silent = broken.iter().filter(|node| node.result().is_err()).count();
        if silent < before.quorum() { Self::Broken } else { Self::NotKnown }
    }
}

fn as_text(before: &Inspection, broken: &[NodeResult<Removal>], end: End, medium: Medium) -> String {
    let mut text = String::new();
    if broken.is_empty() && end == End::NotKnown {
        text.push_str(&inspect::failures(before, medium));
    }
    for node in broken {
        let (word, tone, rest) = match node.result() {
            Ok(Removal::Removed) => ("removed", Tone::Good, String::new()),
            Ok(Removal::Absent) => ("nothing there", Tone::Faint, String::new()),
            Ok(Removal::TooLate) => {
                ("let be", Tone::Doubtful, ": the lock ended or has another holder by now".to_owned())
            }
            Ok(Removal::NoLock) => {
                ("let be", Tone::Doubtful, ": a key of another type, which is no lock".to_owned())
            }
            Ok(_) => ("let be", Tone::Doubtful, String::new()),
            Err(failure) => ("not known", Tone::Bad, format!(": {failure}")),
        };
        let line = medium.fill(&format!("{}: ", node.name()), &format!("{word}{rest}"));
        let _ = writeln!(text, "{}", line.replacen(word, &medium.paint(word, tone), 1));
    }
    let key = before.resource();
    let told = match (end, before.state()) {
        (End::Broken, LockState::Held(holder)) => {
            format!("{} does not hold {key:?} any more", holder.owner())
        }
        (End::Broken, LockState::NotHeld | LockState::Unknown | _) => {
            format!("nobody holds {key:?} through the removed keys")
        }
        (End::Readers, _) => format!("readers hold {key:?}, and are not removed; each ends with its TTL"),
        (End::NothingThere, _) => format!("nobody holds {key:?}; there is nothing to break"),
        (End::NotKnown, _) => format!(
            "somebody may still hold {key:?} through the nodes that did not answer; run this again when they are back"
        ),
    };
    let _ = writeln!(text, "{}", medium.fill("", &told));
    text
}

fn as_json(before: &Inspection, broken: &[NodeResult<Removal>], end: End) -> Value {
    let node = |node: &NodeResult<Removal>| {
        let removal = match node.result() {
            Ok(Removal::Removed) => Some("removed"),
            Ok(Removal::Absent) => Some("absent"),
            Ok(Removal::TooLate) => Some("too_late"),
            Ok(Removal::NoLock) => Some("no_lock"),
            Ok(Removal::Readers) => Some("readers"),
            Ok(_) => Some("let_be"),
            Err(_) => None,
        };
        let failure = node.result().err().map(ToString::to_string);
        json!({ "name": node.name(), "removal": removal, "failure": failure })
    };
    let result = match end {
        End::NothingThere => "nothing_there",
        End::Broken => "broken",
        End::Readers => "readers",
        End::NotKnown => "not_known",
    };
    json!({
        "result": result,
        "before": inspect::state_as_json(before),
        "nodes": broken.iter().map(node).collect::<Vec<_>>(),
    })
}
