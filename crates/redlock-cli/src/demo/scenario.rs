//! The demo as a scenario: two nodes are killed and paused. The seed decides everything before the start.

use std::time::Duration;

use redlock_testing::{Data, Nemesis};

use crate::chaos::scenario::{Assignment, Fault, Harm, Range, Reach, Scenario, Spot, Timing, Work};
use crate::dice::Dice;

/// How long a fault lasts, in seconds. A client notices a hung peer within 2 s, and should then work without it for a
/// while.
const LASTS: (f64, f64) = (2.5, 3.3);
/// When the first fault comes, in seconds, and how much later a second one follows while the first lasts.
const FIRST: (f64, f64) = (0.3, 0.8);
const SECOND: (f64, f64) = (0.3, 1.2);
/// Time for clients to reconnect to a node before another node fails, where only one may be away at a time.
const BETWEEN: Duration = Duration::from_secs(2);
/// The engine keeps a fifth of a run free of faults.
const CALM: u32 = 4;

/// The settings of the lock. The TTL is long compared with a section, so that only a lost release can leave a key
/// behind for longer than the search takes. After `max_wait` a client finds out which nodes did not answer, reports
/// them, and waits again. The retries are shorter than the default, because sections are short.
const SETTINGS: [(&str, &str); 4] =
    [("ttl", "6s"), ("max_wait", "500ms"), ("retry.first", "2ms"), ("retry.longest", "32ms")];
/// The longest pretended computation between read and write. The computation makes a race without the lock likely.
const WORK_MAX: Duration = Duration::from_millis(5);
/// The longest pause of a worker between two sections.
const REST_MAX: Duration = Duration::from_millis(5);

/// Draws the faults. Both nodes are away at once if that leaves a quorum, otherwise one after the other.
pub(super) fn draw(nodes: usize, workers: usize, seed: u64) -> Scenario {
    let mut dice = Dice::new(seed);
    let mut seconds = |(low, high)| Duration::from_secs_f64(dice.between(low, high));
    let (first_at, first_lasts) = (seconds(FIRST), seconds(LASTS));
    let (later, second_lasts) = (seconds(SECOND), seconds(LASTS));
    let spare = nodes - (nodes / 2 + 1);
    let second_at = if spare < 2 { first_at + first_lasts + BETWEEN } else { first_at + later };
    let first = usize::try_from(dice.below(nodes as u64)).unwrap_or(0);
    let further = 1 + usize::try_from(dice.below(nodes as u64 - 1)).unwrap_or(0);
    let (kill, pause) = (("kill", Nemesis::Kill { data: Data::Kept }), ("pause", Nemesis::Pause));
    let (one, other) = if dice.below(2) == 0 { (kill, pause) } else { (pause, kill) };
    let end = (first_at + first_lasts).max(second_at + second_lasts);
    Scenario {
        name: "demo".to_owned(),
        about: "Workers raise a counter under one lock while a node is killed and another one paused."
            .to_owned(),
        nodes: (0..nodes).map(|node| format!("node {node}")).collect(),
        durability: crate::chaos::scenario::Durability::default(),
        duration: end + end / CALM,
        clients: workers,
        work: Work {
            resources: 1,
            hold: WORK_MAX,
            rest: REST_MAX,
            long_one_in: 0,
            shared_one_in: 0,
            multi_one_in: 0,
            slot_one_in: 0,
            lead_one_in: 0,
            ..Work::default()
        },
        settings: SETTINGS.map(assignment).to_vec(),
        faults: vec![
            fault(one, first, first_at, first_lasts),
            fault(other, (first + further) % nodes, second_at, second_lasts),
        ],
        random: None,
        without: Vec::new(),
    }
}

fn assignment((setting, value): (&str, &str)) -> Assignment {
    Assignment { setting: setting.to_owned(), value: value.to_owned(), spot: Spot::default() }
}

fn fault((name, nemesis): (&'static str, Nemesis), node: usize, at: Duration, lasts: Duration) -> Fault {
    Fault {
        name,
        spot: Spot::default(),
        harm: Harm::Node(nemesis),
        reach: Reach::These(vec![node]),
        lasts: Some(Range::exactly(lasts)),
        timing: Timing::Once { at },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::plan::{self, Act, Planned, Scope, Until};

    fn plan(nodes: usize, seed: u64) -> Vec<Planned> {
        let scenario = draw(nodes, 8, seed);
        let (duration, quarantine) = (scenario.duration, Duration::ZERO);
        plan::draw(&scenario, Scope { nodes, clients: 8, duration, quarantine, seed })
    }

    #[test]
    fn every_plan_kills_one_node_pauses_another_and_brings_both_back() {
        for nodes in 3..=9 {
            for seed in 0..500 {
                let plan = plan(nodes, seed);
                check(nodes, &plan);
                assert_eq!(plan, self::plan(nodes, seed));
            }
        }
    }

    fn check(nodes: usize, plan: &[Planned]) {
        let [one, other] = plan else { panic!("{plan:?}") };
        assert_eq!(BTreeSet::from([one.name, other.name]), BTreeSet::from(["kill", "pause"]));
        let [first, second] = [one, other].map(|planned| match &planned.act {
            Act::Node { node, .. } => *node,
            Act::Client { .. } => panic!("{plan:?}"),
        });
        assert!(first != second && first < nodes && second < nodes, "{plan:?}");
        let Until::Healed(healed) = one.until else { panic!("{plan:?}") };
        let are_both_away = other.at < healed;
        assert_eq!(are_both_away, nodes >= 5, "{plan:?}");
        for planned in plan {
            let Until::Healed(healed) = planned.until else { panic!("{plan:?}") };
            assert!(healed - planned.at >= Duration::from_millis(2_400), "{plan:?}");
        }
    }

    #[test]
    fn seeds_differ_in_victims_and_order() {
        let acts =
            |seed| format!("{:?}", plan(5, seed).into_iter().map(|planned| planned.act).collect::<Vec<_>>());
        let plans: BTreeSet<String> = (0..200).map(acts).collect();
        assert!(plans.len() > 30, "{}", plans.len());
    }
}
