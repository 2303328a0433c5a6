//! The deadline: until when a lease is exclusively ours. Acquiring, extending and losing a lease share one rule.

use std::time::Duration;

use super::Quorum;
use crate::types::{Moment, NodeId, Ttl};

/// How far the clocks of a node and of the client may drift apart during one TTL.
///
/// The drift is `ttl * factor + floor`. The factor covers the clocks' different rates; the floor covers Redis' expiry
/// granularity of 1 ms and our rounding. 0.01 and 2 ms are the constants of the reference implementation and its
/// descendants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drift {
    pub(crate) factor: f64,
    pub(crate) floor: Duration,
}

impl Drift {
    /// The drift of one TTL, rounded up, to the disadvantage of our lease.
    pub(crate) fn of(self, ttl: Ttl) -> Duration {
        // Up to 2^53 ms, which is 285,000 years, the TTL is exact in a double.
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let relative = (ttl.as_millis() as f64 * self.factor * 1e6).ceil() as u64;
        Duration::from_nanos(relative).saturating_add(self.floor)
    }

    /// How long after `sent_at` a grant holds for certain: `ttl - drift`.
    pub(crate) fn validity(self, ttl: Ttl) -> Duration {
        ttl.as_duration().saturating_sub(self.of(ttl))
    }
}

/// Models hash states that hold leases, so two drifts are equal when their bits are.
#[cfg(test)]
impl Eq for Drift {}

#[cfg(test)]
impl std::hash::Hash for Drift {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.factor.to_bits(), self.floor).hash(state);
    }
}

/// For each node, until when the node certainly holds our token.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(crate) struct Deadlines {
    quorum: Quorum,
    nodes: Box<[Holding]>,
}

/// A node's last known answer about our token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holding {
    /// The node holds our token until this time.
    Until(Moment),
    /// The node does not hold our token, by its answer to a command that was queued after this time.
    Denied(Moment),
}

impl Deadlines {
    pub(crate) fn new(quorum: Quorum) -> Self {
        let nobody_asked = Holding::Denied(Moment::from_nanos(0));
        Self { quorum, nodes: vec![nobody_asked; quorum.nodes()].into() }
    }

    /// Handles a grant or renewal by `node`, to a command that was queued after `sent_at`. Never shortens the node's
    /// deadline, and never undoes a denial of a later command, because answers may be handled out of order.
    pub(crate) fn raise(&mut self, node: NodeId, sent_at: Moment, validity: Duration) {
        let slot = &mut self.nodes[node.0];
        match *slot {
            Holding::Denied(later) if sent_at < later => {}
            Holding::Denied(_) => *slot = Holding::Until(sent_at + validity),
            Holding::Until(deadline) => *slot = Holding::Until(deadline.max(sent_at + validity)),
        }
    }

    /// Handles a denial by `node` of a renewal that was queued after `sent_at`: the node no longer holds our token.
    pub(crate) fn clear(&mut self, node: NodeId, sent_at: Moment) {
        self.nodes[node.0] = Holding::Denied(sent_at);
    }

    pub(crate) fn of_node(&self, node: NodeId) -> Option<Moment> {
        self.nodes[node.0].deadline()
    }

    /// The deadline of the lease: the q-th largest of the nodes' deadlines, because until then at least q nodes hold
    /// our token. With two lists, the earlier of their two. `None` if too few nodes hold the token.
    pub(crate) fn of_lease(&self) -> Option<Moment> {
        self.quorum.highest_of_enough(|node| self.of_node(node))
    }
}

impl Holding {
    fn deadline(self) -> Option<Moment> {
        match self {
            Self::Until(deadline) => Some(deadline),
            Self::Denied(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use proptest::prelude::*;

    const DRIFT: Drift = Drift { factor: 0.01, floor: Duration::from_millis(2) };

    fn ttl(ms: u64) -> Ttl {
        Ttl::from_duration(Duration::from_millis(ms))
    }

    #[test]
    fn the_drift_of_known_ttls() {
        for (ms, drift_us) in [(10, 2_100), (1_000, 12_000), (10_000, 102_000), (20_000, 202_000)] {
            assert_eq!(DRIFT.of(ttl(ms)), Duration::from_micros(drift_us), "{ms} ms");
        }
    }

    #[test]
    fn validity_never_underflows() {
        // Some libraries return 18446744073709551397 ms here.
        let wide = Drift { factor: 0.09, floor: Duration::from_secs(1) };
        assert_eq!(wide.validity(ttl(10)), Duration::ZERO);
    }

    #[test]
    fn fewer_than_q_nodes_make_no_deadline() {
        let mut deadlines = Deadlines::new(Quorum::new(3, QuorumSize::Majority).unwrap());
        assert_eq!(deadlines.of_lease(), None);
        deadlines.raise(NodeId(0), Moment::from_nanos(5), Duration::from_nanos(10));
        assert_eq!(deadlines.of_lease(), None);
        deadlines.raise(NodeId(2), Moment::from_nanos(6), Duration::from_nanos(10));
        assert_eq!(deadlines.of_lease(), Some(Moment::from_nanos(15)));
        deadlines.clear(NodeId(0), Moment::from_nanos(7));
        assert_eq!(deadlines.of_lease(), None);
    }

    /// Two tasks of ours asked the node, and the answer to the earlier command was handled last.
    #[test]
    fn a_grant_from_before_a_denial_does_not_count() {
        let mut deadlines = Deadlines::new(Quorum::new(1, QuorumSize::Majority).unwrap());
        deadlines.clear(NodeId(0), Moment::from_nanos(7));
        deadlines.raise(NodeId(0), Moment::from_nanos(6), Duration::from_nanos(10));
        assert_eq!(deadlines.of_lease(), None);
        deadlines.raise(NodeId(0), Moment::from_nanos(8), Duration::from_nanos(10));
        assert_eq!(deadlines.of_lease(), Some(Moment::from_nanos(18)), "it was given the key again");
    }

    proptest! {
        /// The lease's deadline is the latest time that some subset of q nodes guarantees, and no later.
        #[test]
        fn the_deadline_is_what_the_best_q_nodes_guarantee(
            nodes in prop::collection::vec(prop::option::of(0u64..1_000_000), 1..=7),
            above_majority in 0usize..4,
        ) {
            let n = nodes.len();
            let q = (n / 2 + 1 + above_majority).min(n);
            let quorum = Quorum::new(n, QuorumSize::Exactly(q)).unwrap();
            let mut deadlines = Deadlines::new(quorum);
            for (i, nanos) in nodes.iter().enumerate() {
                if let Some(nanos) = nanos {
                    deadlines.raise(NodeId(i), Moment::from_nanos(*nanos), Duration::ZERO);
                }
            }
            // In every subset of q nodes, all hold the token until the earliest of their deadlines.
            let best = (0u32..1 << n)
                .filter(|subset| subset.count_ones() as usize == q)
                .filter_map(|subset| {
                    (0..n).filter(|i| subset >> i & 1 == 1).map(|i| nodes[i]).min().flatten()
                })
                .max();
            prop_assert_eq!(deadlines.of_lease().map(Moment::as_nanos), best);
        }

        #[test]
        fn raising_never_shortens(sent in prop::collection::vec((0u64..1000, 0u64..1000), 1..20)) {
            let mut deadlines = Deadlines::new(Quorum::new(1, QuorumSize::Majority).unwrap());
            let mut highest = None;
            for (at, validity) in sent {
                deadlines.raise(NodeId(0), Moment::from_nanos(at), Duration::from_nanos(validity));
                highest = highest.max(Some(Moment::from_nanos(at + validity)));
                prop_assert_eq!(deadlines.of_lease(), highest);
            }
        }

        /// A node's clock is fast and the client's clock is slow, together by at most the factor. The key still
        /// exists at the client's deadline.
        #[test]
        fn the_deadline_comes_before_the_key_is_gone(
            ms in 10u64..60_000,
            factor in 0.0f64..0.1,
            share in 0.0f64..=1.0,
        ) {
            let drift = Drift { factor, floor: Duration::from_millis(2) };
            // A node that is fast by `node_rate` drops the key after ttl / (1 + node_rate) real seconds. A client
            // that is slow by `client_rate` reaches its deadline after validity / (1 - client_rate).
            let (node_rate, client_rate) = (factor * share, factor * (1.0 - share));
            let key_lives = ms as f64 / (1.0 + node_rate);
            let deadline = drift.validity(ttl(ms)).as_secs_f64() * 1e3 / (1.0 - client_rate);
            prop_assert!(deadline <= key_lives, "deadline {deadline} ms, key lives {key_lives} ms");
        }

        #[test]
        fn drift_grows_with_the_ttl_and_is_at_least_its_floor(ms in 10u64..1_000_000, factor in 0.0f64..0.1) {
            let drift = Drift { factor, floor: Duration::from_millis(2) };
            prop_assert!(drift.of(ttl(ms)) >= drift.floor);
            prop_assert!(drift.of(ttl(ms + 1)) >= drift.of(ttl(ms)));
            prop_assert!(drift.validity(ttl(ms)) + drift.of(ttl(ms)) >= ttl(ms).as_duration());
        }
    }
}
