//! The name of a lock, and the key that it makes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{INTERNAL_PREFIX, KeyPrefix, internal_key};

/// Longest resource name in bytes. Each name becomes a Redis key on every node and takes memory there.
const RESOURCE_BYTES_MAX: usize = 512;

/// What is locked: clients wait for it in one queue, and its fencing tokens grow. The Redis key of a lock is the
/// client's prefix and the name, without further changes. Resources are equal if their keys are.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    key: Arc<str>,
    prefix_bytes: usize,
    /// The keys of the slots of a semaphore.
    slots: Option<Arc<[Arc<str>]>>,
}

/// The key of a semaphore holds its number of permits while a permit is held.
const SEMAPHORE: &str = "semaphore:";
/// The key of a slot: this, its number, and the key that a mutex of the name has.
const SLOT: &str = "slot:";

impl Resource {
    /// Checks the name and the key that it makes.
    ///
    /// # Errors
    ///
    /// Returns the rule that the name breaks.
    pub(crate) fn parse(prefix: &KeyPrefix, name: &str) -> Result<Self, &'static str> {
        if name.is_empty() {
            return Err("must not be empty");
        }
        if name.len() > RESOURCE_BYTES_MAX {
            return Err("must be at most 512 bytes long");
        }
        if name.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if name.starts_with(INTERNAL_PREFIX) {
            return Err("must not begin with `redlock-quorum:`, which is kept for the library's own keys");
        }
        let prefix = prefix.as_str();
        let key = format!("{prefix}{name}");
        if key.starts_with(INTERNAL_PREFIX) {
            return Err(
                "must not make, behind the `key_prefix`, a key that begins with `redlock-quorum:`, which is \
                        kept for the library's own keys",
            );
        }
        Ok(Self { key: key.into(), prefix_bytes: prefix.len(), slots: None })
    }

    /// The name without the prefix, as users write it.
    pub(crate) fn name(&self) -> &str {
        &self.key[self.prefix_bytes..]
    }

    /// The Redis key of the lock. Internal keys name the resource by it, too.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The semaphore of this name, with these slots.
    pub(crate) fn semaphore(&self, slots: impl Iterator<Item = usize>) -> Self {
        let slot = |number| internal_key(&format!("{SLOT}{number}:{}", self.key)).into();
        let key = internal_key(&format!("{SEMAPHORE}{}", self.key)).into();
        let prefix_bytes = INTERNAL_PREFIX.len() + SEMAPHORE.len() + self.prefix_bytes;
        Self { key, prefix_bytes, slots: Some(slots.map(slot).collect()) }
    }

    /// The keys of the slots of a semaphore; none for another resource.
    pub(crate) fn slots(&self) -> &[Arc<str>] {
        self.slots.as_deref().unwrap_or(&[])
    }

    /// The slot of this number, as a lock of its own.
    pub(crate) fn slot(&self, number: usize) -> Self {
        let key = Arc::clone(&self.slots()[number]);
        let prefix_bytes = key.len() - self.name().len();
        Self { key, prefix_bytes, slots: None }
    }
}

/// The number of the slot of this key, and the key that a mutex of the semaphore's name has; `None` for other keys.
pub(crate) fn slot_of(key: &str) -> Option<(usize, &str)> {
    let (number, key) = key.strip_prefix(INTERNAL_PREFIX)?.strip_prefix(SLOT)?.split_once(':')?;
    Some((number.parse().ok()?, key))
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names_are_checked() {
        let longest = "x".repeat(RESOURCE_BYTES_MAX);
        for good in ["a", "invoice:42", "größe/7", " ", "redlock:x", "Redlock-quorum:x", longest.as_str()] {
            assert!(Resource::parse(&KeyPrefix::default(), good).is_ok(), "{good:?}");
        }
        let too_long = "x".repeat(RESOURCE_BYTES_MAX + 1);
        for bad in ["", "a\nb", "\0", "redlock-quorum:node", too_long.as_str()] {
            assert!(Resource::parse(&KeyPrefix::default(), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefix_and_name_together_make_no_internal_key() {
        for (prefix, name) in [("redlock-", "quorum:node"), ("r", "edlock-quorum:"), ("redlock-quorum", ":x")]
        {
            assert!(
                Resource::parse(&KeyPrefix::parse(prefix).unwrap(), name).is_err(),
                "{prefix:?} {name:?}"
            );
        }
        for (prefix, name) in [("redlock-", "x"), ("redlock:", "redlock:x"), ("redlock-quorum", "x:")] {
            assert!(Resource::parse(&KeyPrefix::parse(prefix).unwrap(), name).is_ok(), "{prefix:?} {name:?}");
        }
    }

    #[test]
    fn a_semaphore_has_a_key_for_each_slot() {
        let prefix = KeyPrefix::parse("app:").unwrap();
        let plain = Resource::parse(&prefix, "a:1").unwrap();
        let semaphore = plain.semaphore(0..2);
        assert_eq!((semaphore.name(), semaphore.key()), ("a:1", "redlock-quorum:semaphore:app:a:1"));
        let slot = semaphore.slot(1);
        assert_eq!((slot.name(), slot.key()), ("a:1", "redlock-quorum:slot:1:app:a:1"));
        assert_eq!(slot_of(slot.key()), Some((1, plain.key())));
        for other in [plain.key(), semaphore.key(), "redlock-quorum:slot:x:a", "redlock-quorum:slot:1"] {
            assert_eq!(slot_of(other), None, "{other}");
        }
        assert_eq!(semaphore, plain.semaphore(0..9), "one wait queue, whatever each client says");
        assert_ne!(semaphore, plain);
    }
}
