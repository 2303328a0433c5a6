//! What a lock is to hold: the one value that an attempt, its lease, its renewals and its releases carry.

use std::slice;

use super::Resource;

/// What a lock is to hold. `node/` chooses the commands by it; the rules of the protocol do not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// One resource, for one owner.
    Exclusive { key: Resource },
}

/// The most keys that one claim has: one bit for each in a [`KeySet`].
pub(crate) const KEYS_MAX: usize = u64::BITS as usize;

impl Claim {
    /// The name in errors and logs.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Exclusive { key } => key.name(),
        }
    }

    /// The resources. A node grants all of them or none.
    pub(crate) fn keys(&self) -> &[Resource] {
        match self {
            Self::Exclusive { key } => slice::from_ref(key),
        }
    }

    /// The first resource.
    pub(crate) fn first(&self) -> &Resource {
        match self {
            Self::Exclusive { key } => key,
        }
    }

    /// The set of all keys.
    pub(crate) fn all(&self) -> KeySet {
        KeySet::first(self.keys().len())
    }

    /// The resources of a set, in the order of the claim.
    pub(crate) fn of(&self, keys: KeySet) -> impl Iterator<Item = &Resource> {
        keys.iter().filter_map(|key| self.keys().get(key))
    }
}

/// Some of the keys of one claim, by their position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct KeySet(u64);

impl KeySet {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn first(keys: usize) -> Self {
        (0..keys).collect()
    }

    pub(crate) fn insert(&mut self, key: usize) {
        self.0 |= 1 << key;
    }

    pub(crate) fn contains(self, key: usize) -> bool {
        self.0 & (1 << key) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..KEYS_MAX).filter(move |key| self.contains(*key))
    }
}

impl FromIterator<usize> for KeySet {
    fn from_iter<I: IntoIterator<Item = usize>>(keys: I) -> Self {
        let mut set = Self::EMPTY;
        keys.into_iter().for_each(|key| set.insert(key));
        set
    }
}
