//! A release that a node has to hear of, until it has, or until the TTL has made it needless.

use super::connection::Epoch;
use crate::types::{Moment, Resource, Token, Ttl, Wake};

/// What is known of the command that may have planted the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetStatus {
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
    pub(crate) set_status: SetStatus,
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
        match self.set_status {
            SetStatus::Unanswered(planted) if planted != epoch => {
                self.set_status = SetStatus::Stray;
                self.expires = now + self.ttl.as_duration();
            }
            SetStatus::Answered | SetStatus::Unanswered(_) | SetStatus::Stray => {}
        }
    }

    /// Whether an answer to this release, on the connection that it was prepared for, settles it.
    pub(crate) fn is_settled_by_an_answer(&self) -> bool {
        match self.set_status {
            SetStatus::Answered | SetStatus::Unanswered(_) => true,
            SetStatus::Stray => false,
        }
    }

    /// To be called when the node refused it on the connection that it was prepared for. The command that may have
    /// planted the key is over by then, too: the key ends by itself a TTL from now at the latest.
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
    use crate::types::KeyPrefix;
    use std::time::Duration;

    pub(in crate::node) fn release(set_status: SetStatus, expires: Moment) -> Release {
        Release {
            resource: Resource::parse(&KeyPrefix::default(), "r").unwrap(),
            token: Token::new("me", 7),
            set_status,
            wake: Wake::Next,
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

    /// A node that refused it went on to be asked for as long as the connection lived.
    #[test]
    fn a_release_that_was_refused_ends_with_the_key() {
        let mut release = release(SetStatus::Unanswered(OLD), at(10));
        release.prepare(OLD, at(1));
        release.handle_refusal(at(2));
        assert!(release.is_needed(at(11)));
        assert!(!release.is_needed(at(12)));
    }
}
