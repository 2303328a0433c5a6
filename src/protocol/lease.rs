//! A lock that we hold, or tried to: what each node said, and until when it counts.

use super::deadline::Deadlines;
use super::{Drift, NodeSet, Quorum, Vote};
use crate::types::{Moment, NodeId, Ttl};

/// What is known of our key on one node from the last command that could have planted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum KeyState {
    /// No such command was ever queued: there is nothing to remove.
    NotSent,
    /// It was queued, and the answer is not known: it may run at any time.
    Unknown,
    Granted,
    /// The node answered no: there is nothing of ours to remove.
    Denied,
    /// One was queued on a connection that is gone, and may yet run, whatever the node has answered since.
    Stray,
}

/// Which connection the key is planted on, compared with that of the command before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Same,
    Another,
}

/// The state of one attempt and of the lease that it became.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(crate) struct Lease {
    deadlines: Deadlines,
    key_states: Box<[KeyState]>,
    /// Nodes that have said that they lack our key, and have not been given it since.
    denied: NodeSet,
    /// Nodes that may have forgotten locks when the acquire was sent: their grants to it prove nothing.
    quarantined: NodeSet,
    drift: Drift,
    expired: bool,
}

impl Lease {
    pub(crate) fn new(quorum: Quorum, drift: Drift) -> Self {
        Self {
            deadlines: Deadlines::new(quorum),
            key_states: vec![KeyState::NotSent; quorum.nodes()].into(),
            denied: NodeSet::EMPTY,
            quarantined: NodeSet::EMPTY,
            drift,
            expired: false,
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.key_states.len()
    }

    /// An acquire was queued for `node`.
    pub(crate) fn handle_sent(&mut self, node: NodeId) {
        self.key_states[node.0] = KeyState::Unknown;
    }

    /// `node` is in quarantine: whatever it answers to the acquire, its grant does not count. It is asked all the
    /// same, so that it learns again who holds what; and a later renewal counts, for by then others have granted.
    pub(crate) fn handle_quarantined(&mut self, node: NodeId) {
        self.quarantined.insert(node);
    }

    pub(crate) fn is_quarantined(&self, node: NodeId) -> bool {
        self.quarantined.contains(node)
    }

    /// `node` answered an acquire that was queued after `sent_at`.
    pub(crate) fn handle_acquired(&mut self, node: NodeId, sent_at: Moment, ttl: Ttl, vote: Vote) {
        match vote {
            Vote::Granted => {
                self.key_states[node.0] = KeyState::Granted;
                if !self.quarantined.contains(node) {
                    self.deadlines.raise(node, sent_at, self.drift.validity(ttl));
                }
            }
            Vote::Denied => self.key_states[node.0] = KeyState::Denied,
            Vote::Unknown => {}
        }
    }

    /// `node`'s answer, known at `now`, to an extension that was queued after `sent_at`. A denial says that the
    /// node no longer holds our token; an unknown answer changes nothing: the old deadline stands.
    ///
    /// An answer that comes after the deadline never revives the lease: another client may have held it since.
    pub(crate) fn handle_extended(
        &mut self,
        node: NodeId,
        sent_at: Moment,
        ttl: Ttl,
        vote: Vote,
        now: Moment,
    ) {
        self.expired |= self.deadline(now).is_none();
        match vote {
            Vote::Granted => {
                self.deadlines.raise(node, sent_at, self.drift.validity(ttl));
                self.denied.remove(node);
            }
            Vote::Denied => {
                self.deadlines.clear(node, sent_at);
                self.denied.insert(node);
            }
            Vote::Unknown => {}
        }
    }

    /// The key is queued for `node` once more, because it has said that it lacks it.
    pub(crate) fn handle_restore_sent(&mut self, node: NodeId, connection: Connection) {
        let planted = &mut self.key_states[node.0];
        *planted = match (*planted, connection) {
            (KeyState::Stray, _) | (KeyState::Unknown, Connection::Another) => KeyState::Stray,
            (KeyState::Unknown, Connection::Same)
            | (KeyState::NotSent | KeyState::Granted | KeyState::Denied, _) => KeyState::Unknown,
        };
    }

    /// `node`'s answer, known at `now`, to a key that was queued once more after `sent_at`. As little as an
    /// extension does it revive a lease that is over.
    pub(crate) fn handle_restored(
        &mut self,
        node: NodeId,
        sent_at: Moment,
        ttl: Ttl,
        vote: Vote,
        now: Moment,
    ) {
        self.expired |= self.deadline(now).is_none();
        let known = match vote {
            Vote::Granted => {
                self.deadlines.raise(node, sent_at, self.drift.validity(ttl));
                self.denied.remove(node);
                KeyState::Granted
            }
            Vote::Denied => KeyState::Denied,
            Vote::Unknown => return,
        };
        let planted = &mut self.key_states[node.0];
        if *planted != KeyState::Stray {
            *planted = known;
        }
    }

    /// What must never be, for `make planted`.
    pub(crate) fn revive(&mut self) {
        self.expired = false;
    }

    /// What was last heard of `node`'s key.
    pub(crate) fn known_of(&self, node: NodeId, now: Moment) -> Vote {
        if self.denied.contains(node) {
            Vote::Denied
        } else if self.deadlines.of_node(node).is_some_and(|deadline| now < deadline) {
            Vote::Granted
        } else {
            Vote::Unknown
        }
    }

    /// Whether so many nodes have said that they lack our key that no quorum holds it.
    pub(crate) fn is_denied(&self) -> bool {
        self.deadlines.of_lease().is_none()
    }

    /// The instant until which the lease is exclusively ours; `None` once that has passed or too many nodes have
    /// lost our key.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        self.deadlines.of_lease().filter(|deadline| now < *deadline && !self.expired)
    }

    /// Nodes that may hold our key, with what is known of it: all but those that denied it or were never asked.
    /// A grant whose answer was lost is among them, as the Redlock specification demands. Each is named once.
    pub(crate) fn take_nodes_to_release(&mut self) -> Vec<(NodeId, KeyState)> {
        let take = |(i, planted): (usize, &mut KeyState)| match std::mem::replace(planted, KeyState::NotSent)
        {
            KeyState::NotSent | KeyState::Denied => None,
            may_be_there @ (KeyState::Unknown | KeyState::Granted | KeyState::Stray) => {
                Some((NodeId(i), may_be_there))
            }
        };
        self.key_states.iter_mut().enumerate().filter_map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use std::time::Duration;

    const DRIFT: Drift = Drift { factor: 0.01, floor: Duration::from_millis(2) };

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn ttl(ms: u64) -> Ttl {
        Ttl::from_duration(Duration::from_millis(ms))
    }

    /// Three nodes, the first two granted at 0 for 1,000 ms: deadline at 988 ms.
    fn held() -> Lease {
        let mut lease = Lease::new(Quorum::new(3, QuorumSize::Majority).unwrap(), DRIFT);
        for (node, vote) in [(0, Vote::Granted), (1, Vote::Granted), (2, Vote::Unknown)] {
            lease.handle_sent(NodeId(node));
            lease.handle_acquired(NodeId(node), at(0), ttl(1000), vote);
        }
        lease
    }

    #[test]
    fn the_deadline_counts_from_before_the_command_was_sent() {
        assert_eq!(held().deadline(at(100)), Some(at(988)));
    }

    #[test]
    fn the_deadline_itself_is_too_late() {
        assert_eq!(held().deadline(at(988)), None);
    }

    #[test]
    fn an_extension_after_the_deadline_does_not_revive_the_lease() {
        let mut lease = held();
        for node in 0..3 {
            lease.handle_extended(NodeId(node), at(980), ttl(1000), Vote::Granted, at(990));
        }
        assert_eq!(lease.deadline(at(991)), None);
    }

    #[test]
    fn the_last_answer_that_makes_a_quorum_has_to_be_in_time() {
        let mut lease = held();
        lease.handle_extended(NodeId(0), at(980), ttl(1000), Vote::Granted, at(985));
        lease.handle_extended(NodeId(1), at(980), ttl(1000), Vote::Granted, at(989));
        assert_eq!(lease.deadline(at(990)), None);
    }

    #[test]
    fn an_extension_needs_a_quorum_and_never_shortens() {
        let mut lease = held();
        lease.handle_extended(NodeId(0), at(500), ttl(1000), Vote::Granted, at(505));
        assert_eq!(lease.deadline(at(510)), Some(at(988)), "one node of three extended");
        lease.handle_extended(NodeId(1), at(500), ttl(1000), Vote::Granted, at(505));
        assert_eq!(lease.deadline(at(510)), Some(at(1488)));
        lease.handle_extended(NodeId(1), at(510), ttl(100), Vote::Granted, at(511));
        assert_eq!(lease.deadline(at(511)), Some(at(1488)), "a small extension cuts nothing");
        lease.handle_extended(NodeId(2), at(520), ttl(1000), Vote::Unknown, at(521));
        assert_eq!(lease.deadline(at(521)), Some(at(1488)), "an unknown answer changes nothing");
    }

    #[test]
    fn a_denied_extension_takes_the_node_away() {
        let mut lease = held();
        lease.handle_extended(NodeId(1), at(500), ttl(1000), Vote::Denied, at(501));
        assert_eq!(lease.deadline(at(501)), None);
    }

    #[test]
    fn a_grant_in_quarantine_counts_from_its_first_renewal_on_and_is_released() {
        let mut lease = Lease::new(Quorum::new(3, QuorumSize::Majority).unwrap(), DRIFT);
        lease.handle_quarantined(NodeId(1));
        for node in [0, 1] {
            lease.handle_sent(NodeId(node));
            lease.handle_acquired(NodeId(node), at(0), ttl(1000), Vote::Granted);
        }
        assert_eq!(lease.deadline(at(1)), None, "one of three counts");
        let mut released = lease.clone();
        let both = [(NodeId(0), KeyState::Granted), (NodeId(1), KeyState::Granted)];
        assert_eq!(released.take_nodes_to_release(), both);
        lease.handle_sent(NodeId(2));
        lease.handle_acquired(NodeId(2), at(0), ttl(1000), Vote::Granted);
        assert_eq!(lease.deadline(at(1)), Some(at(988)));
        lease.handle_extended(NodeId(1), at(500), ttl(1000), Vote::Granted, at(501));
        lease.handle_extended(NodeId(2), at(500), ttl(1000), Vote::Denied, at(501));
        assert_eq!(lease.deadline(at(501)), Some(at(988)), "nodes 0 and 1");
    }

    #[test]
    fn released_wherever_the_key_may_be() {
        let mut lease = Lease::new(Quorum::new(4, QuorumSize::Majority).unwrap(), DRIFT);
        for (node, vote) in [(0, Vote::Granted), (1, Vote::Denied), (2, Vote::Unknown)] {
            lease.handle_sent(NodeId(node));
            lease.handle_acquired(NodeId(node), at(0), ttl(1000), vote);
        }
        // Node 3 was down: nothing was ever sent.
        assert_eq!(
            lease.take_nodes_to_release(),
            [(NodeId(0), KeyState::Granted), (NodeId(2), KeyState::Unknown)]
        );
        assert_eq!(lease.take_nodes_to_release(), [], "once");
    }

    /// Node 2 answers that it has no key, and is given it again.
    fn replanted(connection: Connection, vote: Vote) -> Lease {
        let mut lease = held();
        lease.handle_extended(NodeId(2), at(500), ttl(1000), Vote::Denied, at(501));
        lease.handle_restore_sent(NodeId(2), connection);
        lease.handle_restored(NodeId(2), at(510), ttl(1000), vote, at(511));
        lease
    }

    #[test]
    fn a_replanted_key_counts_from_its_own_confirmation_on() {
        let mut lease = replanted(Connection::Same, Vote::Granted);
        assert_eq!(lease.deadline(at(512)), Some(at(988)), "one of three lives longer: not a quorum");
        lease.handle_extended(NodeId(0), at(520), ttl(1000), Vote::Denied, at(521));
        assert_eq!(lease.deadline(at(521)), Some(at(988)), "1 and 2");
        assert_eq!(replanted(Connection::Same, Vote::Unknown).known_of(NodeId(2), at(512)), Vote::Denied);
    }

    #[test]
    fn a_replanted_key_does_not_revive_the_lease() {
        let mut lease = held();
        for node in 0..3 {
            lease.handle_restore_sent(NodeId(node), Connection::Same);
            lease.handle_restored(NodeId(node), at(980), ttl(1000), Vote::Granted, at(990));
        }
        assert_eq!(lease.deadline(at(991)), None);
    }

    /// The first SET was never answered, and its connection is gone: a stopped node may run it at any time, even
    /// when it has answered the second since.
    #[test]
    fn a_stray_key_is_released_whatever_the_node_answers_later() {
        for vote in [Vote::Granted, Vote::Denied, Vote::Unknown] {
            let mut lease = replanted(Connection::Another, vote);
            assert!(lease.take_nodes_to_release().contains(&(NodeId(2), KeyState::Stray)), "{vote:?}");
        }
        let last = |vote| replanted(Connection::Same, vote).take_nodes_to_release().last().copied();
        assert_eq!(last(Vote::Granted), Some((NodeId(2), KeyState::Granted)));
        assert_eq!(last(Vote::Denied), Some((NodeId(1), KeyState::Granted)), "nothing of ours is on node 2");
    }
}
