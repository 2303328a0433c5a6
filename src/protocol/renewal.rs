//! Renewals: when a lease that is kept alive is renewed, and by which nodes. Renewals go in cycles, each of which
//! ends when a quorum has renewed.

use std::time::Duration;

use super::{NodeSet, Quorum, Vote};
use crate::types::{Moment, NodeId, Ttl};

/// The part of the TTL after which a lease is renewed. A third leaves two more chances before the deadline.
const PERIOD_PART: u32 = 3;
/// The pause before nodes that have not renewed are asked again, as a part of the TTL and with an upper bound. A node
/// that is back is then found soon, and a node that is still unreachable costs only the check.
const PAUSE_PART: u32 = 20;
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Renewals are due at multiples of this time, or of an eighth of the period if that is less. Renewals that are due
/// together are sent together, in one command for many locks. Renewing early by up to 16 ms does no harm.
const GRID_MAX: Duration = Duration::from_millis(16);
const GRID_PART: u32 = 8;

/// The renewals of one lease.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    quorum: Quorum,
    ttl: Ttl,
    stage: Stage,
    /// When the current cycle began. Answers to commands that were sent earlier do not count in this cycle.
    since: Moment,
    /// When nodes were last asked in this cycle.
    asked: Moment,
    /// The answers of the nodes in the current cycle.
    renewed: NodeSet,
    denied: NodeSet,
    /// Nodes that were asked, in this cycle or before, and have not answered. They are not asked again, so an
    /// unresponsive node has at most one renewal of a lease to answer.
    in_flight: NodeSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A quorum has renewed, or the lease is new. The next cycle begins at `until`.
    Resting {
        until: Moment,
    },
    Asking,
}

impl Renewal {
    /// The renewals of a lease of `ttl` that counts from `acquired`. `spread`, from 0 to 1, places the first renewal
    /// within the second half of the first period, so that leases that are acquired together are not renewed
    /// together.
    pub(crate) fn new(quorum: Quorum, ttl: Ttl, acquired: Moment, spread: f64) -> Self {
        let half = period(ttl) / 2;
        let mut this = Self {
            quorum,
            ttl,
            stage: Stage::Asking,
            since: acquired,
            asked: acquired,
            renewed: NodeSet::EMPTY,
            denied: NodeSet::EMPTY,
            in_flight: NodeSet::EMPTY,
        };
        this.rest(acquired + half + half.mul_f64(spread.clamp(0.0, 1.0)));
        this
    }

    /// When `node` was asked, if it has not answered yet. An unresponsive node may have been asked earlier than that.
    pub(crate) fn unanswered_since(&self, node: NodeId) -> Option<Moment> {
        self.in_flight.contains(node).then_some(self.since)
    }

    /// Returns the nodes to ask now. The caller reports each node that it has asked by
    /// [`handle_sent`](Self::handle_sent). A node that cannot be asked is returned again by the next call.
    pub(crate) fn nodes_to_ask(&mut self, now: Moment) -> NodeSet {
        match self.stage {
            Stage::Resting { until } if now < until => return NodeSet::EMPTY,
            Stage::Resting { .. } => {
                self.stage = Stage::Asking;
                self.since = now;
                (self.renewed, self.denied) = (NodeSet::EMPTY, NodeSet::EMPTY);
            }
            Stage::Asking => {}
        }
        self.asked = now;
        self.quorum.all().without(self.renewed).without(self.denied).without(self.in_flight)
    }

    pub(crate) fn handle_sent(&mut self, node: NodeId) {
        self.in_flight.insert(node);
    }

    /// Handles the answer of `node` to a renewal that was queued after `sent_at`. Returns the nodes that lack our
    /// key and on which the key may be set again, because a quorum has just shown that the lease is alive. Each node
    /// is returned once in a cycle.
    pub(crate) fn handle_answer(&mut self, node: NodeId, sent_at: Moment, vote: Vote) -> NodeSet {
        self.in_flight.remove(node);
        if sent_at < self.since {
            return NodeSet::EMPTY;
        }
        match vote {
            Vote::Granted => self.renewed.insert(node),
            Vote::Denied => self.denied.insert(node),
            Vote::Unknown => {}
        }
        match (self.stage, vote) {
            (Stage::Asking, _) if self.quorum.is_met_by(self.renewed) => {
                self.rest(self.since + period(self.ttl));
                self.denied
            }
            (Stage::Resting { .. }, Vote::Denied) => [node].into_iter().collect(),
            (Stage::Asking, _) | (Stage::Resting { .. }, Vote::Granted | Vote::Unknown) => NodeSet::EMPTY,
        }
    }

    /// When to check the lease again, as far as renewals are concerned.
    pub(crate) fn next_look(&self) -> Moment {
        match self.stage {
            Stage::Resting { until } => until,
            Stage::Asking => self.asked + (self.ttl.as_duration() / PAUSE_PART).min(PAUSE_MAX),
        }
    }

    fn rest(&mut self, until: Moment) {
        let grid = (period(self.ttl) / GRID_PART).min(GRID_MAX);
        // At least one grid step lies between two cycles, so that a lease is not due again as soon as it is renewed.
        self.stage = Stage::Resting { until: until.align_down(grid).max(self.since + grid) };
    }
}

fn period(ttl: Ttl) -> Duration {
    ttl.as_duration() / PERIOD_PART
}

/// A fraction from 0 to 1 for a lease number. Multiples of the golden ratio modulo 1 are spread evenly for any number
/// of leases, so renewals do not crowd.
pub(crate) fn spread(number: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    #[expect(clippy::cast_precision_loss, reason = "a spread needs no more than 53 bits")]
    let parts = number.wrapping_mul(GOLDEN) as f64;
    parts / 2_f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;

    const TTL_MS: u64 = 12_000;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    fn nodes<const N: usize>(nodes: [usize; N]) -> NodeSet {
        nodes.into_iter().map(NodeId).collect()
    }

    /// Five nodes; the lease was acquired at 0 and is first due at `2_000 + 2_000 * spread` ms.
    fn renewal(spread: f64) -> Renewal {
        let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
        Renewal::new(quorum, Ttl::from_duration(Duration::from_millis(TTL_MS)), at(0), spread)
    }

    fn ask(renewal: &mut Renewal, now: Moment) -> NodeSet {
        let asked = renewal.nodes_to_ask(now);
        asked.iter().for_each(|node| renewal.handle_sent(node));
        asked
    }

    #[test]
    fn leases_taken_together_are_renewed_apart_and_never_later_than_a_third_of_the_ttl() {
        for (spread, due) in [(0.0, 2_000), (0.5, 3_000), (1.0, 4_000)] {
            let next = renewal(spread).next_look();
            assert!(next <= at(due) && at(due - 16) < next, "{next:?}");
        }
    }

    #[test]
    fn nothing_is_asked_before_it_is_due() {
        assert_eq!(renewal(1.0).nodes_to_ask(at(3_900)), NodeSet::EMPTY);
        assert_eq!(renewal(1.0).nodes_to_ask(at(4_000)), nodes([0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_quorum_ends_the_cycle_and_the_next_is_a_period_later() {
        let mut renewal = renewal(1.0);
        ask(&mut renewal, at(4_000));
        for node in 0..3 {
            assert_eq!(renewal.handle_answer(NodeId(node), at(4_000), Vote::Granted), NodeSet::EMPTY);
        }
        let next = renewal.next_look();
        assert!(next <= at(8_000) && at(7_984) <= next, "{next:?}");
        assert_eq!(renewal.nodes_to_ask(at(7_900)), NodeSet::EMPTY);
        assert_eq!(
            ask(&mut renewal, next),
            nodes([0, 1, 2]),
            "3 and 4 have not answered the first cycle yet"
        );
    }

    #[test]
    fn a_node_that_hangs_has_one_renewal_to_answer_and_is_asked_again_after_that() {
        let mut renewal = renewal(1.0);
        ask(&mut renewal, at(4_000));
        assert_eq!(ask(&mut renewal, at(4_500)), NodeSet::EMPTY);
        renewal.handle_answer(NodeId(4), at(4_000), Vote::Unknown);
        assert_eq!(ask(&mut renewal, at(5_000)), nodes([4]), "the others are not asked twice");
    }

    #[test]
    fn only_what_a_quorum_renewed_heals() {
        let mut renewal = renewal(1.0);
        ask(&mut renewal, at(4_000));
        let mut answer = |node, vote| renewal.handle_answer(NodeId(node), at(4_000), vote);
        assert_eq!(answer(0, Vote::Denied), NodeSet::EMPTY);
        assert_eq!(answer(1, Vote::Granted), NodeSet::EMPTY);
        assert_eq!(answer(2, Vote::Granted), NodeSet::EMPTY);
        assert_eq!(answer(3, Vote::Granted), nodes([0]), "the third of five");
        assert_eq!(answer(4, Vote::Denied), nodes([4]), "late, in the same cycle");
    }

    #[test]
    fn fewer_never_heal() {
        let mut renewal = renewal(1.0);
        ask(&mut renewal, at(4_000));
        for (node, vote) in
            [Vote::Granted, Vote::Granted, Vote::Denied, Vote::Unknown, Vote::Denied].into_iter().enumerate()
        {
            assert_eq!(renewal.handle_answer(NodeId(node), at(4_000), vote), NodeSet::EMPTY);
        }
        assert_eq!(ask(&mut renewal, at(4_500)), nodes([3]), "who denied has lost the key for good");
    }

    #[test]
    fn an_answer_to_an_earlier_cycle_counts_for_nothing_in_this_one() {
        let mut renewal = renewal(1.0);
        ask(&mut renewal, at(4_000));
        for node in 0..3 {
            renewal.handle_answer(NodeId(node), at(4_000), Vote::Granted);
        }
        ask(&mut renewal, at(8_000));
        for node in 0..2 {
            renewal.handle_answer(NodeId(node), at(8_000), Vote::Granted);
        }
        assert_eq!(renewal.handle_answer(NodeId(3), at(4_000), Vote::Granted), NodeSet::EMPTY);
        assert_eq!(ask(&mut renewal, at(8_100)), nodes([3]), "not won: it is asked in this cycle, too");
    }
}
