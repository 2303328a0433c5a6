//! Whoever loses a lock is told in time, and it stays lost.

use super::verdict::{Verdict, Violation};

/// What a holder was told about the end of its lease. All times are nanoseconds of the sections' clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LossNotice {
    /// Who held it.
    pub client: String,
    /// What.
    pub resource: String,
    /// Until when the guard had promised it, as it was last seen.
    pub deadline: u64,
    /// When the holder was told; of a holder that never was, when it released it or the recording ended.
    pub told_at: u64,
    /// When the guard said again that the lock was held, after it had said that it was lost.
    pub valid_again_at: Option<u64>,
}

/// A time in which a client stood still, by a signal or otherwise, and could not be told anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standstill {
    /// Who.
    pub client: String,
    /// Since when.
    pub from: u64,
    /// Until when.
    pub until: u64,
}

/// Judges announcements of loss: every holder is told within `bound` nanoseconds of its deadline, or of the end of a
/// standstill that it falls into; and what is lost stays lost.
pub fn check_losses(losses: &[LossNotice], standstills: &[Standstill], bound: u64) -> Verdict {
    let violations = losses.iter().flat_map(|loss| {
        let due = standstills
            .iter()
            .filter(|stood| stood.client == loss.client)
            .filter(|stood| stood.from <= loss.deadline.saturating_add(bound) && loss.deadline <= stood.until)
            .map(|stood| stood.until)
            .fold(loss.deadline, u64::max);
        let late = (loss.told_at > due.saturating_add(bound)).then(|| Violation::LossLate {
            loss: loss.clone(),
            due,
            bound,
        });
        let revived = loss.valid_again_at.is_some().then(|| Violation::Revived { loss: loss.clone() });
        late.into_iter().chain(revived)
    });
    Verdict::new(0, violations)
}
