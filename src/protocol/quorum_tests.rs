use proptest::prelude::*;

use super::*;

#[test]
fn any_two_quorums_intersect_and_bounds_are_kept() {
    for nodes in 1..=NODES_MAX {
        let majority = Quorum::new(nodes, QuorumSize::Majority).unwrap();
        assert!(2 * majority.needed() > nodes, "two majorities of {nodes} meet");
        assert!(2 * (majority.needed() - 1) <= nodes, "and it is the smallest such");
        for quorum in 0..=nodes + 1 {
            let result = Quorum::new(nodes, QuorumSize::Exactly(quorum));
            assert_eq!(result.is_ok(), 2 * quorum > nodes && quorum <= nodes, "{quorum} of {nodes}");
        }
    }
}

#[test]
fn known_sizes() {
    for (nodes, needed, spare) in
        [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (6, 4, 2), (7, 4, 3)]
    {
        let quorum = Quorum::new(nodes, QuorumSize::Majority).unwrap();
        assert_eq!((quorum.needed(), quorum.spare()), (needed, spare), "{nodes} nodes");
    }
    assert_eq!(Quorum::new(0, QuorumSize::Majority), Err(QuorumError::NoNodes));
    assert_eq!(
        Quorum::new(32, QuorumSize::Majority),
        Err(QuorumError::TooManyNodes { nodes: 32, max: NODES_MAX })
    );
}

/// From the nodes 0, 1, 2 to 2, 3, 4.
#[test]
fn a_joint_quorum_is_a_quorum_of_each_list() {
    let quorum = joint(3, QuorumSize::Majority, [2, 3, 4], QuorumSize::Majority);
    for (nodes, is_met) in [
        (&[2, 0, 3][..], true),
        (&[0, 1, 3, 4], true),
        (&[0, 1, 2], false),
        (&[2, 3, 4], false),
        (&[0, 3, 4], false),
    ] {
        assert_eq!(quorum.is_met_by(set(nodes)), is_met, "{nodes:?}");
    }
    assert_eq!((quorum.nodes(), quorum.needed(), quorum.spare()), (5, 3, 1));
}

fn joint(
    present: usize,
    size: QuorumSize,
    next: impl IntoIterator<Item = usize>,
    next_size: QuorumSize,
) -> Quorum {
    let present = Quorum::new(present, size).unwrap();
    present.with_next(next.into_iter().map(NodeId).collect(), next_size).unwrap()
}

fn set(nodes: &[usize]) -> NodeSet {
    nodes.iter().copied().map(NodeId).collect()
}

/// The present list is the first `n` nodes, the next one any set of up to 8 nodes; quorums from the majority up.
fn joints() -> impl Strategy<Value = Quorum> {
    (1usize..=6, 1u32..256, 0usize..3, 0usize..3).prop_map(|(n, next, above, next_above)| {
        // Without a gap: every node is on one of the lists.
        let next: Vec<_> = (0..8).filter(|i| next >> i & 1 == 1).collect();
        let only_next = next.iter().filter(|i| **i >= n).count();
        let next: Vec<_> = next.iter().copied().filter(|i| *i < n).chain(n..n + only_next).collect();
        let size = |n: usize, above: usize| QuorumSize::Exactly((n / 2 + 1 + above).min(n));
        let next_size = size(next.len(), next_above);
        joint(n, size(n, above), next, next_size)
    })
}

fn subsets(quorum: Quorum) -> impl Iterator<Item = NodeSet> {
    let n = quorum.nodes();
    (0u32..1 << n).map(move |mask| (0..n).filter(|i| mask >> i & 1 == 1).map(NodeId).collect())
}

proptest! {
    /// Clients of the present list alone, of both, and of the next list alone: only the first and the last may miss
    /// each other.
    #[test]
    fn a_joint_quorum_meets_every_quorum_of_either_list(quorum in joints()) {
        for both in subsets(quorum).filter(|nodes| quorum.is_met_by(*nodes)) {
            for list in quorum.lists() {
                for one in subsets(quorum).filter(|nodes| list.is_met_by(*nodes)) {
                    prop_assert!(both.intersection(one) != NodeSet::EMPTY, "{both:?} {one:?}");
                }
            }
        }
    }

    #[test]
    fn the_smallest_quorum_and_the_failures_that_are_always_survived(quorum in joints()) {
        let smallest = subsets(quorum).filter(|nodes| quorum.is_met_by(*nodes)).map(NodeSet::len).min();
        prop_assert_eq!(smallest, Some(quorum.needed()));
        let fatal = subsets(quorum).filter(|nodes| !quorum.is_met_without(*nodes)).map(NodeSet::len).min();
        prop_assert_eq!(fatal, Some(quorum.spare() + 1));
    }

    #[test]
    fn the_highest_value_is_what_the_best_nodes_that_are_enough_have(
        quorum in joints(),
        values in prop::collection::vec(prop::option::of(0u64..20), 14),
    ) {
        let best = subsets(quorum)
            .filter(|nodes| quorum.is_met_by(*nodes))
            .filter_map(|nodes| nodes.iter().map(|node| values[node.0]).min().flatten())
            .max();
        prop_assert_eq!(quorum.highest_of_enough(|node| values[node.0]), best);
    }
}
