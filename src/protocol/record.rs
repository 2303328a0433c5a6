//! The record that a node keeps of itself: since when its memory is unbroken, and which clients it has met.
//!
//! A restarted server cannot know whether it still has every lock that it granted. Clients therefore look at each node
//! again and again, and write down on it what they see. Every exemption from a quarantine rests on this record:
//! uptime, a creator, or a replication id prove nothing, because all of them also change, or do not, without any
//! relation to the memory of locks.
//!
//! All times are those of the node's own wall clock, in microseconds since 1970.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node_list::{ListUse, has_member, is_complete, members};
use super::quarantine::{OBSERVE_EVERY_MAX, span};
use crate::types::Ttl;

/// How many of its processes a record remembers. After more restarts than that between two looks of all clients its data
/// is taken for older than it is.
const PAST_MAX: usize = 32;
/// How many other nodes a record remembers: those of four of the largest lists.
const MET_MAX: usize = 64;
/// How many node lists a record remembers. More than a few in use are a mistake of the operators.
const LISTS_MAX: usize = 16;
/// How many different lengths of leases a record remembers.
const ANNOUNCED_MAX: usize = 32;
/// Longest pause after which a list is still in use.
const GAP_LONGEST: Duration = Duration::from_secs(10);

/// What a node's record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// The node's own random name.
    pub(crate) id: String,
    /// Counts the changes of the record: data from before a change that clients have met is older than it should be.
    pub(crate) sequence: u64,
    /// The server process (`run_id`) that was met last.
    pub(crate) run: String,
    /// The last change in each process before it, the latest first.
    pub(crate) past: Vec<Change>,
    pub(crate) replication_id: String,
    /// Whether the present process was seen to keep every write.
    pub(crate) is_durable: bool,
    /// When the record was made.
    pub(crate) made: u64,
    /// Since when the memory of locks is unbroken.
    pub(crate) whole: u64,
    /// What broke it then.
    pub(crate) broken_by: MemoryBreak,
    /// An operator has said that nobody held a lock on the node when its memory began.
    pub(crate) is_declared: bool,
    /// How many keys the present process has evicted.
    pub(crate) evicted_keys: u64,
    /// When that number was last seen to have grown.
    pub(crate) evicted: Option<u64>,
    /// The longest leases that clients announced, in milliseconds.
    pub(crate) announced: BTreeMap<u64, Span>,
    /// The quorums and node ids that clients use together with this node, as `2 of ID ID ID`.
    pub(crate) lists: BTreeMap<String, ListUse>,
    /// The other nodes that clients use together with this one, by id.
    pub(crate) met: BTreeMap<String, MetNode>,
}

/// Why the memory of a node is not older than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MemoryBreak {
    /// There was no record: the node is new, or lost its data.
    Made,
    /// Another process runs, and the one before it was not seen to keep every write, or this one does not.
    Restarted,
    /// It was a replica meanwhile.
    Promoted,
    /// Clients have met a later record of it: its data is older than that.
    RolledBack,
}

/// From when to when something was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// A change of a record. A number alone could be reached again from older data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// The server process in which it was made.
    pub(crate) run: String,
    pub(crate) sequence: u64,
}

/// Another node, as clients of both have told of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MetNode {
    /// When a client first told of it.
    pub(crate) first: u64,
    /// The latest change of its record that was met.
    pub(crate) change: Change,
}

/// What a client sees of a node, and tells it.
#[derive(Clone, Debug)]
pub(crate) struct Observation<'a> {
    /// The node's clock.
    pub(crate) now: u64,
    pub(crate) run_id: &'a str,
    pub(crate) replication_id: &'a str,
    /// It has been a replica, as far as it remembers.
    pub(crate) was_replica: bool,
    pub(crate) durability: Durability,
    pub(crate) evicted_keys: u64,
    /// An operator has declared the node new before any client met it.
    pub(crate) is_declared: bool,
    /// Its name if it has none yet.
    pub(crate) new_id: &'a str,
    /// Its id belongs to another node of the client: one is a copy of the other's data.
    pub(crate) is_copy: bool,
    /// Changes of its record that clients have met and that it does not know.
    pub(crate) lacks: &'a [Change],
    pub(crate) max_ttl: Ttl,
    /// For how long the client has been one, and may have held such leases on other nodes.
    pub(crate) age: Duration,
    /// How often the client looks.
    pub(crate) every: Duration,
    /// The nodes and the quorum that the client uses, with a `~` for each that it has not met; empty while it has met
    /// fewer than a quorum.
    pub(crate) list: &'a str,
    /// What it used until it met a node anew; empty if nothing else.
    pub(crate) left: &'a str,
    /// The other nodes: their ids, and the latest change of their records that was met.
    pub(crate) met: &'a [(String, Change)],
}

/// Whether a server's acknowledged writes survive its death, as its present state tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durability {
    /// It has an append-only file that is synced with every write, is nobody's master and was chosen by nobody but its
    /// address.
    pub(crate) syncs: bool,
    /// The file is being written anew; before the first time there may be none yet.
    pub(crate) is_rewriting: bool,
    /// The file has been written anew by the present process. Otherwise this process has loaded it.
    pub(crate) was_rewritten: bool,
}

impl Record {
    /// The record after a look. Equal to `old` where there is nothing to be written down.
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
        if old != Some(&record) {
            record.sequence += 1;
        }
        record
    }

    /// The record without what clients that are gone have told: their node lists and their longest leases. What holds
    /// for those that are not gone is told again with their next look.
    pub(crate) fn without_clients(&self) -> Self {
        Self {
            sequence: self.sequence + 1,
            announced: BTreeMap::new(),
            lists: BTreeMap::new(),
            met: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// A list that nobody has told of for longer than this is not in use.
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
            // What it has copied from a master was said of that one.
            is_declared: look.is_declared && !look.is_copy && !look.was_replica,
            evicted_keys: look.evicted_keys,
            evicted: (look.evicted_keys > 0).then_some(look.now),
            announced: BTreeMap::new(),
            lists: BTreeMap::new(),
            met: BTreeMap::new(),
        }
    }

    /// After the clock was set back nothing has happened later than now: what is known begins anew.
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
    }

    fn handle_process(&mut self, look: &Observation<'_>) {
        let Durability { syncs, is_rewriting, was_rewritten } = look.durability;
        let is_same = self.run == look.run_id;
        let is_promoted = self.replication_id != look.replication_id && look.was_replica;
        // The present process has loaded what the one before it was seen to write.
        let is_kept = self.is_durable && syncs && !is_rewriting && !was_rewritten;
        // A replica that was behind lacks changes of its record, too.
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

    /// Whether the record is that one or came out of it.
    pub(crate) fn knows(&self, change: &Change) -> bool {
        let Change { run, sequence } = change;
        if *run == self.run {
            return *sequence <= self.sequence;
        }
        self.past.iter().any(|known| known.run == *run && *sequence <= known.sequence)
    }

    /// The latest change.
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
            // A client that has used it elsewhere. Not for a difference of a look or two of the same one.
            told.first = if told.first - first > micros(OBSERVE_EVERY_MAX) { first } else { told.first };
        }
        if is_due(told.last, look) {
            told.last = now;
        }
        self.announced.retain(|ttl, told| {
            let kept = span(Ttl::from_duration(Duration::from_millis(*ttl)), 0.1) + OBSERVE_EVERY_MAX * 4;
            *ttl == ours || now - told.last <= micros(kept)
        });
        // Of too many the shortest are taken for as long as the next longer one.
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
        // A client that had met fewer nodes has met more: the longer list stands for all its leases.
        self.lists.retain(|list, used| {
            let is_covered =
                !is_complete(list) && list != look.list && members(list).all(|id| has_member(look.list, id));
            if is_covered && used.is_in_use(now, gap) {
                since = since.min(used.first);
            }
            !is_covered
        });
        if let Some(left) = self.lists.get_mut(look.left) {
            left.is_left = true;
            // Who was there before others came still was, whatever his nodes call themselves now.
            if left.is_in_use(now, gap) {
                since = since.min(left.first);
            }
        }
        if look.list.is_empty() {
            return;
        }
        let fresh = ListUse { first: since, last: now, is_left: false };
        let list = self.lists.entry(look.list.to_owned()).or_insert(fresh);
        list.is_left = false;
        if !list.is_in_use(now, gap) {
            *list = fresh;
        } else if is_due(list.last, look) {
            list.last = now;
        }
        while self.lists.len() > LISTS_MAX {
            let others = self.lists.iter().filter(|(list, _)| *list != look.list);
            let Some(oldest) = others.min_by_key(|(_, used)| used.last).map(|(list, _)| list.clone()) else {
                return;
            };
            self.lists.remove(&oldest);
        }
    }

    /// What has changed on other nodes is written down along with something else. Alone it would go to and fro, because
    /// each record that is written is such a change to the others.
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

/// Whether a time is old enough to be written down anew. Not with every look, because each write costs a node with
/// `appendfsync always` a sync.
fn is_due(last: u64, look: &Observation<'_>) -> bool {
    look.now - last >= micros(look.every / 2)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
