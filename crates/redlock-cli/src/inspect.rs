//! `redlock inspect`: shows the holder of a lock, on each node.

use std::fmt::Write as _;
use std::time::Duration;

use redlock_quorum::{Holder, Inspection, KeyContent, LockState, NodeInspection};
use serde_json::{Value, json};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Table, Tone, millis, short};

const ABOUT: &str = "\
Show who holds a lock

Shows for each node the owner that its key names, how long the key lasts unless it is renewed, and the highest fencing \
token that the node has seen for it; then whether a quorum agrees. The result may be out of date as soon as you read \
it: to act on it, take the lock.";

const EXAMPLES: &str = "\
Examples:
  redlock inspect invoice:42
  redlock inspect invoice:42 >/dev/null && echo held
  redlock inspect --json invoice:42 | jq -r .owner
  redlock inspect --slots 3 exports

Exits with 0 when somebody holds the lock or a slot, 1 when nobody does, 69 when too few nodes answered to know.";

/// The options of `redlock inspect`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Show who holds a lock", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
    /// The lock is a semaphore with N slots, as for `redlock run --slots N`.
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// The lock: the name of the Redis key.
    key: String,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let Args { nodes, json, slots, key } = args;
    let redlock = checked(nodes.builder())?.connect().await;
    if let Some(slots) = slots {
        let inspections = redlock.inspect_semaphore(&key, slots).await?;
        if json {
            output::print_json(&slots_as_json(&key, &inspections))?;
        } else {
            output::print(&slots_as_text(&key, &inspections, Medium::of_stdout()))?;
        }
        let states: Vec<LockState> = inspections.iter().map(Inspection::state).collect();
        return Ok(match () {
            () if states.iter().any(is_held) => Exit::SUCCESS,
            () if states.contains(&LockState::Unknown) => Exit::NO_QUORUM,
            () => Exit::UNCLEAN,
        });
    }
    let inspection = redlock.inspect(&key).await?;
    if json {
        output::print_json(&as_json(&inspection))?;
    } else {
        output::print(&as_text(&inspection, Medium::of_stdout()))?;
    }
    Ok(match inspection.state() {
        LockState::Held(_) | LockState::HeldByReaders(_) => Exit::SUCCESS,
        LockState::NotHeld => Exit::UNCLEAN,
        LockState::Unknown | _ => Exit::NO_QUORUM,
    })
}

fn as_text(inspection: &Inspection, medium: Medium) -> String {
    let mut table = Table::new(&["NODE", "OWNER", "LEFT", "FENCE"]);
    inspection.nodes().for_each(|node| table.row(row(node)));
    let mut text = table.render(medium);
    text.push('\n');
    text.push_str(&failures(inspection, medium));
    let _ = writeln!(text, "{}", medium.fill("", &summary(inspection)));
    text
}

/// One line for each node that did not answer.
pub(crate) fn failures(inspection: &Inspection, medium: Medium) -> String {
    let mut text = String::new();
    for node in inspection.nodes() {
        if let Some(failure) = node.failure() {
            let told = format!("{}: {failure}", node.name());
            let _ = writeln!(text, "{}", medium.paragraph("not known", Tone::Bad, &told));
        }
    }
    text
}

fn row(node: &NodeInspection) -> Vec<(String, Tone)> {
    let (owner, left) = match node.content() {
        Some(KeyContent::Lock(holder)) => ((holder.owner().to_owned(), Tone::Strong), left(&holder)),
        Some(KeyContent::Readers(readers)) => {
            let longest = readers.iter().max_by_key(|reader| reader.remaining());
            ((reading(&readers), Tone::Strong), longest.map_or_else(|| "-".to_owned(), left))
        }
        Some(KeyContent::Nothing) => (("nobody".to_owned(), Tone::Faint), "-".to_owned()),
        Some(KeyContent::Other | _) => (("a key that is no lock".to_owned(), Tone::Bad), "-".to_owned()),
        None => (("not known".to_owned(), Tone::Bad), "-".to_owned()),
    };
    let fence = node.fence().map_or_else(|| "-".to_owned(), |fence| format!("{fence:.0}"));
    vec![(node.name().to_owned(), Tone::Plain), owner, (left, Tone::Plain), (fence, Tone::Plain)]
}

fn left(holder: &Holder) -> String {
    holder.remaining().map_or_else(|| "for ever".to_owned(), short)
}

fn reading(readers: &[Holder]) -> String {
    let owners: Vec<_> = readers.iter().map(Holder::owner).collect();
    format!("read by {}", owners.join(", "))
}

/// The state in one sentence. [`crate::break_lock`] shows it before the question.
pub(crate) fn summary(inspection: &Inspection) -> String {
    let (key, needed, all) = (inspection.resource(), inspection.quorum(), inspection.nodes().len());
    let answered = inspection.nodes().filter(|node| node.failure().is_none()).count();
    let locks = |node: &&NodeInspection| matches!(node.content(), Some(KeyContent::Lock(_)));
    let with_key = inspection.nodes().filter(locks).count();
    match inspection.state() {
        LockState::Held(holder) => {
            let time = match holder.remaining() {
                Some(left) => format!("for another {} unless it is renewed", short(left)),
                None => "for ever: its key does not expire".to_owned(),
            };
            format!("{key:?} is held by {} {time}", holder.owner())
        }
        LockState::HeldByReaders(readers) => format!("{key:?} is {}", reading(&readers)),
        LockState::NotHeld if with_key == 0 => {
            format!("nobody holds {key:?}: {answered} of {all} nodes say so, {needed} have to agree")
        }
        LockState::NotHeld => format!(
            "nobody holds {key:?}: a key on {with_key} of {all} nodes is no quorum; the key belongs to an attempt that is \
             under way or has failed, and expires by itself"
        ),
        LockState::Unknown | _ => format!(
            "it is not known who holds {key:?}: {answered} of {all} nodes answered, {needed} have to agree"
        ),
    }
}

fn is_held(state: &LockState) -> bool {
    match state {
        LockState::Held(_) | LockState::HeldByReaders(_) => true,
        LockState::NotHeld | LockState::Unknown | _ => false,
    }
}

fn slots_as_text(key: &str, slots: &[Inspection], medium: Medium) -> String {
    let mut table = Table::new(&["SLOT", "OWNER", "LEFT"]);
    for (number, slot) in slots.iter().enumerate() {
        let (owner, time) = match slot.state() {
            LockState::Held(holder) => ((holder.owner().to_owned(), Tone::Strong), left(&holder)),
            LockState::NotHeld => (("nobody".to_owned(), Tone::Faint), "-".to_owned()),
            LockState::HeldByReaders(_) | LockState::Unknown | _ => {
                (("not known".to_owned(), Tone::Bad), "-".to_owned())
            }
        };
        table.row(vec![(number.to_string(), Tone::Plain), owner, (time, Tone::Plain)]);
    }
    let mut text = table.render(medium);
    text.push('\n');
    // The nodes were asked at the same time, and fail alike.
    text.push_str(&slots.first().map(|slot| failures(slot, medium)).unwrap_or_default());
    let held = slots.iter().filter(|slot| is_held(&slot.state())).count();
    let _ = writeln!(
        text,
        "{}",
        medium.fill("", &format!("{held} of {} slots of {key:?} are held", slots.len()))
    );
    text
}

fn slots_as_json(key: &str, slots: &[Inspection]) -> Value {
    json!({
        "key": key,
        "held": slots.iter().filter(|slot| is_held(&slot.state())).count(),
        "slots": slots.iter().map(as_json).collect::<Vec<_>>(),
    })
}

fn as_json(inspection: &Inspection) -> Value {
    let mut value = state_as_json(inspection);
    value["nodes"] = inspection.nodes().map(node_as_json).collect();
    value
}

/// The state as JSON, without the nodes.
pub(crate) fn state_as_json(inspection: &Inspection) -> Value {
    let (state, holder, readers) = match inspection.state() {
        LockState::Held(holder) => ("held", Some(holder), Vec::new()),
        LockState::HeldByReaders(readers) => ("held_by_readers", None, readers),
        LockState::NotHeld => ("not_held", None, Vec::new()),
        LockState::Unknown | _ => ("unknown", None, Vec::new()),
    };
    let reader =
        |reader: &Holder| json!({ "owner": reader.owner(), "remaining_ms": reader.remaining().map(millis) });
    json!({
        "key": inspection.resource(),
        "state": state,
        "owner": holder.as_ref().map(Holder::owner),
        "remaining_ms": holder.as_ref().and_then(Holder::remaining).map(millis),
        "readers": readers.iter().map(reader).collect::<Vec<_>>(),
        "quorum": { "nodes": inspection.nodes().len(), "needed": inspection.quorum() },
    })
}

fn node_as_json(node: &NodeInspection) -> Value {
    let (under, holder) = match node.content() {
        Some(KeyContent::Nothing) => (Some("nothing"), None),
        Some(KeyContent::Lock(holder)) => (Some("lock"), Some(holder)),
        Some(KeyContent::Readers(_)) => (Some("readers"), None),
        Some(KeyContent::Other | _) => (Some("other"), None),
        None => (None, None),
    };
    let remaining: Option<Duration> = holder.as_ref().and_then(Holder::remaining);
    json!({
        "name": node.name(),
        "under": under,
        "owner": holder.as_ref().map(Holder::owner),
        "remaining_ms": remaining.map(millis),
        "fence": node.fence().map(fence_as_json),
        "failure": node.failure().map(ToString::to_string),
    })
}

/// A token as JSON, without a fraction if it is a whole number, as our own tokens are.
fn fence_as_json(fence: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with what it was")]
    let whole = fence as u64;
    #[expect(clippy::cast_precision_loss, reason = "compared with what it was")]
    if whole as f64 == fence { whole.into() } else { fence.into() }
}
