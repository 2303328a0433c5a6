//! Keys that stayed on a node without a holder for longer than an attempt and its rollback take.

use std::collections::BTreeMap;
use std::ops::Range;

use redlock_testing::history::{LeftKey, Verdict, check_left_keys};

use super::super::crew;
use super::super::log::{Hit, Log, Visit};
use super::super::plan::Act;
use super::promise::Promise;
use super::{client_hits, nanos};

/// The number of keys listed at most. A client with a leak leaks at every attempt.
const LISTED: usize = 100;

pub(super) fn check(log: &Log, promise: &Promise) -> Verdict {
    let visits: BTreeMap<&str, &Visit> = log
        .clients
        .iter()
        .flat_map(|client| &client.visits)
        .map(|visit| (visit.token.as_str(), visit))
        .collect();
    let left = log.seen.iter().filter_map(|((node, key, value), (first, last))| {
        // While the lock was held, the key belonged there.
        let since = visits.get(value.as_str()).map_or(*first, |visit| visit.until().max(*first));
        let unheld = since..*last;
        let lasted = unheld.end.saturating_sub(unheld.start) > nanos(promise.release_within);
        let is_leak = lasted && !is_excused(log, promise, *node, value, &unheld);
        is_leak.then(|| LeftKey { node: log.node_label(*node), resource: key.clone() })
    });
    let mut left: Vec<LeftKey> = left.chain(log.left.iter().cloned()).take(LISTED).collect();
    left.dedup();
    // No holds are passed, because none of these keys had a holder at that time.
    check_left_keys(&[], &left)
}

/// Whether the release could not reach the node: the client was killed or paused, or the node was faulty.
fn is_excused(log: &Log, promise: &Promise, node: usize, value: &str, unheld: &Range<u64>) -> bool {
    let client = (0..log.clients.len()).find(|client| crew::is_owner(*client, value));
    let Some(client) = client else { return true };
    // Clients need a while to reconnect to a node.
    let aftermath = nanos(Promise::RECONNECT);
    let meets = |hit: &Hit| {
        let over = hit.healed_at.unwrap_or(u64::MAX / 2) + aftermath;
        hit.at <= unheld.end && unheld.start <= over
    };
    let node_was_hit = log.hits.iter().any(|hit| match &hit.act {
        Act::Node { node: hit_node, nemesis } => {
            *hit_node == node && meets(hit) && promise.keeps_away(nemesis)
        }
        Act::Client { .. } => false,
    });
    let stood_still = client_hits(log).any(|(paused, hit)| paused == client && meets(hit));
    node_was_hit || stood_still || log.is_of_killed(value)
}
