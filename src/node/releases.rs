//! Releases: one is repeated until the node has answered, or until the TTL has made it needless.

use super::connection::Epoch;
use crate::types::{Claim, KeySet, Moment, Token, Ttl};

/// The fate of the command that may have set the key, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetStatus {
    /// The node has answered the command, so a release that is sent now comes after it.
    Answered,
    /// The command was sent on this connection and not answered. A release on the same connection certainly comes
    /// after it.
    Unanswered(Epoch),
    /// The command may still be pending in an abandoned connection, and may run at any time until `expires`. The
    /// release is repeated until then, even after an answer.
    Stray,
}

/// Removes the keys of a claim that still have this token.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) claim: Claim,
    pub(crate) token: Token,
    pub(crate) set_status: SetStatus,
    /// The keys for which the next waiter is notified.
    pub(crate) notify: KeySet,
    /// How long the key lives at most after it was set.
    pub(crate) ttl: Ttl,
    /// When the key has expired, if it exists now.
    pub(crate) expires: Moment,
}

impl Release {
    /// Updates the release before it is sent on the connection of `epoch`. A command of an older connection, which a
    /// stopped node has not read yet, may run now that the node is back. Its key then lives for a TTL from now.
    pub(crate) fn prepare(&mut self, epoch: Epoch, now: Moment) {
        match self.set_status {
            SetStatus::Unanswered(planted) if planted != epoch => {
                self.set_status = SetStatus::Stray;
                self.expires = now + self.ttl.as_duration();
            }
            SetStatus::Answered | SetStatus::Unanswered(_) | SetStatus::Stray => {}
        }
    }

    /// Whether an answer on the connection for which the release was prepared settles the release.
    pub(crate) fn is_settled_by_an_answer(&self) -> bool {
        match self.set_status {
            SetStatus::Answered | SetStatus::Unanswered(_) => true,
            SetStatus::Stray => false,
        }
    }

    /// Updates the release after the node has refused it on the connection for which it was prepared. The command
    /// that may have set the key has been executed by then as well, so the key expires within a TTL from now.
    pub(super) fn handle_refusal(&mut self, now: Moment) {
        match self.set_status {
            SetStatus::Unanswered(_) => {
                self.set_status = SetStatus::Answered;
                self.expires = now + self.ttl.as_duration();
            }
            SetStatus::Answered | SetStatus::Stray => {}
        }
    }

    pub(super) fn is_needed(&self, now: Moment) -> bool {
        match self.set_status {
            SetStatus::Unanswered(_) => true,
            SetStatus::Answered | SetStatus::Stray => now < self.expires,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{KeyPrefix, Resource};
    use std::time::Duration;

    pub(in crate::node) fn release(set_status: SetStatus, expires: Moment) -> Release {
        Release {
            claim: Claim::Exclusive { key: Resource::parse(&KeyPrefix::default(), "r").unwrap() },
            token: Token::new("me", 7),
            set_status,
            notify: KeySet::first(1),
            ttl: Ttl::from_duration(Duration::from_secs(10)),
            expires,
        }
    }

    pub(in crate::node) fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    const OLD: Epoch = Epoch::FIRST;

    #[test]
    fn on_the_connection_of_its_set_an_answer_settles_it() {
        let mut release = release(SetStatus::Unanswered(OLD), at(10));
        release.prepare(OLD, at(1));
        assert!(release.is_settled_by_an_answer());
    }

    /// The bug: a node that refused a release was asked again for as long as the connection lived.
    #[test]
    fn a_release_that_was_refused_ends_with_the_key() {
        let mut release = release(SetStatus::Unanswered(OLD), at(10));
        release.prepare(OLD, at(1));
        release.handle_refusal(at(2));
        assert!(release.is_needed(at(11)));
        assert!(!release.is_needed(at(12)));
    }
}
