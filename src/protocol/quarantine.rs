//! The restart guard: whose grants do not count, because the node may have forgotten locks, and for how long.
//!
//! Delayed restarts, as the Redlock specification asks for them, kept by the clients: a node that forgot a lock does
//! not help anybody else to it before the lock is over anyway.

use std::time::Duration;

use super::node_list::{has_member, is_complete, members};
use super::record::{Change, MemoryBreak, Record};
use crate::types::{Eviction, Moment, Persistence, QuarantineCause, Ttl};

/// How much longer than the longest lease and its drift a quarantine is. Covers what a round trip hides of a node's
/// clock, and the time between an announcement and the first grant.
const MARGIN: Duration = Duration::from_secs(2);

/// Longest pause between two looks of a client at a node.
pub(crate) const OBSERVE_EVERY_MAX: Duration = Duration::from_millis(2500);
/// Shortest one: a look costs a server some 0.1 ms.
const OBSERVE_EVERY_MIN: Duration = Duration::from_millis(250);

/// How often a client with leases of at most `max_ttl` looks at a node: several times in the life of its longest lease.
pub(crate) fn observe_every(max_ttl: Ttl) -> Duration {
    (max_ttl.as_duration() / 8).clamp(OBSERVE_EVERY_MIN, OBSERVE_EVERY_MAX)
}

/// How long after a look the grants of a node count, for a client that looks so often. A client that was stopped for
/// longer has to look first, because the nodes may have forgotten meanwhile that it uses them. Half of the margin of a
/// quarantine is for looks that are late.
pub(crate) fn observation_lasts(observe_every: Duration) -> Duration {
    observe_every * 2 + MARGIN / 2
}

/// How long a node is not believed that may have forgotten leases of this length.
pub(crate) fn span(ttl: Ttl, clock_drift_factor: f64) -> Duration {
    ttl.as_duration().mul_f64(1.0 + clock_drift_factor) + MARGIN
}

/// For how long a node that may have forgotten locks is not believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RestartGuard {
    Off,
    On { clock_drift_factor: f64, eviction: Eviction },
}

/// What a client knows of one of its nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    pub(crate) record: Record,
    pub(crate) persistence: Persistence,
    /// The node's clock at the look, and ours before and after it.
    pub(crate) clock: u64,
    pub(crate) sent: Moment,
    pub(crate) received: Moment,
    /// Whether there is a live connection to the node.
    pub(crate) is_up: bool,
    /// The list that we told it with the look.
    pub(crate) told: String,
    /// When this client met another node under the name than before.
    pub(crate) replaced: Option<Moment>,
}

/// A node whose grants do not count before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quarantine {
    pub(crate) until: Moment,
    pub(crate) cause: QuarantineCause,
}

impl RestartGuard {
    /// Until when the grants of a node do not count, by what is known of all nodes of the client; `None` where they have
    /// counted from the first.
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
        // A server that was wiped is another one than before. What happened to it says more than that.
        let told = forgot.filter(|forgot| forgot.until + judge.late() * 2 >= longest.until);
        Some(Quarantine { cause: told.unwrap_or(longest).cause, ..longest })
    }
}

/// The changes of a record that clients of these other nodes have met and that it does not know.
pub(crate) fn lacking<'a>(record: &Record, others: impl IntoIterator<Item = &'a NodeView>) -> Vec<Change> {
    let told = others.into_iter().filter_map(|other| other.record.met.get(&record.id));
    told.map(|met| &met.change).filter(|change| !record.knows(change)).cloned().collect()
}

/// Whether all other nodes have been told that we use a node. Before that nobody would notice that another server has
/// taken its place while we hold leases that count on it.
pub(crate) fn is_introduced(node: usize, known: &[Option<NodeView>]) -> bool {
    let Some(own) = &known[node] else { return false };
    others(node, known).all(|other| !other.is_up || has_member(&other.told, &own.record.id))
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
    /// The memory of the node is younger than leases may be.
    fn forgot(&self, own: &NodeView) -> Option<Quarantine> {
        if own.record.is_declared {
            return None;
        }
        let whole = own.latest(own.record.whole);
        // Announced later, no lease of that length can have been forgotten.
        let before = |(known, ttl): (&NodeView, (&u64, &super::record::Span))| {
            (known.earliest(ttl.1.first) <= whole + MARGIN).then_some(*ttl.0)
        };
        let announced = self.known.iter().flatten();
        let announced =
            announced.flat_map(|known| known.record.announced.iter().map(move |told| (known, told)));
        let longest = announced.filter_map(before).max()?;
        let end = whole + self.span(longest);
        // Somebody may have announced a longer lease, and won it, since the others were asked.
        let is_stale = self.known.iter().flatten().any(|known| known.is_up && known.sent < whole);
        let until = if is_stale { end.max(own.received + self.span(longest)) } else { end };
        Some(Quarantine { until, cause: own.cause() })
    }

    /// Locks may have been thrown away while the memory was full.
    fn evicted(&self, own: &NodeView) -> Option<Quarantine> {
        let evicted = own.record.evicted?;
        let until = own.latest(evicted) + self.span_of_longest();
        Some(Quarantine { until, cause: QuarantineCause::Evicted })
    }

    /// Another server was the node before, and clients may hold leases that count on that one.
    fn replaced(&self, own: &NodeView) -> Option<Quarantine> {
        let span = self.span_of_longest();
        let by_us = own.replaced.map(|at| at + span);
        let by_others = others(self.node, self.known).filter_map(|other| {
            let last = self.others_without(own, other)?;
            // The next look of those clients may be due, and one of them may just have won a lease.
            let unused = other.latest(last) + self.late() + span;
            let joined = own.record.met.get(&other.record.id);
            let joined = joined.map_or(own.received, |met| own.latest(met.first));
            Some(unused.max(joined + span))
        });
        let until = by_us.into_iter().chain(by_others).max()?;
        Some(Quarantine { until, cause: QuarantineCause::Replaced })
    }

    /// When clients last used `other` without the node, by the clock of `other`. Lists that came into use after one that
    /// the node is on do not count: whoever joins has no say about those who are there.
    fn others_without(&self, own: &NodeView, other: &NodeView) -> Option<u64> {
        let (id, gap) = (&own.record.id, other.record.gap());
        let lists = &other.record.lists;
        let with =
            lists.iter().filter(|(list, used)| has_member(list, id) && used.is_in_use(other.clock, gap));
        let since = with.map(|(_, used)| used.first).min();
        let without = lists.iter().filter(|(list, used)| {
            !has_member(list, id)
                && has_member(list, &other.record.id)
                && (is_complete(list) || self.is_strange(list))
                && since.is_none_or(|since| used.first <= since)
        });
        without.map(|(_, used)| used.last).max()
    }

    /// Its data is older than what clients have met. Written down with the next look; until then it began now.
    fn rolled_back(&self, own: &NodeView) -> Option<Quarantine> {
        // Another client may have changed the record since we observed, in the same process; older data needs another one.
        let lacking = lacking(&own.record, others(self.node, self.known));
        if lacking.iter().all(|change| change.run == own.record.run) {
            return None;
        }
        let until = own.received + self.span_of_longest();
        Some(Quarantine { until, cause: QuarantineCause::RolledBack })
    }

    /// Whether there are more nodes on a list that we do not know than we have nodes that we have not met. The node may
    /// then be missing on it because another is meant, and not because its client has not met it.
    fn is_strange(&self, list: &str) -> bool {
        let is_ours = |id: &str| self.known.iter().flatten().any(|known| known.record.id == id);
        let unmet = self.known.iter().filter(|known| known.is_none()).count();
        members(list).filter(|id| !is_ours(id)).count() > unmet
    }

    /// How long a client may use a list without having said so again: its grants count for two looks, and a look after
    /// less than half of one writes nothing down.
    fn late(&self) -> Duration {
        observe_every(self.longest()) * 5 / 2
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
    /// A time of the node's clock by ours, not earlier than it was.
    fn latest(&self, at: u64) -> Moment {
        self.received.ago(Duration::from_micros(self.clock.saturating_sub(at)))
    }

    /// The same, not later than it was.
    fn earliest(&self, at: u64) -> Moment {
        self.sent.ago(Duration::from_micros(self.clock.saturating_sub(at)))
    }

    /// What would have to change first for the node to keep its vote the next time.
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
