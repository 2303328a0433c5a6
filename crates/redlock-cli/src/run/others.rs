//! Detects other clients that use our nodes together with other nodes, or with another quorum. Such clients' locks may
//! not exclude ours.

use std::collections::HashSet;
use std::time::Duration;

use redlock_quorum::{NodeFailure, NodeStatus, OtherClients, Redlock, Settings};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::report::Report;

/// How often to check whether all nodes have been asked.
const LOOK: Duration = Duration::from_millis(2);

/// How to react to such clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherLists {
    Refused,
    Allowed,
}

/// Waits until it is known from all nodes what other clients use. The wait takes at most `node_timeout`, and skips
/// nodes that are down.
///
/// # Errors
///
/// [`Failure::OtherLists`] if other clients use something else than we do, and that is not allowed.
pub(super) async fn check(
    redlock: &Redlock,
    settings: &Settings,
    allowed: OtherLists,
    report: Report,
) -> Result<(), Failure> {
    let told = async {
        while redlock.nodes().iter().any(|node| *node.other_clients() == OtherClients::Unknown)
            && redlock.nodes().iter().all(is_to_be_awaited)
        {
            sleep(LOOK).await;
        }
    };
    // After the timeout the nodes that have answered decide.
    let _ = timeout(settings.node_timeout(), told).await;
    let nodes = redlock.nodes();
    let voting: HashSet<&str> =
        nodes.iter().filter(|node| !is_in_quarantine(node)).filter_map(NodeStatus::id).collect();
    let is_explained =
        |theirs: &str| nodes.iter().any(is_in_quarantine) && is_excluded(settings.quorum(), &voting, theirs);
    let differ = |node: &&NodeStatus| match node.other_clients() {
        OtherClients::Different(theirs) => !is_explained(theirs),
        OtherClients::Unknown | OtherClients::Same | _ => false,
    };
    let different: Vec<String> = nodes.iter().filter(differ).map(|node| node.name().to_owned()).collect();
    if different.is_empty() {
        return Ok(());
    }
    match allowed {
        OtherLists::Refused => Err(Failure::OtherLists { nodes: different }),
        OtherLists::Allowed => {
            report.notice(format_args!(
                "warning: other clients use {} together with other nodes or another quorum, so their locks and ours may not \
                 exclude each other; `redlock doctor` shows more",
                different.join(", ")
            ));
            Ok(())
        }
    }
}

fn is_to_be_awaited(node: &NodeStatus) -> bool {
    node.is_connected() || matches!(node.failure(), Some(NodeFailure::Connecting))
}

/// A node that was wiped or replaced gets a new id, so that the earlier node list looks like another one. During the
/// node's quarantine its vote does not count, so each of our quorums still contains a node of theirs.
fn is_in_quarantine(node: &NodeStatus) -> bool {
    node.is_connected() && node.failure().is_some()
}

/// Whether each of our quorums of voting nodes shares a node with each of theirs, given as `2 of ID ID ID`.
fn is_excluded(quorum: usize, voting: &HashSet<&str>, theirs: &str) -> bool {
    let Some((their_quorum, ids)) = theirs.split_once(" of ") else { return false };
    let Ok(their_quorum) = their_quorum.parse::<usize>() else { return false };
    let all: HashSet<&str> = voting.iter().copied().chain(ids.split(' ')).collect();
    quorum.saturating_add(their_quorum) > all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_node_is_no_other_list_while_it_does_not_vote() {
        let voting = |ids: &'static str| ids.split(' ').collect::<HashSet<_>>();
        // A was wiped, and is in quarantine.
        assert!(is_excluded(2, &voting("b c"), "2 of a b c"));
        assert!(is_excluded(3, &voting("c d e"), "3 of a b c d e"), "and so was B");
        // The wiped node votes again, under a new id.
        assert!(!is_excluded(2, &voting("x b c"), "2 of a b c"));
        // The others have more nodes, or a lower quorum.
        assert!(!is_excluded(2, &voting("b c"), "2 of a b c d"));
        assert!(!is_excluded(2, &voting("b c"), "1 of a b c"));
        assert!(!is_excluded(2, &voting("b c"), "something else"));
    }
}
