//! What the assumptions promise, apart from what they do not.

use std::fmt;
use std::ops::Range;

use super::verdict::{Order, Verdict, Violation};

/// Something that exclusion rests on, see SAFETY.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assumption {
    /// A node keeps a key that it has granted until its TTL has passed. A `FLUSHALL` breaks it, and a restart without
    /// the data where no restart guard keeps the node's votes out.
    Memory,
    /// The clocks of nodes and clients run apart by less than the drift during a TTL. A step of a node's wall clock
    /// beyond it breaks it.
    Clocks,
}

/// A time in which an assumption did not hold. What it may have broken is judged apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Breach {
    /// Which one.
    pub assumption: Assumption,
    /// From when: nanoseconds of the sections' clock.
    pub from: u64,
    /// Until when leases that were granted before or meanwhile may live: the end of the breach and the longest TTL.
    pub until: u64,
}

impl Verdict {
    /// Sets apart what a breach of the assumptions may have caused in a correct lock: overlaps, and tokens that are
    /// out of the order of windows ([`Order::Ended`]), that touch the time of a breach; and a token that was given
    /// twice after nodes had forgotten their scores. What is left is what the lock promises whatever happens: tokens
    /// that grow in real-time order, losses that are told, writes that are refused.
    pub fn excusing(mut self, breaches: &[Breach]) -> Self {
        let is_excused = |violation: &Violation| {
            let (span, needed) = match violation {
                Violation::Overlap { earlier, later } => {
                    (later.acquired_at..earlier.window().end.min(later.window().end), None)
                }
                Violation::TokenNotGrown { earlier, later, order: Order::Ended } => {
                    (earlier.acquired_at..later.window().end, None)
                }
                Violation::TokenReused { first, second } => {
                    (first.acquired_at..second.acquired_at, Some(Assumption::Memory))
                }
                Violation::Misrecorded { .. }
                | Violation::TokenNotGrown { order: Order::Requested, .. }
                | Violation::Stuck { .. }
                | Violation::KeyLeft { .. }
                | Violation::LossLate { .. }
                | Violation::Revived { .. }
                | Violation::StaleWrite { .. } => return false,
            };
            let fits = |breach: &Breach| needed.is_none_or(|needed| needed == breach.assumption);
            breaches.iter().any(|breach| fits(breach) && breach.touches(&span))
        };
        let (excused, left) = std::mem::take(&mut self.violations).into_iter().partition(is_excused);
        self.violations = left;
        self.excused.append(&mut { excused });
        self
    }
}

impl Breach {
    fn touches(&self, span: &Range<u64>) -> bool {
        self.from <= span.end && span.start <= self.until
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "nodes keep what they granted",
            Self::Clocks => "clocks run alike",
        })
    }
}
