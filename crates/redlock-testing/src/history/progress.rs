//! Checks that waiters acquire locks after the faults, and that no key stays behind.

use std::collections::BTreeMap;
use std::ops::Range;

use super::section::Section;
use super::verdict::{Verdict, Violation};

/// A client that asked for a resource and did not get it. Times are nanoseconds of the sections' clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// The client.
    pub client: String,
    /// The resource.
    pub resource: String,
    /// Time before the call that was to acquire the lock.
    pub requested_at: u64,
    /// Time when the client stopped waiting, or when the recording ended.
    pub left_at: u64,
}

/// A lock's key that was found on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftKey {
    /// The node, by any name.
    pub node: String,
    /// The resource: the key without the configured prefix.
    pub resource: String,
}

/// Judges liveness: where a client waits, some client acquires the lock within `bound` nanoseconds.
///
/// Counted are clients that waited for longer than `bound` after `healed_at`: those among `waiters`, and those among
/// `sections` that acquired late. For each of them, some client must have acquired the resource within `bound` of the
/// beginning of the wait, or of `healed_at` if that is later. The bound must exceed the longest hold of a client, plus
/// the TTL where clients crash, plus the longest quarantine where nodes restart.
pub fn check_progress(sections: &[Section], waiters: &[Waiter], healed_at: u64, bound: u64) -> Verdict {
    let late = sections.iter().map(|section| Waiter {
        client: section.client.clone(),
        resource: section.resource.clone(),
        requested_at: section.requested_at,
        left_at: section.acquired_at,
    });
    let waiters: Vec<Waiter> = late.chain(waiters.iter().cloned()).collect();
    check_progress_of(&waiters, sections, healed_at..u64::MAX, bound)
}

/// As [`check_progress`], but only for the given waits, which may include successful ones. Of each wait, only the part
/// within `well` counts: the time in which the waiters had no faults.
pub fn check_progress_of(waiters: &[Waiter], sections: &[Section], well: Range<u64>, bound: u64) -> Verdict {
    let mut acquisitions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for section in sections {
        acquisitions.entry(&section.resource).or_default().push(section.acquired_at);
    }
    acquisitions.values_mut().for_each(|instants| instants.sort_unstable());

    let stuck = waiters.iter().filter_map(|waiter| {
        let since = waiter.requested_at.max(well.start);
        let until = since.saturating_add(bound);
        let instants = acquisitions.get(waiter.resource.as_str()).map_or(&[][..], Vec::as_slice);
        let next = instants.partition_point(|acquired_at| *acquired_at <= since);
        let somebody_won = instants.get(next).is_some_and(|acquired_at| *acquired_at <= until);
        let waited = waiter.left_at.min(well.end) > until;
        (waited && !somebody_won).then(|| Violation::Stuck { waiter: waiter.clone(), since, bound })
    });
    Verdict::new(sections.len(), stuck)
}

/// Judges cleanliness: no key outlives its release.
///
/// `left` are the keys on the nodes, such as those of [`LocalCluster::keys`](crate::LocalCluster::keys). They must be
/// read after every call of every client has returned, and after all nodes were reachable for long enough to repeat
/// interrupted releases. A key is allowed only if one of its sections has not ended.
pub fn check_left_keys(sections: &[Section], left: &[LeftKey]) -> Verdict {
    let is_held = |key: &&LeftKey| {
        sections.iter().any(|section| section.resource == key.resource && section.ended_at.is_none())
    };
    let outlived = left.iter().filter(|key| !is_held(key)).map(|key| Violation::KeyLeft { key: key.clone() });
    Verdict::new(sections.len(), outlived)
}
