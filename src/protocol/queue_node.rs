//! The queue node: the node that keeps the queue of a lock.

use super::{NodeSet, Quorum};
use crate::types::NodeId;

/// The order of all nodes for one lock, computed from the lock's key and the nodes' ids (rendezvous hashing). The
/// order is the same for all clients, whatever names they give to the nodes. The queue is on the first node in this
/// order that a client can use. When a node fails, its locks spread over the others.
pub(crate) struct QueueOrder(u64);

/// A node's position in the order; the highest rank comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u64);

impl QueueOrder {
    pub(crate) fn new(key: &str) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        Self(fnv(OFFSET, key))
    }

    /// FNV-1a of both texts, finished by SplitMix64, because FNV alone does not mix the last bytes well.
    pub(crate) fn rank(&self, node_id: &str) -> Rank {
        let mut hash = fnv(self.0, node_id);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rank(hash ^ (hash >> 31))
    }
}

fn fnv(hash: u64, text: &str) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // The byte 255 occurs in no text, so it marks the end of one.
    text.bytes().chain([0xff]).fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// Whether a client can use all nodes to wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    All,
    /// Some nodes are unreachable, do not answer, or cannot notify the client.
    Some,
}

/// Returns the nodes on which a release notifies, out of the nodes that it reaches.
///
/// While the client can use all nodes, that is the first node in the order, where clients normally wait. Otherwise
/// other clients may see other failures and wait elsewhere, and the release notifies on the first nodes that it
/// reaches, until the other nodes are not enough for a quorum: n - q + 1 nodes of one list. A waiter that can still win
/// lacks fewer nodes, so its queue is on one of them.
///
/// An example with n = 5, q = 3 and the order C A E B D: a waiter that cannot use C and A waits on E. A release that
/// reaches all nodes notifies on C, A and E.
///
/// Failures that only the waiter sees are found by the waiter's own checks.
pub(crate) fn nodes_to_notify(
    quorum: Quorum,
    health: Health,
    reached: impl Iterator<Item = (Rank, NodeId)>,
) -> NodeSet {
    match health {
        Health::All => return reached.max().map(|(_, node)| node).into_iter().collect(),
        Health::Some => {}
    }
    let mut ranked: Vec<_> = reached.collect();
    ranked.sort_unstable_by(|one, other| other.cmp(one));
    let mut nodes = NodeSet::EMPTY;
    for (_, node) in ranked {
        if !quorum.is_met_without(nodes) {
            break;
        }
        nodes.insert(node);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;

    const IDS: [&str; 5] =
        ["3f2a9c1d00aa45be", "00000000000000a1", "a7d3e5f100000000", "9b1c2d3e4f506172", "00000000000000a2"];

    fn ranked<'a>(key: &'a str, nodes: &'a [usize]) -> impl Iterator<Item = (Rank, NodeId)> + 'a {
        let order = QueueOrder::new(key);
        nodes.iter().map(move |node| (order.rank(IDS[*node]), NodeId(*node)))
    }

    fn among(key: &str, nodes: &[usize]) -> usize {
        ranked(key, nodes).max().unwrap().1.0
    }

    #[test]
    fn the_order_of_the_configuration_does_not_matter() {
        for i in 0..100 {
            let key = format!("job-{i}");
            assert_eq!(among(&key, &[0, 1, 2, 3, 4]), among(&key, &[3, 1, 4, 0, 2]));
        }
    }

    #[test]
    fn locks_are_spread_and_those_of_a_lost_node_too() {
        let (mut kept, mut taken_over) = ([0; 5], [0; 5]);
        for i in 0..1000 {
            let key = format!("job-{i}");
            let node = among(&key, &[0, 1, 2, 3, 4]);
            kept[node] += 1;
            let without_two = among(&key, &[0, 1, 3, 4]);
            if node == 2 {
                taken_over[without_two] += 1;
            } else {
                assert_eq!(without_two, node, "only the locks of the lost node move");
            }
        }
        assert!(kept.iter().all(|locks| (150..250).contains(locks)), "{kept:?}");
        assert!([0, 1, 3, 4].iter().all(|node| taken_over[*node] > 25), "{taken_over:?}");
    }

    #[test]
    fn while_all_is_well_a_release_calls_where_everybody_waits() {
        let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
        let all = [0, 1, 2, 3, 4];
        for i in 0..20 {
            let key = format!("job-{i}");
            let called: Vec<_> = nodes_to_notify(quorum, Health::All, ranked(&key, &all)).iter().collect();
            assert_eq!(called, [NodeId(among(&key, &all))]);
        }
    }

    /// If the waiter's queue is on a node that the releaser reaches, the release notifies there, whatever other nodes
    /// the waiter cannot use or the releaser cannot reach.
    #[test]
    fn when_something_is_wrong_a_release_calls_wherever_somebody_may_wait() {
        let subsets = |mask: u32| (0..5).filter(|node| mask & (1 << node) != 0).collect::<Vec<usize>>();
        let mut left_out = 0;
        for size in 3..=5 {
            let quorum = Quorum::new(5, QuorumSize::Exactly(size)).unwrap();
            for i in 0..20 {
                let key = format!("job-{i}");
                for mask in (0..32_u32).filter(|mask| mask.count_ones() as usize >= size) {
                    let queue = NodeId(among(&key, &subsets(mask)));
                    for reached in (0..32_u32).filter(|reached| reached & (1 << queue.0) != 0) {
                        let called = nodes_to_notify(quorum, Health::Some, ranked(&key, &subsets(reached)));
                        assert!(called.contains(queue), "{key} {mask:b} {reached:b}");
                        left_out += reached.count_ones() as usize - called.len();
                    }
                }
            }
        }
        assert!(left_out > 0, "and not everywhere");
    }
}
