//! The name of a lock, and the key that it makes.

use std::sync::Arc;

use super::{INTERNAL_PREFIX, KeyPrefix};

/// Longest resource name in bytes. Each name becomes a Redis key on every node and takes memory there.
const RESOURCE_BYTES_MAX: usize = 512;

/// The name of a lock, in UTF-8. The Redis key is the client's prefix and the name, without further changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    key: Arc<str>,
    prefix_bytes: usize,
}

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
        Ok(Self { key: key.into(), prefix_bytes: prefix.len() })
    }

    /// The name without the prefix, as users write it.
    pub(crate) fn name(&self) -> &str {
        &self.key[self.prefix_bytes..]
    }

    /// The Redis key of the lock. Internal keys name the resource by it, too.
    pub(crate) fn key(&self) -> &str {
        &self.key
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
}
