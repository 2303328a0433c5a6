//! The domain's types: names, tokens, times.

mod claim;
mod found;
mod guarding;
mod leader;
mod login;
mod published;
mod resource;
pub(crate) mod sync;
mod waiting;

use std::fmt::{self, Write as _};
use std::ops::Add;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use claim::{Claim, KEYS_MAX, KeySet, Slot};
pub(crate) use found::FoundValue;
pub use guarding::QuarantineCause;
pub(crate) use guarding::{Eviction, Guarding};
pub(crate) use leader::{LeaderLabel, leader_label};
pub use login::Login;
pub(crate) use published::Published;
pub(crate) use resource::{Resource, slot_of};
pub(crate) use waiting::{Manner, Ticket, Turn, Wake};

/// Longest prefix of keys in bytes: it is part of every command.
const PREFIX_BYTES_MAX: usize = 64;
/// Beginning of the library's internal keys and channels on every node. Not `redlock:`, which RedLock.net and pottery
/// put before the names of their locks.
pub(crate) const INTERNAL_PREFIX: &str = "redlock-quorum:";
/// Longest owner label in bytes: it is part of every token, and so of every command.
pub(crate) const OWNER_BYTES_MAX: usize = 128;

/// The beginning of the keys of a client's locks; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPrefix(Arc<str>);

impl KeyPrefix {
    /// The bounds that [`parse`](Self::parse) checks, for error messages.
    pub(crate) const BOUND: &'static str =
        "at most 64 bytes without control characters, not beginning with `redlock-quorum:`";

    /// Returns `None` when `text` is out of bounds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let taken = text.len() <= PREFIX_BYTES_MAX
            && !text.chars().any(char::is_control)
            // With such a prefix all locks would have the names of internal keys.
            && !text.starts_with(INTERNAL_PREFIX);
        taken.then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The internal key or channel called `name`, the same for all clients, whatever their prefix. The lock `x` of a client
/// with the prefix `app:` is the lock `app:x` of a client without a prefix, and one lock has one sequence of fencing
/// tokens and one wait queue. A node's record is about all locks of the node.
pub(crate) fn internal_key(name: &str) -> String {
    // Not by `format!`, which would grow the text three times.
    [INTERNAL_PREFIX, name].concat()
}

/// The owner value of one attempt: an owner label and 128 random bits.
///
/// A new token is drawn for **every attempt**, so that a late command of an earlier attempt can never act on a later
/// one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Token(Arc<str>);

impl Token {
    pub(crate) fn new(owner: &str, random: u128) -> Self {
        let mut token = String::with_capacity(owner.len() + 33);
        // Writing to a String cannot fail.
        let _ = write!(token, "{owner}:{random:032x}");
        Self(token.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Time to live of a lease, in whole milliseconds, as Redis counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ttl(u64);

impl Ttl {
    /// The smallest TTL. Below it, the drift and a round trip leave no useful validity.
    pub(crate) const MIN: Duration = Duration::from_millis(10);

    /// Rounds down to whole milliseconds, because a shorter lease is the safe side.
    pub(crate) fn from_duration(ttl: Duration) -> Self {
        Self(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn as_millis(self) -> u64 {
        self.0
    }

    pub(crate) fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Position of a node in the configured list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// An instant of a clock that never steps and, on Linux, counts suspend: nanoseconds since its own origin.
///
/// `std::time::Instant` does not advance while the machine is suspended (rust-lang/rust#87906): after a resume, a
/// laptop or a virtual machine would take a lock of an hour ago for valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// A moment later than any deadline.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The last multiple of `grid` that is not after `self`; `self` when `grid` is zero.
    pub(crate) fn align_down(self, grid: Duration) -> Self {
        let grid = u64::try_from(grid.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self(self.0 - self.0 % grid)
    }

    /// The moment `duration` before `self`, but not before the clock's origin.
    pub(crate) fn ago(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `self` until `later`; zero when `later` has passed.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// The source of time and randomness. One implementation reads the machine; a simulation passes its own.
pub(crate) trait Ambient: Send + Sync + 'static {
    /// The clock of every deadline.
    fn now(&self) -> Moment;
    /// Wall clock in microseconds since 1970, read for fencing tokens only.
    fn wall_micros(&self) -> u64;
    /// 128 bits that nobody can guess, for tokens.
    fn random(&self) -> u128;
    /// A timer on the clock of every deadline. Must be called within a tokio runtime.
    fn timer(&self) -> Box<dyn Timer>;
}

/// A timer for one moment at a time.
pub(crate) trait Timer: Send {
    /// Ready once `at` has come, and not before. A call with another moment replaces the previous one.
    fn poll_reached(&mut self, at: Moment, cx: &mut Context<'_>) -> Poll<()>;
}

/// A number that grows with every grant of a resource. The protected resource checks the token: a resource that refuses
/// every token lower than the highest it has seen is safe from holders that write late.
///
/// A token is unique among all grants of its resource, and larger than the token of every grant that had ended before
/// the attempt for this token began. Tokens have gaps, and tokens of different resources cannot be compared. A token is
/// at most 2^52.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    pub(crate) const fn new(token: u64) -> Self {
        Self(token)
    }

    /// The number of the token. 0 is never issued: a lock taken without fencing has the token 0, which a resource that
    /// checks tokens refuses as soon as it has seen any other.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

/// Whether a node's acknowledged writes survive a crash of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// All of them: append-only file, with `appendfsync always` also while the file is rewritten.
    Durable,
    /// Not all of them.
    Weak,
    /// Unknown, because the client may not use `CONFIG GET` on the node.
    NotTold,
}

/// A secret text, which `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_with_the_prefix() {
        let prefix = KeyPrefix::parse("größe:").unwrap();
        let resource = Resource::parse(&prefix, "job").unwrap();
        assert_eq!((resource.name(), resource.key()), ("job", "größe:job"));
        for good in ["", "redlock:", "redlock:app:"] {
            assert!(KeyPrefix::parse(good).is_some(), "{good:?}");
        }
        for bad in ["a\n", "redlock-quorum:", "redlock-quorum:x", &"x".repeat(PREFIX_BYTES_MAX + 1)] {
            assert_eq!(KeyPrefix::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ttl_rounds_down() {
        assert_eq!(Ttl::from_duration(Duration::from_micros(10_999)).as_millis(), 10);
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "***");
    }
}
