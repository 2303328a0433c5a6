//! Releases that a node has to hear of, until it has, or until the TTL has made them needless.

use std::collections::VecDeque;

use super::connection::Epoch;
use crate::types::{Moment, Resource, Token, Ttl, Wake};

/// How many unanswered releases one node keeps. Beyond it the oldest is forgotten: its key ends with its TTL.
/// About 20 MB at 150 bytes each, reached by a client that drops 100,000 locks while a node is away.
pub(super) const RELEASES_MAX: usize = 131_072;

/// What is known of the command that may have planted the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planting {
    /// The node answered it: whatever is sent now comes later.
    Answered,
    /// It was sent on this connection and not answered. A release on the same connection is surely behind it.
    Unanswered(Epoch),
    /// It may still sit in an abandoned connection, and run at any time until `expires`; so the release is
    /// repeated until then, even when it is answered.
    Stray,
}

/// Remove this key if it is still this token's.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) resource: Resource,
    pub(crate) token: Token,
    pub(crate) planting: Planting,
    pub(crate) wake: Wake,
    /// Longest time that the key lives once it is planted.
    pub(crate) ttl: Ttl,
    /// When the key is gone by itself, if it is there now.
    pub(crate) expires: Moment,
}

impl Release {
    /// To be called before it is sent on a connection of this epoch. A command of an older connection, one that a
    /// stopped node has not read yet, may run now that the node is back: its key then lives for a TTL from now.
    pub(crate) fn prepare(&mut self, epoch: Epoch, now: Moment) {
        match self.planting {
            Planting::Unanswered(planted) if planted != epoch => {
                self.planting = Planting::Stray;
                self.expires = now + self.ttl.as_duration();
            }
            Planting::Answered | Planting::Unanswered(_) | Planting::Stray => {}
        }
    }

    /// Whether an answer to this release, on the connection that it was prepared for, settles it.
    pub(crate) fn is_settled_by_an_answer(&self) -> bool {
        match self.planting {
            Planting::Answered | Planting::Unanswered(_) => true,
            Planting::Stray => false,
        }
    }

    fn is_needed(&self, now: Moment) -> bool {
        match self.planting {
            Planting::Unanswered(_) => true,
            Planting::Answered | Planting::Stray => now < self.expires,
        }
    }
}

/// Releases that wait to be sent (again).
#[derive(Default)]
pub(super) struct Waiting(VecDeque<Release>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, release: Release) {
        if self.0.len() == RELEASES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(release);
    }

    /// All that are still needed.
    pub(super) fn take(&mut self, now: Moment) -> impl Iterator<Item = Release> + use<> {
        std::mem::take(&mut self.0).into_iter().filter(move |release| release.is_needed(now))
    }

    /// For a client that is gone: drops whatever would be over by now if the node had been there all along.
    pub(super) fn drop_expired(&mut self, now: Moment) {
        self.0.retain(|release| now < release.expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyPrefix;
    use std::time::Duration;

    fn release(planting: Planting, expires: Moment) -> Release {
        Release {
            resource: Resource::parse(&KeyPrefix::default(), "r").unwrap(),
            token: Token::new("me", 7),
            planting,
            wake: Wake::Next,
            ttl: Ttl::from_duration(Duration::from_secs(10)),
            expires,
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    const OLD: Epoch = Epoch::FIRST;

    #[test]
    fn an_answered_set_needs_no_release_after_its_ttl() {
        let mut waiting = Waiting::default();
        waiting.push(release(Planting::Answered, at(10)));
        assert_eq!(waiting.take(at(10)).count(), 0);
        assert!(waiting.is_empty());
    }

    /// A SET that a stopped node has not read runs when the node goes on, however long after it was sent.
    #[test]
    fn an_unanswered_set_is_remembered_until_a_ttl_after_the_reconnect() {
        let mut waiting = Waiting::default();
        waiting.push(release(Planting::Unanswered(OLD), at(10)));
        let mut taken: Vec<_> = waiting.take(at(1000)).collect();
        taken[0].prepare(OLD.next(), at(1000));
        assert!(!taken[0].is_settled_by_an_answer());
        assert_eq!(taken[0].expires, at(1010));
        waiting.push(taken.remove(0));
        assert_eq!(waiting.take(at(1009)).count(), 1);
    }

    #[test]
    fn on_the_connection_of_its_set_an_answer_settles_it() {
        let mut release = release(Planting::Unanswered(OLD), at(10));
        release.prepare(OLD, at(1));
        assert!(release.is_settled_by_an_answer());
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let mut waiting = Waiting::default();
        for i in 0..=RELEASES_MAX as u64 {
            waiting.push(release(Planting::Answered, at(10 + i)));
        }
        let kept: Vec<_> = waiting.take(at(0)).collect();
        assert_eq!(kept.len(), RELEASES_MAX);
        assert_eq!(kept[0].expires, at(11), "the oldest is forgotten");
    }
}
