//! A section: one client's hold on one resource.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::verdict::{Violation, seconds};

/// A period in which a client believed that it held a resource. All times are nanoseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Section {
    /// The holder: any text that tells clients apart.
    pub client: String,
    /// The resource. For a semaphore, the slot, because the semaphore itself has several holders.
    pub resource: String,
    /// Whether others may hold the resource at the same time.
    pub sharing: Sharing,
    /// Time before the call that acquired the lock.
    pub requested_at: u64,
    /// Time after that call returned.
    pub acquired_at: u64,
    /// The guard's deadline after the last renewal.
    pub deadline: u64,
    /// Time before the call that released the lock, or when the client knew of its loss. `None` when the client did
    /// neither: the lock then counts as held until the deadline.
    pub ended_at: Option<u64>,
    /// The guard's fencing token, if there is one.
    pub fencing_token: Option<u64>,
}

/// Whether a hold excludes others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// The hold excludes all others: a mutex, a writer, a leader, one slot of a semaphore.
    #[default]
    Exclusive,
    /// The hold excludes only exclusive ones: a reader.
    Shared,
}

impl Section {
    /// The validity window: from `acquired_at` up to, but without, the earlier of `deadline` and `ended_at`. The window
    /// is empty when the section was recorded after its deadline. That is no violation: the client was paused, and its
    /// guard is no longer valid.
    pub fn window(&self) -> Range<u64> {
        let end = self.ended_at.map_or(self.deadline, |ended_at| ended_at.min(self.deadline));
        self.acquired_at..end
    }
}

impl fmt::Display for Section {
    /// Prints a part of a sentence: `a from 0.000000010 s to 0.000000020 s`, and the token if there is one.
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

/// Reports sections whose times are in an impossible order.
pub(super) fn check_form(sections: &[Section]) -> impl Iterator<Item = Violation> {
    let is_wrong = |section: &&Section| {
        section.acquired_at < section.requested_at
            || section.ended_at.is_some_and(|end| end < section.acquired_at)
    };
    sections.iter().filter(is_wrong).map(|section| Violation::Misrecorded { section: section.clone() })
}
