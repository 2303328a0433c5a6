//! Which faults come when: decided by the seed before anything starts.

use serde::Serialize;

use crate::dice::Dice;

/// One thing that is done to one node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) node: usize,
    pub(super) what: What,
    /// The share of the wanted sections after which it is due.
    pub(super) at: f64,
}

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// SIGKILL.
    Kill,
    /// Started again, with its data.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

impl What {
    pub(super) fn is_healing(self) -> bool {
        match self {
            Self::Restart | Self::Resume => true,
            Self::Kill | Self::Pause => false,
        }
    }

    /// As a sentence about the node.
    pub(super) fn as_done(self) -> &'static str {
        match self {
            Self::Kill => "killed (SIGKILL)",
            Self::Restart => "restarted with its data",
            Self::Pause => "paused (SIGSTOP)",
            Self::Resume => "resumed (SIGCONT)",
        }
    }
}

/// A kill and a pause of two nodes, and the end of both. Both nodes are away at once where that leaves a quorum,
/// else one after the other.
pub(super) fn draw(nodes: usize, seed: u64) -> [Step; 4] {
    let mut dice = Dice::new(seed);
    let first = usize::try_from(dice.below(nodes as u64)).unwrap_or(0);
    let further = 1 + usize::try_from(dice.below(nodes as u64 - 1)).unwrap_or(0);
    let second = (first + further) % nodes;
    let (harm, other) = if dice.below(2) == 0 { (kill(), pause()) } else { (pause(), kill()) };
    let spare = nodes - (nodes / 2 + 1);
    let order = if spare < 2 {
        [(first, harm.0), (first, harm.1), (second, other.0), (second, other.1)]
    } else if dice.below(2) == 0 {
        [(first, harm.0), (second, other.0), (first, harm.1), (second, other.1)]
    } else {
        [(first, harm.0), (second, other.0), (second, other.1), (first, harm.1)]
    };
    let windows = [(0.10, 0.18), (0.24, 0.34), (0.50, 0.58), (0.66, 0.76)];
    let mut windows = windows.into_iter();
    order.map(|(node, what)| {
        let (low, high) = windows.next().unwrap_or((0.0, 1.0));
        Step { node, what, at: dice.between(low, high) }
    })
}

fn kill() -> (What, What) {
    (What::Kill, What::Restart)
}

fn pause() -> (What, What) {
    (What::Pause, What::Resume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_plan_kills_one_node_pauses_another_and_brings_both_back() {
        for nodes in 3..=9 {
            for seed in 0..500 {
                let plan = draw(nodes, seed);
                check(nodes, &plan);
                assert_eq!(plan, draw(nodes, seed));
            }
        }
    }

    fn check(nodes: usize, plan: &[Step; 4]) {
        let mut away = BTreeSet::new();
        let mut most_away = 0;
        let mut done: Vec<(What, usize)> = Vec::new();
        assert!(plan.windows(2).all(|pair| pair[0].at < pair[1].at), "{plan:?}");
        for step in plan {
            assert!(step.node < nodes);
            match step.what {
                What::Kill | What::Pause => assert!(away.insert(step.node), "{plan:?}"),
                What::Restart => assert!(away.remove(&step.node) && done.contains(&(What::Kill, step.node))),
                What::Resume => assert!(away.remove(&step.node) && done.contains(&(What::Pause, step.node))),
            }
            done.push((step.what, step.node));
            most_away = most_away.max(away.len());
            assert!(nodes - away.len() > nodes / 2, "no quorum is left: {plan:?}");
        }
        assert!(away.is_empty());
        assert_eq!(most_away, if nodes >= 5 { 2 } else { 1 }, "{plan:?}");
    }

    #[test]
    fn seeds_differ_in_victims_and_order() {
        let plans: BTreeSet<String> =
            (0..200).map(|seed| format!("{:?}", draw(5, seed).map(|step| (step.node, step.what)))).collect();
        assert!(plans.len() > 50, "{}", plans.len());
    }
}
