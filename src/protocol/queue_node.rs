//! Which node keeps the queue of a lock.

use crate::types::NodeId;

/// The first of `nodes` in an order given by the resource and their names, so that all clients come to the same one.
/// When it fails, its locks are spread over the others (rendezvous hashing). Clients that do not come to the same node
/// wait all the same: releases call on every node.
pub(crate) fn queue_node<'a>(
    resource: &str,
    nodes: impl Iterator<Item = (NodeId, &'a str)>,
) -> Option<NodeId> {
    nodes.max_by_key(|(_, name)| weight(resource, name)).map(|(node, _)| node)
}

/// FNV-1a of both with a separator that is in no name, finished by SplitMix64: FNV alone does not mix its last bytes.
fn weight(resource: &str, node: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = resource.bytes().chain([0xff]).chain(node.bytes());
    let mut hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] =
        ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379", "10.0.0.4:6379", "10.0.0.5:6379"];

    fn among(resource: &str, nodes: &[usize]) -> Option<usize> {
        queue_node(resource, nodes.iter().map(|node| (NodeId(*node), NAMES[*node]))).map(|node| node.0)
    }

    #[test]
    fn the_order_of_the_configuration_does_not_matter() {
        for i in 0..100 {
            let resource = format!("job-{i}");
            assert_eq!(among(&resource, &[0, 1, 2, 3, 4]), among(&resource, &[3, 1, 4, 0, 2]));
        }
    }

    #[test]
    fn locks_are_spread_and_those_of_a_lost_node_too() {
        let (mut kept, mut taken_over) = ([0; 5], [0; 5]);
        for i in 0..1000 {
            let resource = format!("job-{i}");
            let node = among(&resource, &[0, 1, 2, 3, 4]).unwrap();
            kept[node] += 1;
            let without_two = among(&resource, &[0, 1, 3, 4]).unwrap();
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
    fn without_a_node_there_is_no_queue() {
        assert_eq!(among("job", &[]), None);
    }
}
