//! Node lists in the records of nodes: which nodes and quorum clients use together, and since when.
//!
//! `2 of a b c` is the list of a client that needs two of the nodes `a`, `b` and `c`. `2 of a b ~` is the list of a
//! client that has met only two of its three nodes. `2 of a b c > 2 of c d e` is a change of lists: its client needs a
//! quorum of each, the present and the next one.
//!
//! The change of a list, as each node sees it:
//!
//! - `Begun`: a client has announced both lists. Clients of the present list alone have votes; those of the next list
//!   alone have none.
//! - `Closed`: nobody has used the present list alone on this node for as long as leases may last, and from now on
//!   nobody can. A quorum of the present list that is closed leaves none to its clients.
//! - `Done`: a client has met such a quorum. Clients of the next list alone have votes.

use std::time::Duration;

use super::intervals::used_for;
use super::record::{Observation, Record, micros};
use crate::types::Ttl;

/// The use of one node list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListUse {
    /// Since when clients have announced the list without a pause that ends its use.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether a client that used the list has changed to another one, and no client has announced this one since.
    pub(crate) is_left: bool,
    /// How far the change has got on this node; always `Begun` for a list that is no change.
    pub(crate) progress: ChangeProgress,
}

/// How far a change of node lists has got on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChangeProgress {
    /// Clients of the present list alone have votes of the node; those of the next list alone have none.
    #[default]
    Begun,
    /// Clients of neither list alone have votes of the node.
    Closed,
    /// Clients of the next list alone have votes of the node; those of the former list alone have none.
    Done,
}

/// Why a client with its list has no vote from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bar {
    /// Clients of the list before ours may be left, and ours would miss them.
    NotYet,
    /// Clients have moved on to a list that ours would miss.
    Over,
}

impl ListUse {
    /// Whether clients have announced the list without a longer pause than `gap` until `now`. `gap` is shorter than
    /// half of any quarantine, so no node that took another's place can have had a vote within a pause.
    pub(crate) fn is_in_use(&self, now: u64, gap: Duration) -> bool {
        Duration::from_micros(now - self.last.min(now)) <= gap
    }
}

/// Why a client that has announced `list` to the node with this record has no vote from it, because of a change of
/// lists. A list has been used lately within `lately` of `now`.
pub(crate) fn bar(list: &str, record: &Record, now: u64, lately: Duration) -> Option<Bar> {
    let bar = |(change, used): (&String, &ListUse)| {
        let (present, next) = change.split_once(CHANGE)?;
        let [with_present, with_next] = [present, next].map(|side| meets(list, side));
        // Nobody but its own clients waits for the end of a change that was given up.
        let concerns = with_next || used.is_in_use(now, lately);
        match used.progress {
            ChangeProgress::Begun | ChangeProgress::Closed if !with_present && concerns => Some(Bar::NotYet),
            ChangeProgress::Closed | ChangeProgress::Done if with_present && !with_next => Some(Bar::Over),
            ChangeProgress::Begun | ChangeProgress::Closed | ChangeProgress::Done => None,
        }
    };
    record.lists.iter().find_map(bar)
}

impl Record {
    /// Advances the change of lists that the client announces.
    pub(super) fn handle_change(&mut self, look: &Observation<'_>) {
        let Some((_, next)) = look.list.split_once(CHANGE) else { return };
        let Some(change) = self.lists.get(look.list) else { return };
        let lately = micros(used_for(self.longest()));
        let is_long = look.now - change.first > lately;
        let is_alone =
            self.lists.iter().all(|(list, used)| look.now - used.last > lately || !hinders(list, look.list));
        let progress = match change.progress {
            ChangeProgress::Begun if is_long && is_alone => ChangeProgress::Closed,
            ChangeProgress::Closed if is_alone && look.is_present_closed => ChangeProgress::Done,
            unchanged @ (ChangeProgress::Begun | ChangeProgress::Closed | ChangeProgress::Done) => unchanged,
        };
        if let Some(change) = self.lists.get_mut(look.list) {
            change.progress = progress;
        }
        if progress == ChangeProgress::Done {
            self.handle_done((look.list, next), |used| used.is_left || look.now - used.last > lately);
        }
    }

    /// Ends the other changes that matter to clients of the `next` list, once the client's own change to it is done.
    ///
    /// A node on the lists may have had another id for a while, or may not have been met at first. Then there are other
    /// changes to the same nodes, and their clients have gone on to ours. No client is left to advance these changes,
    /// which would exclude the clients of the next list for ever.
    fn handle_done(&mut self, (done, next): (&str, &str), is_over: impl Fn(&ListUse) -> bool) {
        self.lists.retain(|list, used| {
            // The next list may have been given up in an earlier change. Now it is used again.
            let is_used_again = |given_up: &str| given_up == next || is_over(used) && meets(given_up, next);
            list == done || !list.split_once(CHANGE).is_some_and(|(given_up, _)| is_used_again(given_up))
        });
        for (list, used) in &mut self.lists {
            if is_over(used) && list.split_once(CHANGE).is_some_and(|(_, goal)| meets(goal, next)) {
                used.progress = ChangeProgress::Done;
            }
        }
    }

    /// The longest lease that clients have announced to the node.
    pub(crate) fn longest(&self) -> Ttl {
        let longest = self.announced.keys().next_back().copied().unwrap_or(0);
        Ttl::from_duration(Duration::from_millis(longest))
    }
}

/// Whether clients of `list` keep `change` from going on, because its next list would miss theirs, or the list to which
/// they change.
pub(crate) fn hinders(list: &str, change: &str) -> bool {
    let Some((_, next)) = change.split_once(CHANGE) else { return false };
    let goal = list.split_once(CHANGE).map_or(list, |(_, next)| next);
    !meets(goal, next)
}

/// Whether each quorum of one list shares a node with each quorum of the other. A change has the quorums of both of its
/// lists. Nodes that a client has not met do not count, because their votes do not count before it has announced them.
pub(crate) fn meets(one: &str, other: &str) -> bool {
    sides(one).any(|one| sides(other).any(|other| sides_meet(one, other)))
}

/// Whether clients of our list need no warning of those of the other: the lists are the same, or one of the clients changes
/// lists and their quorums meet.
pub(crate) fn is_harmless(theirs: &str, ours: &str) -> bool {
    let is_change = theirs.contains(CHANGE) || ours.contains(CHANGE);
    theirs == ours || is_change && meets(theirs, ours)
}

fn sides_meet(one: &str, other: &str) -> bool {
    let shared = members(one).filter(|id| has_member(other, id)).count();
    // The nodes of a quorum that avoids the shared ones as far as possible, and still has to have some of them.
    let of_shared = |side: &str| needed(side).saturating_sub(members(side).count() - shared);
    of_shared(one) + of_shared(other) > shared
}

/// The lists of a change, or the only one.
pub(crate) fn sides(list: &str) -> impl Iterator<Item = &str> {
    list.split(CHANGE)
}

/// Whether the node with this id is on the list.
pub(crate) fn has_member(list: &str, id: &str) -> bool {
    members(list).any(|member| member == id)
}

/// The node ids of a list, without the nodes that its client had not met. Those of both lists of a change are repeated.
pub(crate) fn members(list: &str) -> impl Iterator<Item = &str> {
    // The first two words are the quorum and "of".
    sides(list).flat_map(|side| side.split(' ').skip(2)).filter(|id| *id != UNMET)
}

fn needed(side: &str) -> usize {
    // A list of a later version of this library that cannot be read meets none.
    side.split(' ').next().and_then(|needed| needed.parse().ok()).unwrap_or(0)
}

/// Whether the client that announced the list had met all nodes on it.
pub(crate) fn is_complete(list: &str) -> bool {
    !list.contains(UNMET)
}

/// Whether `list` is `longer` as a client announces it that has met fewer of the nodes.
pub(crate) fn is_beginning_of(list: &str, longer: &str) -> bool {
    let is_side = |(one, longer): (&str, &str)| {
        needed(one) == needed(longer)
            && one.split(' ').count() == longer.split(' ').count()
            && members(one).all(|id| has_member(longer, id))
    };
    list != longer
        && !is_complete(list)
        && sides(list).count() == sides(longer).count()
        && sides(list).zip(sides(longer)).all(is_side)
}

/// The mark for a node that the client has not met. The mark sorts behind all ids.
pub(crate) const UNMET: &str = "~";

/// Stands between the present list and the next one.
pub(crate) const CHANGE: &str = " > ";

#[cfg(test)]
#[path = "node_list_tests.rs"]
mod tests;
