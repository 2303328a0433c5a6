//! Checks that holders are notified of a loss in time, and that a lost lock stays lost.

use super::verdict::{Verdict, Violation};

/// A notice to a holder that its lease ended. All times are nanoseconds of the sections' clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LossNotice {
    /// The holder.
    pub client: String,
    /// The resource.
    pub resource: String,
    /// The guard's deadline, as last read.
    pub deadline: u64,
    /// Time of the notice. For a holder that got none, the time of its release or of the end of the recording.
    pub told_at: u64,
    /// Time when the guard reported the lock as held again, after it had reported the loss.
    pub valid_again_at: Option<u64>,
}

/// A period in which a client's process was stopped, by a signal or otherwise, and could not be notified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standstill {
    /// The client.
    pub client: String,
    /// The beginning.
    pub from: u64,
    /// The end.
    pub until: u64,
}

/// Judges notices of loss. Each holder must be notified within `bound` nanoseconds of its deadline, or of the end of
/// the standstill in which that time falls. A lost lock must stay lost.
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
