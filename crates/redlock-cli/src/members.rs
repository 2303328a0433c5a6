//! `redlock members`: which node lists clients use, how far a change of the list has got, and what to do next.

use redlock_quorum::{ChangeProgress, ListInUse, NodeFailure, NodeStatus, Settings};
use serde_json::{Value, json};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::nodes::{ENVIRONMENT, NodeArgs, checked};
use crate::output::{self, Medium, Table, Tone, short};

const ABOUT: &str = "\
Show which node lists clients use, how far a change has got, and what to do next

To change the nodes while locks are held, give every client both lists, `nodes` and `next_nodes`, and restart it. When \
no client names the former list alone any more, the clients close that list by themselves, after the longest lease. \
Then give every client the next list as `nodes`, and restart it once more.

The command is one more client. Run it with the settings of the clients that are restarted last.";

const EXAMPLES: &str = "\
Examples:
  redlock members
  redlock members --config /etc/redlock.toml
  redlock members --set next_nodes=redis://c,redis://d,redis://e
  redlock members --json | jq -r .next

Exits with 0 when there is nothing to wait for, and with 1 while a change is under way or this list has no votes.";

/// What a node is called that is not among ours.
const STRANGER: &str = "one that is none of yours, id";

/// The options of `redlock members`. Has no `Debug`, because URLs hold passwords.
#[derive(clap::Args)]
#[command(about = "Show how far a change of the node list has got, and what to do next", long_about = ABOUT, after_long_help = after_help())]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print one JSON object instead.
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let Args { nodes, json } = args;
    let settings = checked(nodes.builder())?;
    let redlock = settings.clone().connect().await;
    // Ensures that every node has been tried and observed.
    redlock.survey().await;
    let nodes = redlock.nodes();
    let stage = Stage::of(&nodes, &settings);
    if json {
        output::print_json(&as_json(&nodes, &stage))?;
    } else {
        output::print(&as_text(&nodes, &stage, Medium::of_stdout()))?;
    }
    Ok(match stage {
        Stage::Steady | Stage::Done => Exit::SUCCESS,
        Stage::Hindered { .. } | Stage::Waiting | Stage::TooEarly | Stage::TooLate => Exit::UNCLEAN,
    })
}

/// How far a change has got, from this client's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// This client does not change its list, and has votes.
    Steady,
    /// Clients of these lists have to be restarted with both lists first.
    Hindered { lists: Vec<String> },
    /// The former list is being closed.
    Waiting,
    /// Clients of the next list alone have votes.
    Done,
    /// This client names the next list alone, and has no votes yet.
    TooEarly,
    /// This client names a list that was given up.
    TooLate,
}

impl Stage {
    fn of(nodes: &[NodeStatus], settings: &Settings) -> Self {
        let fails = |failure: &NodeFailure| nodes.iter().any(|node| node.failure() == Some(failure));
        if fails(&NodeFailure::NodesNotYetInUse) {
            return Self::TooEarly;
        }
        if fails(&NodeFailure::NodesGivenUp) {
            return Self::TooLate;
        }
        if !settings.changes_nodes() {
            return Self::Steady;
        }
        let all = || nodes.iter().flat_map(NodeStatus::lists);
        let ours = || all().filter(|list| list.is_ours).filter_map(|list| list.progress);
        // A node that cannot be reached now does not count for clients of the next list either.
        let seen = nodes.iter().filter(|node| node.is_connected()).count();
        // Clients that met a node under another id change from another list, and their change has to end as well.
        let is_under_way = |list: &ListInUse| {
            !list.is_ours
                && list.may_hold_locks
                && list.progress.is_some_and(|progress| progress != ChangeProgress::Done)
        };
        if seen >= settings.quorum()
            && ours().filter(|progress| *progress == ChangeProgress::Done).count() >= seen
            && !all().any(is_under_way)
        {
            return Self::Done;
        }
        let mut lists: Vec<_> =
            all().filter(|list| list.hinders_ours).map(|list| list.list.clone()).collect();
        lists.sort_unstable();
        lists.dedup();
        if lists.is_empty() { Self::Waiting } else { Self::Hindered { lists } }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Hindered { .. } => "hindered",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::TooEarly => "too early",
            Self::TooLate => "too late",
        }
    }

    fn tone(&self) -> Tone {
        match self {
            Self::Steady | Self::Done => Tone::Good,
            Self::Hindered { .. } | Self::Waiting => Tone::Doubtful,
            Self::TooEarly | Self::TooLate => Tone::Bad,
        }
    }

    fn next(&self, nodes: &[NodeStatus]) -> String {
        match self {
            Self::Steady => "Nothing to do. To change the nodes, give every client the new ones as next_nodes beside its \
                             nodes, and restart the clients one by one."
                .to_owned(),
            Self::Hindered { lists } => format!(
                "Restart the clients that use {} alone with both lists, or wait until their leases are over.",
                lists.iter().map(|list| named(list, nodes)).collect::<Vec<_>>().join("; or ")
            ),
            Self::Waiting => "Wait for the longest lease and a few seconds, with at least one client of both lists \
                              running: the clients close the former list by themselves."
                .to_owned(),
            Self::Done => "Give every client the next list as its nodes, without next_nodes, and restart the clients one \
                           by one. Then the former nodes can be switched off."
                .to_owned(),
            Self::TooEarly => "Name both lists, the former as nodes and this one as next_nodes, until this command says \
                               that the next one is enough."
                .to_owned(),
            Self::TooLate => "Name the nodes that the other clients use now. To return to this list, change to it: name \
                              theirs as nodes and this one as next_nodes."
                .to_owned(),
        }
    }
}

fn as_text(nodes: &[NodeStatus], stage: &Stage, medium: Medium) -> String {
    let mut table = Table::new(&["NODE", "LIST", "SINCE", "SEEN", "STATE"]);
    for node in nodes {
        for list in node.lists() {
            table.row(row(node, list, nodes));
        }
        if node.lists().is_empty() {
            let why = node.failure().map_or_else(|| "no list yet".to_owned(), ToString::to_string);
            let cells = [(node.name().to_owned(), Tone::Plain), (why, Tone::Faint)].into_iter();
            table.row(cells.chain(["-", "-", "-"].map(|cell| (cell.to_owned(), Tone::Faint))).collect());
        }
    }
    let next = medium.paragraph(stage.name(), stage.tone(), &stage.next(nodes));
    format!("{}\n{next}\n", table.render(medium))
}

fn row(node: &NodeStatus, list: &ListInUse, nodes: &[NodeStatus]) -> Vec<(String, Tone)> {
    let (state, tone) = state(list);
    let cells = [node.name().to_owned(), named(&list.list, nodes), ago(list.begun), ago(list.announced)];
    cells.map(|cell| (cell, Tone::Plain)).into_iter().chain([(state.to_owned(), tone)]).collect()
}

fn ago(duration: std::time::Duration) -> String {
    format!("{} ago", short(duration))
}

fn state(list: &ListInUse) -> (&'static str, Tone) {
    match (list.progress, list.may_hold_locks) {
        (Some(ChangeProgress::Done), _) => ("change done", Tone::Good),
        (Some(ChangeProgress::Closed), _) => ("former list closed", Tone::Doubtful),
        (Some(ChangeProgress::Begun | _), true) => ("change begun", Tone::Doubtful),
        (Some(ChangeProgress::Begun | _), false) => ("change given up", Tone::Faint),
        (None, true) => ("in use", Tone::Plain),
        (None, false) => ("not in use", Tone::Faint),
    }
}

fn as_json(nodes: &[NodeStatus], stage: &Stage) -> Value {
    let list = |list: &ListInUse| {
        json!({
            "list": list.list,
            "names": named(&list.list, nodes),
            "ours": list.is_ours,
            "begun_s": list.begun.as_secs_f64(),
            "announced_s": list.announced.as_secs_f64(),
            "state": state(list).0,
            "hinders": list.hinders_ours,
        })
    };
    let node = |node: &NodeStatus| {
        json!({
            "name": node.name(),
            "id": node.id(),
            "failure": node.failure().map(ToString::to_string),
            "lists": node.lists().iter().map(list).collect::<Vec<_>>(),
        })
    };
    json!({
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        "stage": stage.name(),
        "next": stage.next(nodes),
    })
}

fn named(list: &str, nodes: &[NodeStatus]) -> String {
    with_names(list, |id| nodes.iter().find(|node| node.id() == Some(id)).map(NodeStatus::name))
}

/// Turns `2 of ID ID ID` into `2 of 3: NAME, NAME, NAME`, with our names for the nodes that we know, and
/// `2 of ... > 2 of ...` into both with `then` between them.
pub(crate) fn with_names<'a>(list: &str, name: impl Fn(&str) -> Option<&'a str>) -> String {
    let side = |side: &str| {
        let Some((quorum, ids)) = side.split_once(" of ") else { return side.to_owned() };
        let name = |id: &str| match (id, name(id)) {
            ("~", _) => "one not met".to_owned(),
            (_, Some(name)) => name.to_owned(),
            (id, None) => format!("{STRANGER} {id}"),
        };
        let names: Vec<_> = ids.split(' ').map(name).collect();
        format!("{quorum} of {}: {}", names.len(), names.join(", "))
    };
    list.split(" > ").map(side).collect::<Vec<_>>().join(", then ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_by_the_names_of_nodes() {
        let name = |id: &str| {
            [("1", "a"), ("2", "b")].into_iter().find(|(known, _)| *known == id).map(|(_, name)| name)
        };
        assert_eq!(with_names("2 of 1 2", name), "2 of 2: a, b");
        assert_eq!(
            with_names("2 of 1 2 > 2 of 2 7 ~", name),
            "2 of 2: a, b, then 2 of 3: b, one that is none of yours, id 7, one not met"
        );
    }
}
