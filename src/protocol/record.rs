//! The record of a node: since when its memory of locks is unbroken, and what clients have announced to it.
//!
//! A node's memory is unbroken while its data still holds every grant that the node has acknowledged. A restarted
//! server cannot know whether that is so. Clients therefore observe each node at short intervals and write what they
//! see into the node's record. Every exemption from a quarantine rests on this record. Uptime, a creator or a
//! replication id prove nothing, because they change, or stay, independently of the memory of locks.
//!
//! The rules by example; `r1` to `r4` are server processes, and `whole` is the time since which memory is unbroken:
//!
//! - 10 s: a client observes `r1`, which keeps every write (`appendfsync always`) and has no record. The record is
//!   made, with `whole` 10 by `Made`, durable.
//! - 50 s: `r2` has loaded the file of `r1` and keeps every write. `whole` stays 10, because nothing can be missing.
//! - 70 s: `r3` does not keep every write. `whole` becomes 70 by `Restarted`, not durable.
//! - 90 s: `r4` keeps every write. `whole` becomes 90 by `Restarted`, because `r3` may have lost some; durable from
//!   now on.
//!
//! All times are those of the node's own wall clock, in microseconds since 1970.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock_peers::{ClockNews, PeerClock};
use super::intervals::{ANNOUNCED_LATE_MAX, OBSERVE_EVERY_MAX, span};
use super::node_list::{ChangeProgress, ListUse, is_beginning_of};
use crate::types::Ttl;

/// The number of earlier processes that a record remembers. A node that has been observed in more processes since
/// another node's record met it looks rolled back, and is quarantined without need.
const PAST_MAX: usize = 32;
/// The number of other nodes that a record remembers: the members of four of the largest lists.
const MET_MAX: usize = 64;
/// The number of node lists that a record remembers. More than a few lists in use are a mistake of the operators.
const LISTS_MAX: usize = 16;
/// The number of lease lengths that a record remembers.
const ANNOUNCED_MAX: usize = 32;
/// The upper bound of [`Record::gap`].
const GAP_LONGEST: Duration = Duration::from_secs(10);

/// The content of a node's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// The node's own random name.
    pub(crate) id: String,
    /// The number of changes so far. Data from before a change that clients have met is older than it should be.
    pub(crate) sequence: u64,
    /// The server process (`run_id`) that was observed last.
    pub(crate) run: String,
    /// The last change in each earlier process, the latest process first.
    pub(crate) past: Vec<Change>,
    pub(crate) replication_id: String,
    /// Whether the present process was observed to keep every write.
    pub(crate) is_durable: bool,
    /// When the record was made.
    pub(crate) made: u64,
    /// Since when the memory of locks is unbroken.
    pub(crate) whole: u64,
    /// The reason why memory began at `whole` and not earlier.
    pub(crate) broken_by: MemoryBreak,
    /// Whether an operator has declared that nobody held a lock on the node when its memory began.
    pub(crate) is_declared: bool,
    /// The number of keys that the present process has evicted.
    pub(crate) evicted_keys: u64,
    /// When `evicted_keys` was last seen to have grown.
    pub(crate) evicted: Option<u64>,
    /// The `max_ttl`s that clients announced, in milliseconds, and when.
    pub(crate) announced: BTreeMap<u64, Span>,
    /// The quorums and node ids that clients use together with this node, as `2 of ID ID ID`.
    pub(crate) lists: BTreeMap<String, ListUse>,
    /// The other nodes that clients use together with this one, by id.
    pub(crate) met: BTreeMap<String, MetNode>,
    /// How far the node's clock was from those of other nodes, by id.
    pub(crate) clocks: BTreeMap<String, PeerClock>,
    /// Until when a step of the clock, which some client saw, endangers leases.
    pub(crate) stepped: Option<u64>,
}

/// Why the memory of a node begins when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MemoryBreak {
    /// The node had no record: the node is new, or lost its data.
    Made,
    /// Another process runs, and either the process before it or the present one was not seen to keep every write.
    Restarted,
    /// The node was a replica in between.
    Promoted,
    /// Clients have met a later state of the node's record, so the node's data is older than that.
    RolledBack,
}

/// The first and the last time of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// A change of a record. The process is part of it, because older data may reach the same number again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// The server process in which the record was changed.
    pub(crate) run: String,
    pub(crate) sequence: u64,
}

/// Another node, as clients of both have announced it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MetNode {
    /// When a client first announced the other node.
    pub(crate) first: u64,
    /// The latest change of the other node's record that a client met.
    pub(crate) change: Change,
}

/// An observation: the facts that a client sees of a node, and its announcements to the node.
#[derive(Clone, Debug)]
pub(crate) struct Observation<'a> {
    /// The node's clock.
    pub(crate) now: u64,
    pub(crate) run_id: &'a str,
    pub(crate) replication_id: &'a str,
    /// Whether the server has been a replica, as far as it remembers.
    pub(crate) was_replica: bool,
    pub(crate) durability: Durability,
    pub(crate) evicted_keys: u64,
    /// Whether an operator has declared the node new before any client met it.
    pub(crate) is_declared: bool,
    /// The id of the node if it has none yet.
    pub(crate) new_id: &'a str,
    /// Whether the record's id belongs to another node of the client, because one of them is a copy of the other's
    /// data.
    pub(crate) is_copy: bool,
    /// Changes that clients have met and the node's record does not know.
    pub(crate) lacks: &'a [Change],
    pub(crate) max_ttl: Ttl,
    /// The age of the client, during which it may have held leases of `max_ttl` on other nodes.
    pub(crate) age: Duration,
    /// The client's observation interval.
    pub(crate) every: Duration,
    /// The nodes and the quorum that the client uses, with a `~` for each node that it has not met; empty while the
    /// client has met fewer than a quorum.
    pub(crate) list: &'a str,
    /// The client's list before the last change of one of its nodes' ids; empty if there is none, or if this node
    /// knows.
    pub(crate) left: &'a str,
    /// Whether a quorum of the present list has closed it, for a client that changes lists.
    pub(crate) is_present_closed: bool,
    /// The other nodes of the client: their ids, and the latest change of their records that it met.
    pub(crate) met: &'a [(String, Change)],
    pub(crate) clock: &'a ClockNews,
}

/// Whether a server's acknowledged writes survive its death, as its present state shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durability {
    /// The server syncs an append-only file with every write, has no replicas, and is not managed by sentinels.
    pub(crate) syncs: bool,
    /// The append-only file is being rewritten. During the first rewrite there may be no file yet.
    pub(crate) is_rewriting: bool,
    /// The present process has rewritten the append-only file; otherwise the process has loaded it.
    pub(crate) was_rewritten: bool,
}

impl Record {
    /// Returns the record after an observation; equal to `old` where there is nothing to write.
    pub(crate) fn after(old: Option<&Self>, look: &Observation<'_>) -> Self {
        let mut record = match old {
            Some(old) if !look.is_copy => old.clone(),
            Some(_) | None => Self::made(look),
        };
        record.handle_clock(look.now);
        record.handle_process(look);
        record.handle_eviction(look);
        record.handle_announcement(look);
        record.handle_list(look);
        record.handle_met(look, old);
        record.handle_clocks(look, old);
        if old != Some(&record) {
            record.sequence += 1;
        }
        record
    }

    /// Returns the record without the announcements of clients: their node lists, their `max_ttl`s, and the other
    /// nodes. What they measured of clocks stays, because it stays true. Clients that still run announce theirs again with their next observation.
    pub(crate) fn without_clients(&self) -> Self {
        Self {
            sequence: self.sequence + 1,
            announced: BTreeMap::new(),
            lists: BTreeMap::new(),
            met: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// How long a list stays in use after its last announcement: half of the quarantine for the shortest announced
    /// lease, at most 10 s.
    pub(crate) fn gap(&self) -> Duration {
        let shortest = self.announced.keys().next().map_or(Duration::ZERO, |ttl| Duration::from_millis(*ttl));
        (span(Ttl::from_duration(shortest), 0.0) / 2).min(GAP_LONGEST)
    }

    fn made(look: &Observation<'_>) -> Self {
        Self {
            id: look.new_id.to_owned(),
            sequence: 0,
            run: look.run_id.to_owned(),
            past: Vec::new(),
            replication_id: look.replication_id.to_owned(),
            is_durable: false,
            made: look.now,
            whole: look.now,
            broken_by: if look.was_replica { MemoryBreak::Promoted } else { MemoryBreak::Made },
            // Data that was copied from a master carries the declaration of that master.
            is_declared: look.is_declared && !look.is_copy && !look.was_replica,
            evicted_keys: look.evicted_keys,
            evicted: (look.evicted_keys > 0).then_some(look.now),
            announced: BTreeMap::new(),
            lists: BTreeMap::new(),
            met: BTreeMap::new(),
            clocks: BTreeMap::new(),
            stepped: None,
        }
    }

    /// Cuts all times to `now`: after the clock was set back, nothing may seem to happen in the future.
    fn handle_clock(&mut self, now: u64) {
        self.made = self.made.min(now);
        self.whole = self.whole.min(now);
        self.evicted = self.evicted.map(|at| at.min(now));
        for span in self.announced.values_mut() {
            (span.first, span.last) = (span.first.min(now), span.last.min(now));
        }
        for list in self.lists.values_mut() {
            (list.first, list.last) = (list.first.min(now), list.last.min(now));
        }
        for met in self.met.values_mut() {
            met.first = met.first.min(now);
        }
        for clock in self.clocks.values_mut() {
            clock.at = clock.at.min(now);
        }
    }

    fn handle_process(&mut self, look: &Observation<'_>) {
        let Durability { syncs, is_rewriting, was_rewritten } = look.durability;
        let is_same = self.run == look.run_id;
        let is_promoted = self.replication_id != look.replication_id && look.was_replica;
        // The present process has loaded a file to which the process before it was seen to write everything.
        let is_kept = self.is_durable && syncs && !is_rewriting && !was_rewritten;
        // Promotion is tested first, because a promoted replica that lagged behind lacks changes of its record as
        // well.
        if is_promoted {
            self.broken(look.now, MemoryBreak::Promoted);
        } else if !look.lacks.is_empty() {
            self.broken(look.now, MemoryBreak::RolledBack);
        } else if !is_same && !is_kept {
            self.broken(look.now, MemoryBreak::Restarted);
        }
        if !is_same {
            let run = std::mem::replace(&mut self.run, look.run_id.to_owned());
            self.handle_past(Change { run, sequence: self.sequence });
        }
        for lacking in look.lacks {
            self.sequence = self.sequence.max(lacking.sequence);
            if lacking.run != self.run {
                self.handle_past(lacking.clone());
            }
        }
        look.replication_id.clone_into(&mut self.replication_id);
        self.is_durable = syncs && (!is_rewriting || is_same && self.is_durable);
    }

    fn handle_past(&mut self, change: Change) {
        self.past.retain(|known| known.run != change.run);
        self.past.insert(0, change);
        self.past.truncate(PAST_MAX);
    }

    /// Whether the record is at this change or after it. A record at `r3:12` with the past `r2:9 r1:4` knows `r3:12`,
    /// `r2:9` and `r1:3`. The record does not know `r1:5`: in its history `r2` followed `r1:4`. Nor does it know
    /// `r4:1`.
    pub(crate) fn knows(&self, change: &Change) -> bool {
        let Change { run, sequence } = change;
        if *run == self.run {
            return *sequence <= self.sequence;
        }
        self.past.iter().any(|known| known.run == *run && *sequence <= known.sequence)
    }

    /// Returns the latest change.
    pub(crate) fn change(&self) -> Change {
        Change { run: self.run.clone(), sequence: self.sequence }
    }

    fn broken(&mut self, now: u64, by: MemoryBreak) {
        (self.whole, self.broken_by, self.is_declared) = (now, by, false);
    }

    fn handle_eviction(&mut self, look: &Observation<'_>) {
        let is_new_process = look.evicted_keys < self.evicted_keys;
        if look.evicted_keys > self.evicted_keys || is_new_process && look.evicted_keys > 0 {
            self.evicted = Some(look.now);
        }
        self.evicted_keys = look.evicted_keys;
    }

    fn handle_announcement(&mut self, look: &Observation<'_>) {
        let (now, ours) = (look.now, look.max_ttl.as_millis());
        let first = now.saturating_sub(micros(look.age));
        let told = self.announced.entry(ours).or_insert(Span { first, last: now });
        if first < told.first {
            // An older client announces the same `max_ttl`, and may have held such leases on other nodes. Smaller
            // differences come from the observations of a single client, and are not written.
            told.first = if told.first - first > micros(ANNOUNCED_LATE_MAX) { first } else { told.first };
        }
        if is_due(told.last, look) {
            told.last = now;
        }
        self.announced.retain(|ttl, told| {
            let kept = span(Ttl::from_duration(Duration::from_millis(*ttl)), 0.1) + OBSERVE_EVERY_MAX * 4;
            *ttl == ours || now - told.last <= micros(kept)
        });
        // Above the limit, the shortest lease length is merged into the next longer one: `{1 s, 2 s}` becomes
        // `{2 s}`, with the earlier first and the later last time. The result errs to the safe side.
        while self.announced.len() > ANNOUNCED_MAX {
            let Some((_, shortest)) = self.announced.pop_first() else { return };
            if let Some(mut next) = self.announced.first_entry() {
                let next = next.get_mut();
                next.first = next.first.min(shortest.first);
                next.last = next.last.max(shortest.last);
            }
        }
    }

    fn handle_list(&mut self, look: &Observation<'_>) {
        let now = look.now;
        let gap = self.gap();
        let mut since = now;
        // A client that has met more of its nodes announces a longer list: first `2 of n b ~`, then `2 of n b c`. The
        // longer list replaces the shorter one and inherits its first time, because the client's leases are older.
        self.lists.retain(|list, used| {
            let is_covered = is_beginning_of(list, look.list);
            if is_covered && used.is_in_use(now, gap) {
                since = since.min(used.first);
            }
            !is_covered
        });
        if let Some(left) = self.lists.get_mut(look.left) {
            left.is_left = true;
            // The client's new list is as old as the one before, where one of its nodes only got another id:
            // `2 of a b c`, in use since 10 s, becomes `2 of a b d`, in use since 10 s. Otherwise a client that came at
            // 50 s with `2 of a x y` would count as the older one.
            if left.is_in_use(now, gap) {
                since = since.min(left.first);
            }
        }
        if look.list.is_empty() {
            return;
        }
        let fresh = ListUse { first: since, last: now, is_left: false, progress: ChangeProgress::Begun };
        let list = self.lists.entry(look.list.to_owned()).or_insert(fresh);
        list.is_left = false;
        if !list.is_in_use(now, gap) {
            *list = ListUse { progress: list.progress, ..fresh };
        } else if is_due(list.last, look) {
            list.last = now;
        }
        self.handle_change(look);
        while self.lists.len() > LISTS_MAX {
            let others = self.lists.iter().filter(|(list, _)| *list != look.list);
            // What excludes clients of a list that was given up is kept the longest.
            let oldest = others.min_by_key(|(_, used)| (used.progress, used.last));
            let Some(oldest) = oldest.map(|(list, _)| list.clone()) else { return };
            self.lists.remove(&oldest);
        }
    }

    /// Writes the changes of other nodes' records only along with another change of this record, or with a node that
    /// this record has not met. Otherwise writing would never end, because each written record is a change to all the
    /// others.
    fn handle_met(&mut self, look: &Observation<'_>, old: Option<&Self>) {
        let is_written = old != Some(&*self) || look.met.iter().any(|(id, _)| !self.met.contains_key(id));
        if !is_written {
            return;
        }
        for (id, change) in look.met {
            let met = MetNode { first: look.now, change: change.clone() };
            let met = self.met.entry(id.clone()).or_insert(met);
            if met.change.sequence < change.sequence {
                met.change.clone_from(change);
            }
        }
        while self.met.len() > MET_MAX {
            let strangers = self.met.iter().filter(|(id, _)| look.met.iter().all(|(met, _)| met != *id));
            let Some(oldest) = strangers.min_by_key(|(_, met)| met.first).map(|(id, _)| id.clone()) else {
                return;
            };
            self.met.remove(&oldest);
        }
    }
}

/// Whether a time is old enough to be written again. Not every observation writes, because each write costs a node
/// with `appendfsync always` one sync.
fn is_due(last: u64, look: &Observation<'_>) -> bool {
    look.now - last >= micros(look.every / 2)
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
