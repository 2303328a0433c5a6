//! The roster: what a client knows of its nodes, and what each node has yet to learn of the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

use super::clocks::Clocks;
use crate::error::NodeFailure;
use crate::planted;
use crate::protocol::{
    CHANGE, Change, ChangeProgress, ClockNews, ListQuorum, ListUse, NodeSet, NodeView, Quarantine, Quorum,
    Reading, Record, UNMET, hinders, is_complete, is_harmless, is_introduced, lacking, longest_announced,
    observation_lasts, observe_every, span, used_for,
};
use crate::types::{Moment, NodeId, Published, Ttl};

/// The nodes of one client: which server may vote under which name, so that no server votes twice, and the last
/// observation of each.
#[derive(Debug)]
pub(crate) struct Roster {
    names: Vec<Arc<str>>,
    quorum: Quorum,
    max_ttl: Ttl,
    longest_ms: AtomicU64,
    /// When the client was made.
    since: Moment,
    members: Published<Vec<Member>>,
    list: Published<List>,
    version: AtomicU64,
    clocks: Clocks,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// The server process that may vote under this name; empty where none may.
    run_id: String,
    known: Option<NodeView>,
    others: OtherClients,
    /// The former list that we announced to this node last as one that we have left.
    left: String,
}

/// Whether other clients use one of our nodes together with other nodes or another quorum. Quorums of two different
/// lists need not intersect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherClients {
    /// Unknown, because we have not met all of our nodes yet, or this node has not answered.
    #[default]
    Unknown,
    /// Other clients use the same nodes and quorum.
    Same,
    /// Another client uses a different list: its quorum and the ids that its nodes gave themselves, as
    /// `2 of ID ID ID`.
    Different(String),
}

/// A list of nodes that clients use together with a node, as the node remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListInUse {
    /// The quorum and the ids that the nodes gave themselves, as `2 of ID ID ID`; `~` stands for a node that the clients
    /// had not met. A change of lists is `2 of ID ID ID > 2 of ID ID ID`, the present list and the next one.
    pub list: String,
    /// Whether this client uses the list.
    pub is_ours: bool,
    /// How long ago the clients began to use the list, without a long pause since then.
    pub begun: Duration,
    /// How long ago a client last announced the list.
    pub announced: Duration,
    /// Whether leases of its clients may still last.
    pub may_hold_locks: bool,
    /// Whether this client changes lists, and that waits for the clients of this list to end.
    pub hinders_ours: bool,
    /// How far a change of lists has got on the node; `None` for a single list.
    pub progress: Option<ChangeProgress>,
}

/// The nodes and the quorum that we use, in the format of records; empty until we have met a quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    now: String,
    before: String,
}

/// The announcements of a client to a node, made with an observation.
pub(super) struct Announcement {
    /// Whether the record's id belongs to another of our nodes.
    pub(super) is_copy: bool,
    /// Changes that clients have met and the node's record does not know.
    pub(super) lacks: Vec<Change>,
    pub(super) list: String,
    pub(super) left: String,
    /// Whether a quorum of the present list has closed it.
    pub(super) is_present_closed: bool,
    /// The other nodes: their ids, and the latest changes of their records.
    pub(super) met: Vec<(String, Change)>,
    pub(super) clock: ClockNews,
}

impl Roster {
    pub(crate) fn new(
        names: Vec<Arc<str>>,
        quorum: Quorum,
        max_ttl: Ttl,
        now: Moment,
        clocks: Clocks,
    ) -> Self {
        Self {
            members: Published::new(vec![Member::default(); names.len()]),
            names,
            quorum,
            max_ttl,
            longest_ms: AtomicU64::new(max_ttl.as_millis()),
            since: now,
            list: Published::new(List::default()),
            version: AtomicU64::new(0),
            clocks,
        }
    }

    /// When the client was made.
    pub(super) fn since(&self) -> Moment {
        self.since
    }

    /// Until when the grants of a node count that was observed at `observed`.
    pub(crate) fn fresh_until(&self, observed: Moment) -> Moment {
        observed + observation_lasts(observe_every(self.max_ttl))
    }

    /// The longest lease of this client.
    pub(super) fn own_max_ttl(&self) -> Ttl {
        self.max_ttl
    }

    /// The longest lease that any client of these nodes may hold, as far as they have announced it; at least ours.
    pub(crate) fn max_ttl(&self) -> Ttl {
        let known = self.known();
        longest_announced(&known).map_or(self.max_ttl, |longest| longest.max(self.max_ttl))
    }

    /// The last observation of each node; `None` for a node that has not been met.
    pub(crate) fn known(&self) -> Vec<Option<NodeView>> {
        self.members.with(|members| members.iter().map(|member| member.known.clone()).collect())
    }

    /// A counter that changes whenever [`known`](Self::known) changes.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The random id that `node` gave itself; empty until the node has been met.
    pub(crate) fn id(&self, node: NodeId) -> String {
        self.with_id(node, str::to_owned)
    }

    /// Calls `read` with the [`id`](Self::id), which may change while a connection lives.
    pub(crate) fn with_id<R>(&self, node: NodeId, read: impl FnOnce(&str) -> R) -> R {
        self.members.with(|members| read(members[node.0].id()))
    }

    /// Whether other clients of `node` use other nodes or another quorum.
    pub(crate) fn others(&self, node: NodeId) -> OtherClients {
        self.members.with(|members| members[node.0].others.clone())
    }

    /// The lists in the node's record at its last observation.
    pub(crate) fn lists(&self, node: NodeId) -> Vec<ListInUse> {
        let ours = self.list.with(|list| list.now.clone());
        self.members.with(|members| {
            let Some(NodeView { record, clock, .. }) = &members[node.0].known else { return Vec::new() };
            let ago = |at: u64| Duration::from_micros(clock.saturating_sub(at));
            let lately = used_for(record.longest());
            let in_use = |(list, used): (&String, &ListUse)| ListInUse {
                is_ours: *list == ours,
                begun: ago(used.first),
                announced: ago(used.last),
                may_hold_locks: used.is_in_use(*clock, lately),
                hinders_ours: used.is_in_use(*clock, lately) && hinders(list, &ours),
                progress: list.contains(CHANGE).then_some(used.progress),
                list: list.clone(),
            };
            record.lists.iter().map(in_use).collect()
        })
    }

    /// Returns when an observation has shown what other clients of `node` use; at once while not all nodes have been
    /// met. Cancel safe.
    pub(crate) async fn heard(&self, node: NodeId) {
        if self.list.with(|list| list.now.is_empty() || !is_complete(&list.now)) {
            return;
        }
        self.members.wait_for(|members| members[node.0].others != OtherClients::Unknown).await;
    }

    /// Whether a quorum has been met, so that there is a list to announce.
    pub(super) fn has_list(&self) -> bool {
        self.list.with(|list| !list.now.is_empty())
    }

    /// Returns when every connected node knows that we use the others. Cancel safe.
    pub(crate) async fn all_introduced(&self) {
        let introduced = |members: &Vec<Member>| {
            let known: Vec<_> = members.iter().map(|member| member.known.clone()).collect();
            (0..known.len())
                .all(|node| known[node].as_ref().is_none_or(|own| !own.is_up) || is_introduced(node, &known))
        };
        self.members.wait_for(introduced).await;
    }

    /// The number of changes of our list, to be given to [`list_changed`](Self::list_changed).
    pub(super) fn list_version(&self) -> u64 {
        self.list.version()
    }

    /// Returns when our list is not that of `version` any more. Cancel safe.
    pub(super) async fn list_changed(&self, version: u64) {
        self.list.changed_since(version).await;
    }

    /// Lets the server process `run_id` vote under the name of `node`.
    ///
    /// # Errors
    ///
    /// [`NodeFailure::Duplicate`] if another of the nodes is the same server.
    pub(super) fn admit(&self, node: NodeId, run_id: &str) -> Result<(), NodeFailure> {
        let mut admitted = Ok(());
        self.members.change_if(|members| {
            let same = |(i, member): (usize, &Member)| (i != node.0 && member.run_id == run_id).then_some(i);
            match members.iter().enumerate().find_map(same) {
                Some(other) => {
                    // The member's last observation stays, because the name may lead to yet another server next.
                    members[node.0].run_id.clear();
                    members[node.0].others = OtherClients::Unknown;
                    admitted = Err(NodeFailure::Duplicate { other: self.names[other].to_string() });
                }
                None => run_id.clone_into(&mut members[node.0].run_id),
            }
            admitted.is_err()
        });
        admitted
    }

    /// Handles a reading of a node's clock.
    pub(crate) fn handle_reading(&self, node: NodeId, reading: Reading) {
        self.clocks.handle_reading(node, reading, self.longest());
    }

    /// Until when the grants of a node do not count because of its clock, if that is after `now`.
    pub(crate) fn clock_quarantine(&self, node: NodeId, now: Moment) -> Option<Quarantine> {
        self.clocks.quarantine(node, now, self.longest())
    }

    /// The clock guard.
    pub(crate) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// As [`max_ttl`](Self::max_ttl), by the last observation.
    fn longest(&self) -> Ttl {
        Ttl::from_duration(Duration::from_millis(self.longest_ms.load(Ordering::Relaxed)))
    }

    /// Returns what to announce to a node that was admitted and has this record.
    pub(super) fn told(&self, node: NodeId, record: Option<&Record>, reading: Reading) -> Announcement {
        self.handle_reading(node, reading);
        if record.is_none_or(Record::is_unused) {
            self.clocks.handle_unused(node, self.longest());
        }
        let id = |member: &Member| member.id().to_owned();
        let ids: Vec<_> = self.members.with(|members| members.iter().map(id).collect());
        let clock = self.clocks.news(node, reading, &ids);
        let List { now: list, before } = self.list.with(List::clone);
        self.members.with(|members| {
            let others =
                || members.iter().enumerate().filter(|(i, _)| *i != node.0).map(|(_, member)| member);
            let met = others().filter_map(|other| other.known.as_ref());
            let met = met.map(|other| (other.record.id.clone(), other.record.change())).collect();
            let is_copy = record.is_some_and(|record| {
                // A server that has moved from one name to another is no copy, because its process is the same.
                others().any(|other| {
                    let has_vote = !other.run_id.is_empty();
                    has_vote && other.id() == record.id && other.run_id != members[node.0].run_id
                })
            });
            let lacks = record.map_or_else(Vec::new, |record| {
                let mut lacks = lacking(record, others().filter_map(|member| member.known.as_ref()));
                let own = members[node.0].known.as_ref().filter(|own| own.record.id == record.id);
                lacks.extend(own.map(|own| own.record.change()).filter(|met| !record.knows(met)));
                lacks
            });
            // A list is announced as left only once: a client that still uses it announces it again.
            let left = if members[node.0].left == before { String::new() } else { before };
            let is_present_closed = self.is_present_closed(members, &list);
            Announcement { is_copy, lacks, list, left, is_present_closed, met, clock }
        })
    }

    /// Whether a quorum of the present list, by their records, excludes clients that use it alone.
    fn is_present_closed(&self, members: &[Member], list: &str) -> bool {
        let progress = |member: &Member| Some(member.known.as_ref()?.record.lists.get(list)?.progress);
        let closed =
            members.iter().enumerate().filter(|(_, member)| progress(member) >= Some(ChangeProgress::Closed));
        self.quorum.is_present_met_by(closed.map(|(i, _)| NodeId(i)).collect())
    }

    /// Handles an observation of a node, with the record as it was written.
    pub(super) fn handle_observed(&self, node: NodeId, mut seen: NodeView, told: &Announcement) {
        let others = self.others_of(&seen, &told.list);
        if self.others(node) != others && matches!(others, OtherClients::Different(_)) {
            warn!(
                node = %self.names[node.0],
                "another client uses other nodes or another quorum with this node; two quorums may not meet. When all \
                 clients use the same, it is forgotten by itself, or at once by: redlock nodes forget"
            );
        }
        self.members.change(|members| {
            let member = &mut members[node.0];
            let before = member.known.take();
            if planted::is(planted::Fault::MaxTtlReadOnce)
                && let Some(before) = &before
            {
                before.record.announced.clone_into(&mut seen.record_mut().announced);
            }
            let is_same = before.as_ref().is_none_or(|before| before.record.id == seen.record.id);
            let replaced = before.and_then(|before| before.replaced);
            seen.replaced = if is_same { replaced } else { Some(seen.received) };
            if !told.left.is_empty() {
                told.left.clone_into(&mut member.left);
            }
            (member.known, member.others) = (Some(seen), others);
        });
        self.handle_longest(node);
        self.clocks.handle_known(&self.known(), self.longest());
        self.handle_members();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Marks a node as disconnected.
    pub(super) fn handle_down(&self, node: NodeId) {
        let is_news = self.members.change_if(|members| match &mut members[node.0].known {
            Some(known) => std::mem::replace(&mut known.is_up, false),
            None => false,
        });
        if is_news {
            self.clocks.handle_down(node);
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    fn handle_longest(&self, node: NodeId) {
        let longest = self.max_ttl();
        let before = self.longest_ms.swap(longest.as_millis(), Ordering::Relaxed);
        if before < longest.as_millis() {
            warn!(
                node = %self.names[node.0],
                theirs = ?longest.as_duration(),
                ours = ?self.max_ttl.as_duration(),
                "another client has a longer max_ttl; quarantines last for as long as it needs"
            );
        }
    }

    /// Updates our list once a quorum has been met. Two nodes have the same id for a moment when a server has moved
    /// from one name to another; the list then stays as it is.
    fn handle_members(&self) {
        let ids = self
            .members
            .with(|members| members.iter().map(|member| member.id().to_owned()).collect::<Vec<_>>());
        let met: NodeSet = (0..ids.len()).map(NodeId).filter(|node| !ids[node.0].is_empty()).collect();
        let unique: HashSet<_> = met.iter().map(|node| &ids[node.0]).collect();
        if unique.len() < met.len() || !self.quorum.is_met_by(met) {
            return;
        }
        let list = |list: ListQuorum| {
            let mut of_list: Vec<_> =
                list.nodes().intersection(met).iter().map(|node| &*ids[node.0]).collect();
            of_list.sort_unstable();
            of_list.resize(list.nodes().len(), UNMET);
            format!("{} of {}", list.needed(), of_list.join(" "))
        };
        let now = self.quorum.lists().map(list).collect::<Vec<_>>().join(CHANGE);
        self.list.change_if(|list| {
            if list.now == now {
                return false;
            }
            list.before = std::mem::replace(&mut list.now, now);
            true
        });
    }

    fn others_of(&self, seen: &NodeView, list: &str) -> OtherClients {
        if list.is_empty() || !is_complete(list) {
            return OtherClients::Unknown;
        }
        let until = |last: u64| seen.clock.saturating_sub(last);
        let recent = span(self.max_ttl(), 0.0).as_micros();
        let lists = &seen.record.lists;
        // Only the clients of the later list are warned; the clients that were there before are not bothered.
        let since = lists.get(list).map_or(seen.clock, |ours| ours.first);
        let different = lists.iter().find(|(theirs, used)| {
            !is_harmless(theirs, list)
                && is_complete(theirs)
                && !used.is_left
                && used.first <= since
                && u128::from(until(used.last)) <= recent
        });
        different.map_or(OtherClients::Same, |(theirs, _)| OtherClients::Different(theirs.clone()))
    }
}

impl Member {
    fn id(&self) -> &str {
        self.known.as_ref().map_or("", |known| &known.record.id)
    }
}
