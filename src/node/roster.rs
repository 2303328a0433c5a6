//! What the nodes of one client know of each other.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::connection::Link;
use super::greet::{Join, RECORD};
use crate::error::NodeFailure;
use crate::types::{NodeId, Ttl, internal_key};

/// Pause before a node that did not answer is told again.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Who is who among the nodes of one client, so that none counts twice; the longest lease that any of them has heard
/// of; and which nodes and quorum we use, for each of them to keep.
#[derive(Debug)]
pub(crate) struct Roster {
    names: Vec<Arc<str>>,
    quorum: usize,
    max_ttl_ms: AtomicU64,
    members: watch::Sender<Vec<Member>>,
    list: watch::Sender<List>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    run_id: String,
    id: String,
    others: Others,
}

/// Which nodes and quorum other clients use together with one of ours: two quorums of different lists may not meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Others {
    /// Not known: not all of our nodes have been met yet, or this one has not answered.
    #[default]
    Unknown,
    /// The same as we do.
    Same,
    /// Something else: the quorum, and the nodes by the names that they gave themselves, as `2 of ID ID ID`.
    Different(String),
}

/// The nodes and the quorum that we use, as a record has them; empty until all nodes have been met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    now: String,
    before: String,
}

impl Roster {
    pub(crate) fn new(names: Vec<Arc<str>>, quorum: usize, max_ttl: Ttl) -> Self {
        Self {
            members: watch::Sender::new(vec![Member::default(); names.len()]),
            names,
            quorum,
            max_ttl_ms: AtomicU64::new(max_ttl.as_millis()),
            list: watch::Sender::new(List::default()),
        }
    }

    /// The longest lease that any client of any of these nodes may hold. Kept for all of them together: a node that
    /// lost its data has forgotten what it was told.
    pub(crate) fn max_ttl(&self) -> Ttl {
        Ttl::from_duration(Duration::from_millis(self.max_ttl_ms.load(Ordering::Relaxed)))
    }

    /// The random name that `node` gave itself; empty until it has been met.
    pub(crate) fn id(&self, node: NodeId) -> String {
        self.members.borrow()[node.0].id.clone()
    }

    /// What other clients of `node` use for nodes and quorum.
    pub(crate) fn others(&self, node: NodeId) -> Others {
        self.members.borrow()[node.0].others.clone()
    }

    /// Returns when `node` has said what other clients use; at once while not all nodes have been met. Cancel safe.
    pub(crate) async fn heard(&self, node: NodeId) {
        if self.list.borrow().now.is_empty() {
            return;
        }
        // The sender is ours.
        let _ = self.members.subscribe().wait_for(|members| members[node.0].others != Others::Unknown).await;
    }

    /// # Errors
    ///
    /// [`NodeFailure::Duplicate`] where another of the nodes is the same server.
    pub(super) fn admit(&self, node: NodeId, run_id: &str) -> Result<(), NodeFailure> {
        let mut admitted = Ok(());
        self.members.send_modify(|members| {
            let same = |(i, member): (usize, &Member)| (i != node.0 && member.run_id == run_id).then_some(i);
            match members.iter().enumerate().find_map(same) {
                Some(other) => {
                    members[node.0] = Member::default();
                    admitted = Err(NodeFailure::Duplicate { other: self.names[other].to_string() });
                }
                None => run_id.clone_into(&mut members[node.0].run_id),
            }
        });
        admitted
    }

    /// What the record of a node says that was admitted.
    pub(super) fn handle_greeting(&self, node: NodeId, id: &str, max_ttl_ms: u64) {
        let ours = self.max_ttl_ms.fetch_max(max_ttl_ms, Ordering::Relaxed);
        if ours < max_ttl_ms {
            warn!(
                node = %self.names[node.0],
                theirs = ?Duration::from_millis(max_ttl_ms),
                ours = ?Duration::from_millis(ours),
                "another client has a longer max_ttl; quarantines last for as long as it needs"
            );
        }
        self.members.send_modify(|members| id.clone_into(&mut members[node.0].id));
        let members = self.members.borrow();
        if members.iter().any(|member| member.id.is_empty()) {
            return;
        }
        let mut ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        ids.sort_unstable();
        let now = format!("{} of {}", self.quorum, ids.join(" "));
        self.list.send_if_modified(|list| {
            if list.now == now {
                return false;
            }
            list.before = std::mem::replace(&mut list.now, now);
            true
        });
    }

    fn handle_record(&self, node: NodeId, ours: &str, theirs: String) {
        let others = if theirs == ours { Others::Same } else { Others::Different(theirs) };
        let is_news = self.members.borrow()[node.0].others != others;
        if is_news && matches!(others, Others::Different(_)) {
            warn!(
                node = %self.names[node.0],
                "another client uses other nodes or another quorum with this node; two quorums may not meet. When all \
                 clients use the same: HDEL {} members",
                internal_key(RECORD)
            );
        }
        self.members.send_modify(|members| members[node.0].others = others);
    }
}

/// Tells a node which nodes and quorum we use, as soon as that is known and whenever it changes.
pub(super) async fn keep_told(link: Link, node: NodeId, roster: Arc<Roster>) -> Infallible {
    let mut lists = roster.list.subscribe();
    loop {
        let List { now, before } = lists.borrow_and_update().clone();
        if !now.is_empty() {
            match link.clone().send(Join::new(&before, &now)).await {
                Ok(record) => roster.handle_record(node, &now, record),
                Err(failure) => {
                    debug!(node = %roster.names[node.0], reason = %failure, "the node was not told which nodes are used");
                    tokio::time::sleep(TELL_AGAIN).await;
                    continue;
                }
            }
        }
        // The roster, and with it the sender, is ours.
        let _ = lists.changed().await;
    }
}
