//! A lease: each node's answers to an attempt and to its renewals, and until when the lease counts.

use super::deadline::Deadlines;
use super::{Drift, NodeSet, Quorum, Vote};
use crate::types::{Moment, NodeId, Ttl};

/// The knowledge about our key on one node, from the last command that could have set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum KeyState {
    /// No such command was ever queued, so there is nothing to remove.
    NotSent,
    /// The command was queued, and its answer is not known. The command may run at any time.
    Unknown,
    Granted,
    /// The node denied, so there is nothing of ours to remove.
    Denied,
    /// A command was queued on a connection that is gone. The command may still run, whatever the node has answered
    /// since.
    Stray,
}

/// Which connection carries the command that sets the key, compared with the command before.
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
    /// Nodes that have said that they lack our key, and on which the key has not been set again since.
    denied: NodeSet,
    /// Nodes that might have forgotten locks when the acquire was sent, so that their grants prove nothing.
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

    /// `node` is in quarantine, so its grant to the acquire does not count. The node is asked all the same, so that
    /// it learns again who holds the lock. A later renewal by the node counts, because by then a quorum of others has
    /// granted.
    pub(crate) fn handle_quarantined(&mut self, node: NodeId) {
        self.quarantined.insert(node);
    }

    pub(crate) fn is_quarantined(&self, node: NodeId) -> bool {
        self.quarantined.contains(node)
    }

    /// Handles the answer of `node` to an acquire that was queued after `sent_at`.
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

    /// Handles the answer of `node`, known at `now`, to an extension that was queued after `sent_at`. A denial says
    /// that the node no longer holds our token. An unknown answer changes nothing: the old deadline stands.
    ///
    /// An answer that arrives after the deadline never revives the lease, because another client may have held the
    /// lock since.
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

    /// The command that sets the key again was queued for `node`, because the node has said that it lacks the key.
    pub(crate) fn handle_restore_sent(&mut self, node: NodeId, connection: Connection) {
        let planted = &mut self.key_states[node.0];
        *planted = match (*planted, connection) {
            (KeyState::Stray, _) | (KeyState::Unknown, Connection::Another) => KeyState::Stray,
            (KeyState::Unknown, Connection::Same)
            | (KeyState::NotSent | KeyState::Granted | KeyState::Denied, _) => KeyState::Unknown,
        };
    }

    /// Handles the answer of `node`, known at `now`, to a command that sets the key again and was queued after
    /// `sent_at`. As with an extension, the answer never revives an expired lease.
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

    /// Revives an expired lease, which must never happen; a deliberate bug for `make planted`.
    pub(crate) fn revive(&mut self) {
        self.expired = false;
    }

    /// The last known answer about our key on `node`.
    pub(crate) fn known_of(&self, node: NodeId, now: Moment) -> Vote {
        if self.denied.contains(node) {
            Vote::Denied
        } else if self.deadlines.of_node(node).is_some_and(|deadline| now < deadline) {
            Vote::Granted
        } else {
            Vote::Unknown
        }
    }

    /// Whether too many nodes have said that they lack our key for a quorum to hold it.
    pub(crate) fn is_denied(&self) -> bool {
        self.deadlines.of_lease().is_none()
    }

    /// Until when the lease is exclusively ours; `None` after that time, or if too many nodes have lost our key.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        self.deadlines.of_lease().filter(|deadline| now < *deadline && !self.expired)
    }

    /// Returns the nodes that may hold our key, with what is known of it: all nodes but those that denied it or were
    /// never asked. A node whose answer to the acquire was lost is among them, as the Redlock specification demands.
    /// Each node is returned once.
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

    /// Three nodes; the first two granted at 0 for 1,000 ms, so the deadline is at 988 ms.
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
        // Node 3 was down, so nothing was ever sent to it.
        assert_eq!(
            lease.take_nodes_to_release(),
            [(NodeId(0), KeyState::Granted), (NodeId(2), KeyState::Unknown)]
        );
        assert_eq!(lease.take_nodes_to_release(), [], "once");
    }

    /// Node 2 answers that it lacks the key, and the key is set there again.
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

    /// The first SET was never answered, and its connection is gone. A stopped node may run that SET at any time,
    /// even after it has answered the second one.
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
