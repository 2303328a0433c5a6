//! The restart guard: whose grants do not count, because the node may have forgotten locks, and for how long.
//!
//! Delayed restarts, as the Redlock specification asks for them, kept by the clients: a node that forgot a lock does
//! not help anybody else to it before the lock is over anyway.

use std::time::Duration;

use crate::types::{Evidence, Moment, Origin, Persistence, Promotion, QuarantineCause, Ttl};

/// How much longer than the longest lease and its drift a quarantine is: Redis tells its age in whole seconds, and
/// counts from before it is ready.
const MARGIN: Duration = Duration::from_secs(2);

/// For how long a node that may have forgotten locks is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartGuard {
    Off,
    /// So long after its incarnation began.
    For(Duration),
}

/// A node whose grants do not count, for `left` from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quarantine {
    pub(crate) left: Duration,
    pub(crate) cause: QuarantineCause,
}

impl RestartGuard {
    /// `max_ttl` is the longest lease that any client may hold on the node.
    pub(crate) fn after(max_ttl: Ttl, clock_drift_factor: f64) -> Self {
        Self::For(max_ttl.as_duration().mul_f64(1.0 + clock_drift_factor) + MARGIN)
    }

    /// Whether grants of a node that shows `evidence` count at `now`; `None` if they do.
    pub(crate) fn quarantine(self, evidence: &Evidence, now: Moment) -> Option<Quarantine> {
        let span = match self {
            Self::Off => return None,
            Self::For(span) => span,
        };
        let left = now.until(evidence.born + span);
        if left.is_zero() {
            return None;
        }
        Some(Quarantine { left, cause: doubt(evidence)? })
    }
}

/// What is missing of the proof that the node's data survived; `None` where it is complete.
fn doubt(evidence: &Evidence) -> Option<QuarantineCause> {
    let Evidence { persistence, promotion, origin, born: _ } = evidence;
    match (promotion, persistence, origin) {
        // Replication is asynchronous: what the old master granted last may not have arrived.
        (Promotion::Possible, _, _) => Some(QuarantineCause::Promoted),
        (Promotion::Never, Persistence::Weak, _) => Some(QuarantineCause::NotDurable),
        (Promotion::Never, Persistence::NotTold, _) => Some(QuarantineCause::DurabilityUnknown),
        (Promotion::Never, Persistence::Durable, Origin::ThisIncarnation) => {
            Some(QuarantineCause::NewOrWiped)
        }
        (Promotion::Never, Persistence::Durable, Origin::EarlierOrDeclared) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: RestartGuard = RestartGuard::For(Duration::from_secs(22));
    const PROVEN: Evidence = Evidence {
        persistence: Persistence::Durable,
        promotion: Promotion::Never,
        origin: Origin::EarlierOrDeclared,
        born: at(100),
    };

    const fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn it_lasts_for_the_longest_lease_its_drift_and_two_seconds() {
        let guard = RestartGuard::after(Ttl::from_duration(Duration::from_secs(20)), 0.01);
        assert_eq!(guard, RestartGuard::For(Duration::from_millis(22_200)));
    }

    #[test]
    fn only_a_complete_proof_exempts() {
        for persistence in [Persistence::Durable, Persistence::Weak, Persistence::NotTold] {
            for promotion in [Promotion::Never, Promotion::Possible] {
                for origin in [Origin::EarlierOrDeclared, Origin::ThisIncarnation] {
                    let evidence = Evidence { persistence, promotion, origin, ..PROVEN };
                    let quarantine = GUARD.quarantine(&evidence, at(101));
                    assert_eq!(quarantine.is_none(), evidence == PROVEN, "{evidence:?}");
                }
            }
        }
    }

    #[test]
    fn the_cause_is_what_would_have_to_change_first() {
        let cause = |evidence| GUARD.quarantine(&evidence, at(101)).map(|quarantine| quarantine.cause);
        let weak = Evidence { persistence: Persistence::Weak, ..PROVEN };
        assert_eq!(cause(weak), Some(QuarantineCause::NotDurable));
        let wiped = Evidence { origin: Origin::ThisIncarnation, ..PROVEN };
        assert_eq!(cause(wiped), Some(QuarantineCause::NewOrWiped));
        let promoted = Evidence { promotion: Promotion::Possible, ..weak };
        assert_eq!(cause(promoted), Some(QuarantineCause::Promoted));
        let silent = Evidence { persistence: Persistence::NotTold, ..wiped };
        assert_eq!(cause(silent), Some(QuarantineCause::DurabilityUnknown));
    }

    #[test]
    fn it_ends_when_the_incarnation_is_old_enough_and_not_before() {
        let weak = Evidence { persistence: Persistence::Weak, ..PROVEN };
        let left = |now| GUARD.quarantine(&weak, now).map(|quarantine| quarantine.left);
        assert_eq!(left(at(100)), Some(Duration::from_secs(22)));
        assert_eq!(left(Moment::from_nanos(122_000_000_000 - 1)), Some(Duration::from_nanos(1)));
        assert_eq!(left(at(122)), None);
        assert_eq!(RestartGuard::Off.quarantine(&weak, at(100)), None);
    }
}
