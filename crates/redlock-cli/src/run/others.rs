//! Nodes that other clients use together with other nodes, or by another quorum: their locks may not exclude ours.

use std::time::Duration;

use redlock_quorum::{NodeFailure, NodeStatus, Others, Redlock};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::report::Report;

/// How often to look whether all nodes have told.
const LOOK: Duration = Duration::from_millis(2);

/// What to do about such nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherLists {
    Refused,
    Allowed,
}

/// Waits until all nodes have told what other clients use, for `patience` at most, and not for nodes that are down.
///
/// # Errors
///
/// [`Failure::OtherLists`] where that is something else than what we use, and is not allowed.
pub(super) async fn check(
    redlock: &Redlock,
    patience: Duration,
    allowed: OtherLists,
    report: Report,
) -> Result<(), Failure> {
    let told = async {
        while redlock.nodes().iter().any(|node| *node.others() == Others::Unknown)
            && redlock.nodes().iter().all(is_to_be_awaited)
        {
            sleep(LOOK).await;
        }
    };
    // Without an answer there is nothing to say.
    let _ = timeout(patience, told).await;
    let nodes = redlock.nodes();
    let differ = |node: &&NodeStatus| matches!(node.others(), Others::Different(_));
    let different: Vec<String> = nodes.iter().filter(differ).map(|node| node.name().to_owned()).collect();
    if different.is_empty() {
        return Ok(());
    }
    match allowed {
        OtherLists::Refused => Err(Failure::OtherLists { nodes: different }),
        OtherLists::Allowed => {
            report.notice(format_args!(
                "warning: other clients use {} together with other nodes or another quorum, so their locks and ours may not \
                 exclude each other; `redlock doctor` tells more",
                different.join(", ")
            ));
            Ok(())
        }
    }
}

fn is_to_be_awaited(node: &NodeStatus) -> bool {
    node.is_connected() || matches!(node.failure(), Some(NodeFailure::Connecting))
}
