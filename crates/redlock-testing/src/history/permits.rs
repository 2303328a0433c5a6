//! Checks that a semaphore never has more holders than permits.

use super::section::{Section, by_resource, check_form};
use super::verdict::{OVERLAP_LIMIT, Verdict, Violation};

/// Judges the holders of semaphores with this number of permits. Here a section's resource is the semaphore, whatever
/// its slot.
///
/// At no instant more than `permits` validity windows of a resource overlap. Reports each section that was acquired
/// while there were as many holders already, with these holders, up to [`OVERLAP_LIMIT`] in total. Takes O(n log n + n *
/// permits).
pub fn check_permits(sections: &[Section], permits: usize) -> Verdict {
    let mut found = Vec::new();
    for sections in by_resource(sections).values() {
        let mut holders: Vec<&Section> = Vec::new();
        for later in sections.iter().filter(|section| !section.window().is_empty()) {
            holders.retain(|earlier| earlier.window().end > later.acquired_at);
            if holders.len() >= permits && found.len() < OVERLAP_LIMIT {
                let holders = holders.iter().copied().cloned().collect();
                found.push(Violation::TooMany { permits, holders, later: (*later).clone() });
            }
            holders.push(later);
        }
    }
    Verdict::new(sections.len(), check_form(sections).chain(found))
}
