//! Breaches of the assumptions, and the violations that they excuse.

use std::fmt;
use std::ops::Range;

use super::verdict::{Order, Verdict, Violation};

/// An assumption on which exclusion rests; see SAFETY.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assumption {
    /// A node keeps a key that it has granted until the key's TTL has passed. A `FLUSHALL` breaks this assumption, and
    /// so does a restart without the data, unless the restart guard keeps the node in quarantine.
    Memory,
    /// The clocks of nodes and clients run apart by less than the drift during a TTL. A larger step of a node's wall
    /// clock breaks this assumption.
    Clocks,
}

/// A time in which an assumption did not hold. Violations that it may have caused are set apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Breach {
    /// The assumption.
    pub assumption: Assumption,
    /// The beginning, in nanoseconds of the sections' clock.
    pub from: u64,
    /// The end of the breach plus the longest TTL: until then, leases granted before or during the breach may live.
    pub until: u64,
}

impl Verdict {
    /// Sets apart the violations that breaches of the assumptions may cause in a correct lock:
    ///
    /// - overlaps that touch the time of a breach
    /// - tokens out of the order of windows ([`Order::Ended`]) that touch the time of a breach
    /// - a token that was given twice after nodes had forgotten their scores
    ///
    /// The remaining violations break what the lock promises even during a breach: tokens grow in real-time order,
    /// losses are reported, late writes are refused.
    pub fn excusing(mut self, breaches: &[Breach]) -> Self {
        let is_excused = |violation: &Violation| {
            let (span, needed) = match violation {
                Violation::Overlap { earlier, later } => {
                    (later.acquired_at..earlier.window().end.min(later.window().end), None)
                }
                Violation::TooMany { holders, later, .. } => {
                    let end = holders.iter().map(|holder| holder.window().end).min().unwrap_or(u64::MAX);
                    (later.acquired_at..end.min(later.window().end), None)
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
