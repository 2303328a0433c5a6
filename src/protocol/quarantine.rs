//! The restart guard: which nodes' grants do not count, because the node may have forgotten locks, and for how long.
//!
//! The Redlock specification asks operators for delayed restarts; here the clients enforce the delay. A node that
//! forgot a lock grants nothing that counts before that lock has expired anyway, so it cannot help a second client to
//! a quorum.
//!
//! An example with `max_ttl` 20 s and a drift factor of 0.01: a node that forgot everything at 90 s is in quarantine
//! until 90 + 20 + 0.2 + 2 = 112.2 s. Each lease that counted on the node was granted before 90 s and has expired by
//! 110.2 s.

use std::sync::Arc;
use std::time::Duration;

use super::intervals::{MARGIN, announced_late, span, used_for};
use super::node_list::{Bar, bar, has_member, is_complete, meets, members};
use super::record::{Change, MemoryBreak, Record};
use crate::types::{Eviction, Moment, Persistence, QuarantineCause, Ttl};

/// Whether nodes that may have forgotten locks are quarantined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RestartGuard {
    Off,
    On { clock_drift_factor: f64, eviction: Eviction },
}

/// A client's knowledge of one of its nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    pub(crate) record: Arc<Record>,
    pub(crate) persistence: Persistence,
    /// The node's clock at the observation, and our clock before and after it.
    pub(crate) clock: u64,
    pub(crate) sent: Moment,
    pub(crate) received: Moment,
    /// Whether there is a live connection to the node.
    pub(crate) is_up: bool,
    /// The list that we announced with the observation.
    pub(crate) told: String,
    /// When this client met a node with another id under the same name.
    pub(crate) replaced: Option<Moment>,
}

/// A quarantine: grants of the node do not count before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quarantine {
    pub(crate) until: Moment,
    pub(crate) cause: QuarantineCause,
}

impl RestartGuard {
    /// Returns when the quarantine of `node` ends, or has ended, by what the client knows of all its nodes. Returns
    /// `None` where no rule applies: guard off, node not met, or a declared node without another cause.
    pub(crate) fn quarantine(self, node: usize, known: &[Option<NodeView>]) -> Option<Quarantine> {
        let Self::On { clock_drift_factor, eviction } = self else { return None };
        let judge = Judge { node, known, clock_drift_factor };
        let own = known[node].as_ref()?;
        let evicted = match eviction {
            Eviction::Refused => judge.evicted(own),
            Eviction::Allowed => None,
        };
        let forgot = judge.forgot(own);
        let reasons = [forgot, evicted, judge.replaced(own), judge.rolled_back(own)];
        let longest = reasons.into_iter().flatten().max_by_key(|quarantine| quarantine.until)?;
        // A wiped server also looks like a replacement, because it has a new id. Its own break of memory says more,
        // so the break is the reported cause if its quarantine ends last, or at most two `late()` before the last.
        let told = forgot.filter(|forgot| forgot.until + judge.late() * 2 >= longest.until);
        Some(Quarantine { cause: told.unwrap_or(longest).cause, ..longest })
    }
}

impl NodeView {
    /// The record of this view alone, for tests and planted bugs.
    pub(crate) fn record_mut(&mut self) -> &mut Record {
        Arc::make_mut(&mut self.record)
    }

    /// Why the node has no vote for us because of a change of node lists.
    pub(crate) fn bar(&self) -> Option<Bar> {
        bar(&self.told, &self.record, self.clock, used_for(self.record.longest()))
    }
}

/// Returns the changes of a record that clients of these other nodes have met and that the record does not know.
pub(crate) fn lacking<'a>(record: &Record, others: impl IntoIterator<Item = &'a NodeView>) -> Vec<Change> {
    let told = others.into_iter().filter_map(|other| other.record.met.get(&record.id));
    told.map(|met| &met.change).filter(|change| !record.knows(change)).cloned().collect()
}

/// Whether `node` and every other connected node know that we use `node`. Until then no record would show that another
/// server has taken the node's place while we hold leases that count on it, nor that we change the node list.
pub(crate) fn is_introduced(node: usize, known: &[Option<NodeView>]) -> bool {
    let Some(own) = &known[node] else { return false };
    let knows = |view: &NodeView| has_member(&view.told, &own.record.id);
    knows(own) && others(node, known).all(|other| !other.is_up || knows(other))
}

/// The longest lease that clients have announced to any of the nodes.
pub(crate) fn longest_announced(known: &[Option<NodeView>]) -> Option<Ttl> {
    let all = known.iter().flatten().flat_map(|known| known.record.announced.keys());
    all.max().map(|ttl| Ttl::from_duration(Duration::from_millis(*ttl)))
}

fn others(node: usize, known: &[Option<NodeView>]) -> impl Iterator<Item = &NodeView> {
    known.iter().enumerate().filter(move |(i, _)| *i != node).filter_map(|(_, known)| known.as_ref())
}

struct Judge<'a> {
    node: usize,
    known: &'a [Option<NodeView>],
    clock_drift_factor: f64,
}

impl Judge<'_> {
    /// The node's memory is younger than the longest lease. With memory since 90 s: a `max_ttl` of 20 s that was
    /// announced at 0 s counts, and one of 60 s that was announced at 93 s does not.
    fn forgot(&self, own: &NodeView) -> Option<Quarantine> {
        if own.record.is_declared {
            return None;
        }
        let whole = own.latest(own.record.whole);
        // A lease of a length that was announced only after memory began cannot have been forgotten.
        let before = |(known, ttl): (&NodeView, (&u64, &super::record::Span))| {
            (known.earliest(ttl.1.first) <= whole + MARGIN).then_some(*ttl.0)
        };
        let announced = self.known.iter().flatten();
        let announced =
            announced.flat_map(|known| known.record.announced.iter().map(move |told| (known, told)));
        let longest = announced.filter_map(before).max()?;
        let end = whole + self.span(longest);
        // Where another connected node was last observed before memory began, a longer lease may have been announced
        // there, and won, in between.
        let is_stale = self.known.iter().flatten().any(|known| known.is_up && known.sent < whole);
        let until = if is_stale { end.max(own.received + self.span(longest)) } else { end };
        Some(Quarantine { until, cause: own.cause() })
    }

    /// Locks may have been evicted while the server's memory was full.
    fn evicted(&self, own: &NodeView) -> Option<Quarantine> {
        let evicted = own.record.evicted?;
        let until = own.latest(evicted) + self.span_of_longest();
        Some(Quarantine { until, cause: QuarantineCause::Evicted })
    }

    /// Another server was the node before, and clients may hold leases that count on that server.
    ///
    /// The quarantine ends when two things are true for each other node whose record has such a list: nobody has used
    /// the other node without this one for a span, and the two have been used together for a span.
    fn replaced(&self, own: &NodeView) -> Option<Quarantine> {
        let span = self.span_of_longest();
        let by_us = own.replaced.map(|at| at + span);
        let by_others = others(self.node, self.known).filter_map(|other| {
            let last = self.others_without(own, other)?;
            // The clients of that list may be about to observe again, and one of them may just have won a lease.
            let unused = other.latest(last) + self.late() + span;
            let joined = own.record.met.get(&other.record.id);
            let joined = joined.map_or(own.received, |met| own.latest(met.first));
            Some(unused.max(joined + span))
        });
        let until = by_us.into_iter().chain(by_others).max()?;
        Some(Quarantine { until, cause: QuarantineCause::Replaced })
    }

    /// When clients last used `other` without the node, by the clock of `other`; `None` where no list counts.
    ///
    /// An example: the nodes of our client are `d`, `b` and `c`, the node is `d`, and `other` is `b`. The lists in
    /// the record of `b`:
    ///
    /// - `2 of a b c` from 0 s to 80 s, `2 of b c d` since 62 s: returns 80 s, because `d` took the place of `a`, and
    ///   leases may still count on `a`.
    /// - `2 of b c d` since 0 s, `2 of a b c` since 50 s: returns `None`, because the other client came later with
    ///   another list. That client has to wait: a client that joins must not block the clients that were there
    ///   before.
    /// - `2 of b c d` from 0 s to 60 s and now unused, `2 of a b c` from 62 s to 98 s: returns 98 s, because only a
    ///   list that is still in use has precedence.
    /// - `2 of b c d` and `2 of a x y` since 0 s: returns `None`, because `b` is not on the second list.
    /// - `2 of a b c` since 0 s, and ours is `2 of a b c > 2 of b c d`: returns `None`, because any quorum of ours meets
    ///   theirs.
    fn others_without(&self, own: &NodeView, other: &NodeView) -> Option<u64> {
        let (id, gap) = (&own.record.id, other.record.gap());
        let lists = &other.record.lists;
        // When clients came that use the node, and would miss those of the list.
        let since = |list: &str| {
            let with = lists.iter().filter(|(with, used)| {
                has_member(with, id) && used.is_in_use(other.clock, gap) && !meets(with, list)
            });
            with.map(|(_, used)| used.first).min()
        };
        let without = lists.iter().filter(|(list, used)| {
            !has_member(list, id)
                && has_member(list, &other.record.id)
                && (is_complete(list) || self.is_strange(list))
                && !(has_member(&other.told, id) && meets(list, &other.told))
                && since(list).is_none_or(|since| used.first <= since)
        });
        without.map(|(_, used)| used.last).max()
    }

    /// The node's data is older than a state that clients have met. The next observation writes that into the record.
    /// Until then the quarantine is counted from our last observation.
    fn rolled_back(&self, own: &NodeView) -> Option<Quarantine> {
        // A missing change of the same process proves nothing, because another client may have changed the record
        // since we observed it. Older data needs a restart to be loaded, and thereby another process.
        let lacking = lacking(&own.record, others(self.node, self.known));
        if lacking.iter().all(|change| change.run == own.record.run) {
            return None;
        }
        let until = own.received + self.span_of_longest();
        Some(Quarantine { until, cause: QuarantineCause::RolledBack })
    }

    /// Whether an incomplete list certainly means other nodes than ours: it has more ids that we do not know than we
    /// have unmet nodes. Our nodes `b`, `c` and `d` are all met: on `2 of b c ~` the unmet node may be `d`, so the
    /// list says nothing; on `2 of b x ~` the node `x` is none of ours.
    fn is_strange(&self, list: &str) -> bool {
        let is_ours = |id: &str| self.known.iter().flatten().any(|known| known.record.id == id);
        let unmet = self.known.iter().filter(|known| known.is_none()).count();
        members(list).filter(|id| !is_ours(id)).count() > unmet
    }

    fn late(&self) -> Duration {
        announced_late(self.longest())
    }

    fn longest(&self) -> Ttl {
        longest_announced(self.known).unwrap_or(Ttl::from_duration(Duration::ZERO))
    }

    fn span_of_longest(&self) -> Duration {
        self.span(self.longest().as_millis())
    }

    fn span(&self, ttl_ms: u64) -> Duration {
        span(Ttl::from_duration(Duration::from_millis(ttl_ms)), self.clock_drift_factor)
    }
}

impl NodeView {
    /// Converts a time of the node's clock to ours: the latest time that it can have been.
    fn latest(&self, at: u64) -> Moment {
        self.received.ago(Duration::from_micros(self.clock.saturating_sub(at)))
    }

    /// Converts a time of the node's clock to ours: the earliest time that it can have been.
    fn earliest(&self, at: u64) -> Moment {
        self.sent.ago(Duration::from_micros(self.clock.saturating_sub(at)))
    }

    /// The cause to report: the first thing to change for the node to keep its vote the next time.
    fn cause(&self) -> QuarantineCause {
        match (self.record.broken_by, self.persistence) {
            (MemoryBreak::Promoted, _) => QuarantineCause::Promoted,
            (MemoryBreak::RolledBack, _) => QuarantineCause::RolledBack,
            (MemoryBreak::Made | MemoryBreak::Restarted, Persistence::Weak) => QuarantineCause::NotDurable,
            (MemoryBreak::Made | MemoryBreak::Restarted, Persistence::NotTold) => {
                QuarantineCause::DurabilityUnknown
            }
            (MemoryBreak::Made, Persistence::Durable) => QuarantineCause::NewOrWiped,
            (MemoryBreak::Restarted, Persistence::Durable) => QuarantineCause::Restarted,
        }
    }
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
