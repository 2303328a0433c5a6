//! The violations in a history, as types and as sentences.

use std::fmt;

use super::loss::LossNotice;
use super::progress::{LeftKey, Waiter};
use super::section::Section;
use super::writes::Write;

/// The most overlaps that one verdict lists. A broken run has as many overlaps as pairs of sections, and nobody reads
/// more than the first.
pub const OVERLAP_LIMIT: usize = 10_000;

/// The number of violations that the text of a verdict spells out.
const SHOWN: usize = 20;

/// The result of judging a history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a verdict that nobody looks at judges nothing"]
pub struct Verdict {
    sections: usize,
    pub(super) violations: Vec<Violation>,
    pub(super) excused: Vec<Violation>,
}

/// One violation in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A section's times are impossible. The recording is wrong, and nothing else in the verdict counts.
    Misrecorded {
        /// The section.
        section: Section,
    },
    /// Two clients held a resource at the same time.
    Overlap {
        /// The section that was acquired first.
        earlier: Section,
        /// The section that was acquired meanwhile.
        later: Section,
    },
    /// A semaphore had more holders than permits.
    TooMany {
        /// The number of permits.
        permits: usize,
        /// The holders when one more acquired a permit.
        holders: Vec<Section>,
        /// The section that was acquired meanwhile.
        later: Section,
    },
    /// A fencing token was given twice.
    TokenReused {
        /// The section that was acquired first.
        first: Section,
        /// The section that was acquired next.
        second: Section,
    },
    /// A fencing token is smaller than an earlier one.
    TokenNotGrown {
        /// The section with the larger token.
        earlier: Section,
        /// The section with the smaller token.
        later: Section,
        /// In what sense the one section is earlier than the other.
        order: Order,
    },
    /// A client waited, and no client acquired the lock.
    Stuck {
        /// The client that waited.
        waiter: Waiter,
        /// The later of the beginning of the wait and the end of the faults, in nanoseconds.
        since: u64,
        /// Nanoseconds within which some client had to acquire the lock.
        bound: u64,
    },
    /// A key is on a node although nobody holds the lock any more.
    KeyLeft {
        /// The key and its node.
        key: LeftKey,
    },
    /// A holder was not notified in time that it had lost the lock.
    LossLate {
        /// The notice of the loss.
        loss: LossNotice,
        /// The deadline, or the end of the standstill in which the deadline fell, in nanoseconds.
        due: u64,
        /// Nanoseconds after `due` within which the holder had to be notified.
        bound: u64,
    },
    /// A guard reported its lock as held again after it had reported the loss.
    Revived {
        /// The notice of the loss.
        loss: LossNotice,
    },
    /// The store accepted a write after a write with a larger token.
    StaleWrite {
        /// The write with the larger token.
        before: Write,
        /// The write that should have been refused.
        write: Write,
    },
}

/// In what sense one section is before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The later section was requested after the earlier one had been acquired. Tokens must grow in this order, even
    /// where pauses, early expiry or clock steps have broken exclusion.
    Requested,
    /// The window of the later section began after the window of the earlier one had ended. Tokens grow in this order
    /// as long as exclusion holds.
    Ended,
}

impl Verdict {
    pub(super) fn new(sections: usize, violations: impl IntoIterator<Item = Violation>) -> Self {
        Self { sections, violations: violations.into_iter().collect(), excused: Vec::new() }
    }

    /// Whether there is no violation.
    pub fn is_ok(&self) -> bool {
        self.violations.is_empty()
    }

    /// The violations: first wrong recordings, then overlaps, then tokens.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The violations that a breach of the assumptions excuses; see [`excusing`](Self::excusing).
    pub fn excused(&self) -> &[Violation] {
        &self.excused
    }

    /// Joins two verdicts on the same sections.
    pub fn and(mut self, other: Self) -> Self {
        let Self { sections, violations, excused } = other;
        self.sections = self.sections.max(sections);
        self.violations.extend(violations);
        self.excused.extend(excused);
        self
    }

    /// The verdict without overlaps and [`Order::Ended`], for runs with pauses beyond the TTL, early expiry or clock
    /// steps, which may cause these in a correct lock. Fencing must prevent the remaining violations.
    pub fn regardless_of_timing(mut self) -> Self {
        self.violations.retain(|violation| match violation {
            Violation::Overlap { .. }
            | Violation::TooMany { .. }
            | Violation::TokenNotGrown { order: Order::Ended, .. } => false,
            Violation::Misrecorded { .. }
            | Violation::TokenReused { .. }
            | Violation::TokenNotGrown { order: Order::Requested, .. }
            | Violation::Stuck { .. }
            | Violation::KeyLeft { .. }
            | Violation::LossLate { .. }
            | Violation::Revived { .. }
            | Violation::StaleWrite { .. } => true,
        });
        self
    }

    /// Panics unless the verdict is ok; for tests.
    ///
    /// # Panics
    ///
    /// With the verdict's text, unless the verdict is ok.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert!(self.is_ok(), "{self}");
    }
}

impl fmt::Display for Verdict {
    /// Prints one line if there is no violation, else one line for each of the first violations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sections, violations, excused: _ } = self;
        let sections = count(*sections, "section");
        if violations.is_empty() {
            return write!(f, "no violation in {sections}");
        }
        write!(f, "{} in {sections}:", count(violations.len(), "violation"))?;
        for violation in violations.iter().take(SHOWN) {
            write!(f, "\n- {violation}")?;
        }
        match violations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n- and {more} more"),
        }
    }
}

impl fmt::Display for Violation {
    /// Prints a sentence without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misrecorded { section } => write!(
                f,
                "the history is wrong: {section} on {} was requested at {}, acquired at {} and ended at {}, which \
                 must be in this order",
                section.resource,
                seconds(section.requested_at),
                seconds(section.acquired_at),
                section.ended_at.map_or("no time".to_owned(), seconds),
            ),
            Self::Overlap { earlier, later } => {
                let end = earlier.window().end.min(later.window().end);
                let overlap = seconds(end.saturating_sub(later.window().start));
                write!(f, "{earlier} and {later} both held {} for {overlap}", earlier.resource)
            }
            Self::TooMany { permits, holders, later } => {
                write!(f, "{later} held one of {permits} permits of {} beside", later.resource)?;
                holders.iter().try_for_each(|holder| write!(f, " [{holder}]"))
            }
            Self::TokenReused { first, second } => {
                write!(f, "on {}, {first} and {second} have the same fencing token", first.resource)
            }
            Self::TokenNotGrown { earlier, later, order } => {
                let order = match order {
                    Order::Requested => "was requested after the other one had been acquired",
                    Order::Ended => "began after the other one had ended",
                };
                write!(
                    f,
                    "on {}, {later} should have a larger fencing token than {earlier}: it {order}",
                    later.resource
                )
            }
            Self::Stuck { waiter, since, bound } => write!(
                f,
                "{} waited for {} from {} to {}, and nobody won it within {} of {}",
                waiter.client,
                waiter.resource,
                seconds(waiter.requested_at),
                seconds(waiter.left_at),
                seconds(*bound),
                seconds(*since),
            ),
            Self::LossLate { loss, due, bound } => write!(
                f,
                "{} lost {} at {}, was to be told within {}, and was told {} later",
                loss.client,
                loss.resource,
                seconds(*due),
                seconds(*bound),
                seconds(loss.told_at.saturating_sub(*due)),
            ),
            Self::Revived { loss } => write!(
                f,
                "{} was told at {} that it had lost {}, and held it again at {}",
                loss.client,
                seconds(loss.told_at),
                loss.resource,
                loss.valid_again_at.map_or("no time".to_owned(), seconds),
            ),
            Self::StaleWrite { before, write } => write!(
                f,
                "the store accepted the write of {} with token {} to {} after that of {} with token {}",
                write.client, write.fencing_token, write.resource, before.client, before.fencing_token,
            ),
            Self::KeyLeft { key } => {
                write!(f, "the key {} is still on node {}, but nobody holds it", key.resource, key.node)
            }
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Nanoseconds as seconds, exactly.
pub(super) fn seconds(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    format!("{}.{:09} s", nanoseconds / SECOND, nanoseconds % SECOND)
}
