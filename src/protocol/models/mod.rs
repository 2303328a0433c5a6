//! Models that are searched exhaustively for a counter-example.
//!
//! They live beside the rules, and not in `tests/`, because they drive the shipped ones: `Proposal`, `next_token`,
//! `Round` and `Lease` decide in the model as they do in the library; only nodes, network and time are the model's.
//! Each model also contains rules that are known to be wrong, and has to find them wrong by the same code.
//!
//! `make model` searches the full bounds, in a release build, and prints the numbers of states. The tests of a debug
//! build search smaller ones, to their end as well.

mod fencing;
mod restart;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Property};

/// What is worth the time: everything in a release build, what takes seconds in a debug build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Quick,
    Full,
}

const BOUNDS: Bounds = if cfg!(debug_assertions) { Bounds::Quick } else { Bounds::Full };

/// Goals, as opposed to rules: a model in which nothing happens would break no rule.
fn goals<M: Model>(model: &M) -> BTreeSet<&'static str> {
    let is_goal = |property: &Property<M>| !property.expectation.discovery_is_failure();
    model.properties().iter().filter(|property| is_goal(property)).map(|property| property.name).collect()
}

/// Visits every state that the model can reach: none of these rules is broken in any, and each goal is reached in one.
fn exhaust<M>(name: &str, model: &M, rules: &[&'static str])
where
    M: Model + Clone + Debug + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let goals = goals(model);
    // Not all rules are broken, so the search does not end before it has seen everything.
    let all = model.properties().iter().map(|property| property.name).collect();
    let checker =
        model.clone().checker().threads(2).finish_when(HasDiscoveries::AllOf(all)).spawn_bfs().join();
    for (property, path) in checker.discoveries() {
        let steps = path.into_actions();
        assert!(!rules.contains(&property), "{name}: \"{property}\" broken in {model:?} by {steps:?}");
    }
    for goal in goals {
        assert!(checker.discovery(goal).is_some(), "{name}: {goal} is never reached");
    }
    println!("{name}: no counter-example in {} states, exhausted", checker.unique_state_count());
}

/// Visits at most so many states, those by the fewest steps first: no rule is broken in any.
fn search<M>(name: &str, model: &M, states: usize)
where
    M: Model + Clone + Debug + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.clone().checker().threads(2).target_state_count(states).spawn_bfs().join();
    for (property, path) in checker.discoveries() {
        assert!(
            goals(model).contains(property),
            "{name}: \"{property}\" broken by {:?}",
            path.into_actions()
        );
    }
    println!("{name}: no counter-example in {} states, not exhausted", checker.unique_state_count());
}

/// Searches until these rules are found broken, each by the fewest steps that it takes.
fn find<M>(name: &str, model: M, rules: &[&'static str])
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let wanted = HasDiscoveries::AllOf(rules.iter().copied().collect());
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    for rule in rules {
        let Some(path) = checker.discovery(rule) else {
            panic!("{name}: {rule} is not found broken in {} states", checker.unique_state_count());
        };
        let steps = path.into_actions();
        println!("{name}: \"{rule}\" broken in {} steps: {steps:?}", steps.len());
    }
}
