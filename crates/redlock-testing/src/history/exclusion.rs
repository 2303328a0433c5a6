//! Checks that no two validity windows of one resource overlap.

use std::collections::BTreeSet;

use super::section::{Section, Sharing};
use super::verdict::Violation;

/// All overlaps among the sections of one resource, which must be in the order of their acquisition. Lazy, because
/// there may be as many overlaps as pairs.
///
/// The function sweeps through time. Exclusive and shared holders are kept apart, so that a crowd of readers costs
/// nothing.
pub(super) fn check<'a>(sections: &'a [&'a Section]) -> impl Iterator<Item = Violation> + 'a {
    let mut exclusive = Holders::default();
    let mut shared = Holders::default();
    let held = sections.iter().enumerate().filter(|(_, section)| !section.window().is_empty());
    held.flat_map(move |(index, later)| {
        let window = later.window();
        exclusive.end_until(window.start);
        shared.end_until(window.start);
        let excluded: Vec<usize> = match later.sharing {
            Sharing::Exclusive => exclusive.indices().chain(shared.indices()).collect(),
            Sharing::Shared => exclusive.indices().collect(),
        };
        match later.sharing {
            Sharing::Exclusive => exclusive.add(window.end, index),
            Sharing::Shared => shared.add(window.end, index),
        }
        excluded
            .into_iter()
            .map(|earlier| Violation::Overlap { earlier: sections[earlier].clone(), later: (*later).clone() })
    })
}

/// The holders at one instant of the sweep, in the order in which their windows end.
#[derive(Default)]
struct Holders(BTreeSet<(u64, usize)>);

impl Holders {
    fn add(&mut self, end: u64, index: usize) {
        self.0.insert((end, index));
    }

    fn end_until(&mut self, now: u64) {
        while self.0.first().is_some_and(|(end, _)| *end <= now) {
            self.0.pop_first();
        }
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(_, index)| *index)
    }
}
