//! When our wall clock counts as right. The nodes' clocks are the standard, because ours is one machine's and theirs
//! are several.
//!
//! Two questions have two rules:
//!
//! - A wrong clock that *proposes* a token uses up numbers, and a refused proposal is a lock that nobody gets.
//!   [`skew`] therefore refuses only a clock that is certainly far off.
//! - A wrong clock that *removes* old tokens lets the next lock have a lower token, and a token that is kept costs
//!   100 bytes for a while. [`is_confirmed`] therefore accepts only a clock that is certainly right.

use std::time::Duration;

use super::{NodeSet, Quorum};
use crate::types::NodeId;

/// How far `ours` is, at least, from the median of the clocks of each list of nodes, for proposing a token. With an even
/// number of clocks, the distance is that from the nearer of the two in the middle.
///
/// A clock that is not known counts as equal to ours. Without it, a minority of wrong clocks could be the majority of
/// those that are known, and would turn an outage, which passes, into an error that stays.
pub(crate) fn skew(quorum: Quorum, clocks: &[(NodeId, u64)], ours: u64) -> Duration {
    let of_list = |nodes: NodeSet| {
        let known = clocks.iter().filter(|(node, _)| nodes.contains(*node)).map(|(_, clock)| *clock);
        let mut all: Vec<u64> = known.collect();
        all.resize(nodes.len(), ours);
        all.sort_unstable();
        let (lower, upper) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Duration::from_micros(ours.abs_diff(ours.clamp(lower, upper)))
    };
    quorum.lists().map(|list| of_list(list.nodes())).max().unwrap_or_default()
}

/// Whether a quorum of the nodes' clocks is within `max` of `ours`, for removing tokens. If so, the median of all
/// nodes of a list is within `max` as well, whatever the clocks of the unmet nodes are. The median of the met nodes is
/// not enough: if one right and one wrong clock are known, both are the middle.
pub(crate) fn is_confirmed(
    quorum: Quorum,
    clocks: impl IntoIterator<Item = (NodeId, u64)>,
    ours: u64,
    max: Duration,
) -> bool {
    let is_near = |clock| Duration::from_micros(ours.abs_diff(clock)) <= max;
    let near: NodeSet =
        clocks.into_iter().filter(|(_, clock)| is_near(*clock)).map(|(node, _)| node).collect();
    quorum.is_met_by(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use proptest::prelude::*;

    const MAX: Duration = Duration::from_micros(60);

    fn of(nodes: usize) -> Quorum {
        Quorum::new(nodes, QuorumSize::Majority).unwrap()
    }

    /// The clocks of the first nodes.
    fn first(clocks: impl IntoIterator<Item = u64>) -> Vec<(NodeId, u64)> {
        clocks.into_iter().enumerate().map(|(i, clock)| (NodeId(i), clock)).collect()
    }

    #[test]
    fn fewer_clocks_than_a_quorum_say_nothing() {
        assert_eq!(skew(of(3), &first([5_000]), 0), Duration::ZERO);
        assert!(!is_confirmed(of(3), first([5_000]), 5_000, MAX));
        assert!(!is_confirmed(of(5), first([5_000, 5_000]), 5_000, MAX));
    }

    #[test]
    fn a_wrong_clock_is_confirmed_by_no_wrong_node_alone() {
        let (right, wrong) = (1_000, 900_000);
        assert_eq!(skew(of(3), &first([right, wrong]), wrong), Duration::ZERO, "as good as the other");
        assert!(!is_confirmed(of(3), first([right, wrong]), wrong, MAX));
        assert!(!is_confirmed(of(3), first([right, wrong]), right, MAX));
        assert!(!is_confirmed(of(3), first([right, wrong, right]), wrong, MAX));
        assert!(is_confirmed(of(3), first([right, wrong, right]), right, MAX));
        assert!(is_confirmed(of(1), first([right]), right, MAX));
    }

    #[test]
    fn the_bound_belongs_to_what_is_near() {
        assert!(
            is_confirmed(of(1), first([1_000]), 1_060, MAX)
                && is_confirmed(of(1), first([1_060]), 1_000, MAX)
        );
        assert!(
            !is_confirmed(of(1), first([1_000]), 1_061, MAX)
                && !is_confirmed(of(1), first([1_061]), 1_000, MAX)
        );
        assert_eq!(skew(of(1), &first([1_000]), 1_061), Duration::from_micros(61));
        assert_eq!(skew(of(3), &first([0, 1_000, 9_000]), 1_007), Duration::from_micros(7));
        assert_eq!(skew(of(4), &first([1_000, 0, 9_000, 2_000]), 1_500), Duration::ZERO);
    }

    /// The bug: the median was that of the known clocks.
    #[test]
    fn a_minority_of_wrong_clocks_never_refuses_a_right_one() {
        let (right, wrong) = (1_000, 900_000);
        assert_eq!(skew(of(5), &first([wrong, wrong, right]), right), Duration::ZERO);
        assert_eq!(skew(of(5), &first([right, right, right]), wrong), Duration::from_micros(wrong - right));
        assert_eq!(skew(of(3), &first([right, right]), wrong), Duration::from_micros(wrong - right));
    }

    proptest! {
        /// The unmet nodes may have any clocks.
        #[test]
        fn a_clock_is_refused_only_if_it_is_far_from_the_median_of_all_nodes(
            all in prop::collection::vec(0u64..400, 1..8),
            met in 0usize..8,
            ours in 0u64..400,
        ) {
            let met = first(all.iter().copied().take(met));
            prop_assert!(skew(of(all.len()), &met, ours) <= skew(of(all.len()), &first(all.clone()), ours));
        }

        /// The unmet nodes may have any clocks.
        #[test]
        fn a_confirmed_clock_is_near_the_median_of_all_nodes(
            all in prop::collection::vec(0u64..400, 1..8),
            met in 0usize..8,
            ours in 0u64..400,
        ) {
            let quorum = of(all.len());
            let met = all.iter().copied().take(met);
            if is_confirmed(quorum, first(met), ours, MAX) {
                let mut sorted = all.clone();
                sorted.sort_unstable();
                for median in [sorted[(all.len() - 1) / 2], sorted[all.len() / 2]] {
                    prop_assert!(ours.abs_diff(median) <= 60, "{ours} {all:?}");
                }
                prop_assert!(skew(quorum, &first(all.clone()), ours) <= MAX);
            }
        }
    }
}
