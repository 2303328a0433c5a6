//! One client's hold on one resource.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::verdict::{Violation, seconds};

/// A stretch of time in which a client believed that it held a resource. All times are nanoseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Section {
    /// Who held it; any text that tells clients apart.
    pub client: String,
    /// What was held. Of a semaphore, the slot: the semaphore itself has several holders.
    pub resource: String,
    /// Whether others may hold it at the same time.
    pub sharing: Sharing,
    /// Before the call that acquired it.
    pub requested_at: u64,
    /// After that call returned.
    pub acquired_at: u64,
    /// Until when the guard promised it, after the last renewal.
    pub deadline: u64,
    /// Before the call that released it, or when it was known to be lost. `None` when the client did neither: then
    /// it is held until the deadline.
    pub ended_at: Option<u64>,
    /// The guard's fencing token, if it has one.
    pub fencing_token: Option<u64>,
}

/// Whether a hold excludes others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// It excludes all others: a mutex, a writer, a leader, one slot of a semaphore.
    #[default]
    Exclusive,
    /// It excludes exclusive ones only: a reader.
    Shared,
}

impl Section {
    /// The validity window: from `acquired_at` to the earlier of `deadline` and `ended_at`, that not included. It is
    /// empty when the section was past its deadline when it was recorded, which is no violation: the client was
    /// paused, and its guard says so.
    pub fn window(&self) -> Range<u64> {
        let end = self.ended_at.map_or(self.deadline, |ended_at| ended_at.min(self.deadline));
        self.acquired_at..end
    }
}

impl fmt::Display for Section {
    /// As a part of a sentence: `a from 0.000000010 s to 0.000000020 s`, with the token if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.window();
        write!(f, "{} from {} to {}", self.client, seconds(start), seconds(end))?;
        match self.fencing_token {
            Some(token) => write!(f, " with token {token}"),
            None => Ok(()),
        }
    }
}

/// The sections of each resource, in the order of their acquisition.
pub(super) fn by_resource(sections: &[Section]) -> BTreeMap<&str, Vec<&Section>> {
    let mut resources: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in sections {
        resources.entry(&section.resource).or_default().push(section);
    }
    for sections in resources.values_mut() {
        sections.sort_by_key(|section| section.acquired_at);
    }
    resources
}

/// Sections whose times are in an order that no client can have seen.
pub(super) fn check_form(sections: &[Section]) -> impl Iterator<Item = Violation> {
    let is_wrong = |section: &&Section| {
        section.acquired_at < section.requested_at
            || section.ended_at.is_some_and(|end| end < section.acquired_at)
    };
    sections.iter().filter(is_wrong).map(|section| Violation::Misrecorded { section: section.clone() })
}
