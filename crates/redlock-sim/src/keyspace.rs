//! What a server holds, and how it was before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sorted_set::SortedSet;
use crate::time::WallTime;

/// For how long a change can be undone: longer than what a crash loses and than a replica is behind its master.
const UNDONE_AT_MOST: Duration = Duration::from_secs(5);

/// A key in one of the databases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) db: usize,
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// When it expires, in milliseconds of the server's wall clock.
    pub(crate) expires: Option<i64>,
}

/// The fields of a hash. The journal shares their bytes.
pub(crate) type Fields = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Vec<u8>),
    Hash(Fields),
    Sorted(SortedSet),
}

/// All keys, with a journal of the latest changes. Keys expire when they are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    entries: BTreeMap<Place, Entry>,
    journal: VecDeque<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    at: WallTime,
    place: Place,
    before: Option<Entry>,
}

/// All that a server held at some time, to be found again after a [restart](crate::Data::Saved).
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<Place, Entry>);

impl Entry {
    fn is_expired(&self, now: WallTime) -> bool {
        self.expires.is_some_and(|expires| now.millis() > expires)
    }
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Hash(fields) => fields.is_empty(),
            Self::Sorted(set) => set.is_empty(),
        }
    }
}

impl Keyspace {
    pub(crate) fn get(&mut self, place: &Place, now: WallTime) -> Option<&Entry> {
        if self.entries.get(place)?.is_expired(now) {
            self.put(place, None, now);
        }
        self.entries.get(place)
    }

    /// Changes, makes or removes an entry. One without members is removed.
    pub(crate) fn change<T>(
        &mut self,
        place: &Place,
        now: WallTime,
        change: impl FnOnce(&mut Option<Entry>) -> T,
    ) -> T {
        let before = self.get(place, now).cloned();
        let mut entry = self.entries.remove(place);
        let answer = change(&mut entry);
        let entry = entry.filter(|entry| !entry.value.is_empty());
        let is_changed = entry != before;
        if let Some(entry) = entry {
            self.entries.insert(place.clone(), entry);
        }
        if is_changed {
            self.record(place, before, now);
        }
        answer
    }

    /// All keys of a database, those that have expired unnoticed included.
    pub(crate) fn keys(&self, db: usize) -> impl Iterator<Item = &Vec<u8>> {
        let first = Place { db, key: vec![] };
        self.entries
            .range(first..)
            .map(|(place, _)| place)
            .take_while(move |place| place.db == db)
            .map(|p| &p.key)
    }

    pub(crate) fn clear(&mut self, now: WallTime) {
        for place in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.put(&place, None, now);
        }
    }

    /// Removes what has expired, as a server does it now and then by itself.
    pub(crate) fn expire(&mut self, now: WallTime) {
        let expired = self.entries.iter().filter(|(_, entry)| entry.is_expired(now));
        for place in expired.map(|(place, _)| place.clone()).collect::<Vec<_>>() {
            self.put(&place, None, now);
        }
    }

    /// Takes the latest changes back, up to the first that was made at `limit` or before.
    pub(crate) fn undo_after(&mut self, limit: WallTime) {
        while self.journal.back().is_some_and(|change| change.at > limit)
            && let Some(Change { place, before, .. }) = self.journal.pop_back()
        {
            match before {
                Some(entry) => self.entries.insert(place, entry),
                None => self.entries.remove(&place),
            };
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.entries.clone())
    }

    pub(crate) fn load(&mut self, Snapshot(entries): Snapshot) {
        *self = Self { entries, journal: VecDeque::new() };
    }

    fn put(&mut self, place: &Place, entry: Option<Entry>, at: WallTime) {
        let before = match entry {
            Some(entry) => self.entries.insert(place.clone(), entry),
            None => self.entries.remove(place),
        };
        self.record(place, before, at);
    }

    fn record(&mut self, place: &Place, before: Option<Entry>, at: WallTime) {
        while self.journal.front().is_some_and(|change| change.at < at.before(UNDONE_AT_MOST)) {
            self.journal.pop_front();
        }
        self.journal.push_back(Change { at, place: place.clone(), before });
    }
}
