//! What a lock is to hold: the one value that an attempt, its lease, its renewals and its releases carry.

use std::slice;
use std::sync::Arc;

use super::Resource;

/// What a lock is to hold. `node/` chooses the commands by it; the rules of the protocol do not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// One resource, for one owner.
    Exclusive { key: Resource },
    /// Several resources, for one owner. The keys are sorted and differ, and there are at most [`KEYS_MAX`].
    Many { keys: Arc<[Resource]>, name: Arc<str> },
    /// One resource, for any number of readers.
    Shared { key: Resource },
    /// One slot of a semaphore, for one owner.
    Slot(Arc<Slot>),
}

/// A slot of a semaphore.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The semaphore: clients wait for it, and the fencing tokens are its tokens.
    pub(crate) of: Resource,
    pub(crate) number: usize,
    key: Resource,
}

/// The most keys that one claim has: one bit for each in a [`KeySet`].
pub(crate) const KEYS_MAX: usize = u64::BITS as usize;

impl Claim {
    /// Several resources, in any order.
    ///
    /// # Errors
    ///
    /// A resource that occurs twice.
    pub(crate) fn many(mut keys: Vec<Resource>) -> Result<Self, Resource> {
        keys.sort_unstable_by(|one, other| one.key().cmp(other.key()));
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(twice[0].clone());
        }
        let names: Vec<_> = keys.iter().map(Resource::name).collect();
        let name = names.join(", ").into();
        Ok(Self::Many { keys: keys.into(), name })
    }

    /// A slot of a semaphore.
    pub(crate) fn slot(of: &Resource, number: usize) -> Self {
        Self::Slot(Arc::new(Slot { of: of.clone(), number, key: of.slot(number) }))
    }

    /// The name in errors and logs.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Exclusive { key } | Self::Shared { key } => key.name(),
            Self::Many { name, .. } => name,
            Self::Slot(slot) => slot.of.name(),
        }
    }

    /// The keys that a node sets, all of them or none.
    pub(crate) fn keys(&self) -> &[Resource] {
        match self {
            Self::Exclusive { key } | Self::Shared { key } => slice::from_ref(key),
            Self::Many { keys, .. } => keys,
            Self::Slot(slot) => slice::from_ref(&slot.key),
        }
    }

    /// For each key the resource that clients wait for, and that has the fencing tokens.
    pub(crate) fn resources(&self) -> &[Resource] {
        match self {
            Self::Exclusive { .. } | Self::Shared { .. } | Self::Many { .. } => self.keys(),
            Self::Slot(slot) => slice::from_ref(&slot.of),
        }
    }

    /// The slot of a semaphore; `None` for other claims.
    pub(crate) fn as_slot(&self) -> Option<&Slot> {
        match self {
            Self::Exclusive { .. } | Self::Shared { .. } | Self::Many { .. } => None,
            Self::Slot(slot) => Some(slot),
        }
    }

    /// The first resource.
    pub(crate) fn first(&self) -> &Resource {
        &self.resources()[0]
    }

    /// Whether others may hold it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Shared { .. } => true,
            Self::Exclusive { .. } | Self::Many { .. } | Self::Slot(_) => false,
        }
    }

    /// The set of all keys.
    pub(crate) fn all(&self) -> KeySet {
        KeySet::first(self.keys().len())
    }

    /// The resources of a set, in the order of the claim.
    pub(crate) fn of(&self, keys: KeySet) -> impl Iterator<Item = &Resource> {
        keys.iter().filter_map(|key| self.resources().get(key))
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
        let mut left = self.0;
        std::iter::from_fn(move || {
            let key = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (key < KEYS_MAX).then_some(key)
        })
    }
}

impl FromIterator<usize> for KeySet {
    fn from_iter<I: IntoIterator<Item = usize>>(keys: I) -> Self {
        let mut set = Self::EMPTY;
        keys.into_iter().for_each(|key| set.insert(key));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyPrefix;

    fn resources(names: &[&str]) -> Vec<Resource> {
        names.iter().map(|name| Resource::parse(&KeyPrefix::default(), name).unwrap()).collect()
    }

    #[test]
    fn several_resources_are_sorted_and_differ() {
        let claim = Claim::many(resources(&["c", "a", "b"])).unwrap();
        assert_eq!(claim, Claim::many(resources(&["b", "c", "a"])).unwrap());
        assert_eq!((claim.name(), claim.first().name()), ("a, b, c", "a"));
        assert_eq!(Claim::many(resources(&["a", "b", "a"])), Err(resources(&["a"]).remove(0)));
    }

    #[test]
    fn a_set_of_keys_has_each_place() {
        let all = KeySet::first(KEYS_MAX);
        assert_eq!(all.iter().count(), KEYS_MAX);
        let some: KeySet = [0, 7, KEYS_MAX - 1].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 7, KEYS_MAX - 1]);
        assert!(!all.without(some).contains(7) && all.without(some).contains(8));
        assert!(some.without(all).is_empty());
        let names: Vec<String> = (0..KEYS_MAX).map(|i| format!("{i:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let claim = Claim::many(resources(&names)).unwrap();
        assert_eq!(claim.of(some).map(Resource::name).collect::<Vec<_>>(), ["00", "07", "63"]);
        assert_eq!(claim.all(), all);
    }
}
