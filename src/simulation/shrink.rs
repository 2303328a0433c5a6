//! Shrinking: of the faults of a seed that goes wrong, finds few that are enough.

use super::outcome::Outcome;
use super::{Kept, Plan, run};

/// How many runs shrinking may take.
const RUNS_MAX: usize = 300;

/// The faults that are enough, by their numbers, and what came of them.
pub(super) struct Shrunk {
    pub(super) kept: Vec<usize>,
    pub(super) outcome: Outcome,
}

/// Leaves out faults, first many at once and then one by one, as long as the run still goes wrong.
pub(super) fn shrink(plan: &Plan, outcome: Outcome) -> Shrunk {
    let mut best = Shrunk { kept: (0..outcome.planned.len()).collect(), outcome };
    let mut runs = 0;
    let mut parts = 1;
    while !best.kept.is_empty() && runs < RUNS_MAX {
        let length = best.kept.len().div_ceil(parts);
        let mut is_smaller = false;
        let mut from = 0;
        while from < best.kept.len() && runs < RUNS_MAX {
            let kept: Vec<_> =
                best.kept.iter().enumerate().filter(|(i, _)| !(from..from + length).contains(i)).collect();
            let kept: Vec<_> = kept.into_iter().map(|(_, fault)| *fault).collect();
            runs += 1;
            match wrong(plan, &kept) {
                Some(outcome) => {
                    best = Shrunk { kept, outcome };
                    is_smaller = true;
                }
                None => from += length,
            }
        }
        if length == 1 && !is_smaller {
            break;
        }
        parts = (parts * 2).min(best.kept.len().max(1));
    }
    best
}

fn wrong(plan: &Plan, kept: &[usize]) -> Option<Outcome> {
    let plan = Plan { kept: Kept::Only(kept.to_vec()), ..plan.clone() };
    let outcome = run(&plan);
    (!outcome.violations.is_empty()).then_some(outcome)
}
