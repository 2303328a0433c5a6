//! Models that are searched exhaustively for a counterexample.
//!
//! The models live beside the rules, and not in `tests/`, because they use the shipped rules: `Proposal`,
//! `next_token`, `Round` and `Lease` decide in the model as they do in the library. Only nodes, network and time are
//! the model's own. Each model also contains rules that are known to be wrong, and the same code must find a
//! counterexample to each.
//!
//! `make model` searches the full bounds, in a release build, and prints the numbers of states. The tests of a debug
//! build exhaust smaller bounds.

mod clocks;
mod fencing;
mod members;
mod restart;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Property};

/// The bounds of the searches: all in a release build, those that take seconds in a debug build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Quick,
    Full,
}

const BOUNDS: Bounds = if cfg!(debug_assertions) { Bounds::Quick } else { Bounds::Full };

/// Returns the goals of a model, as opposed to its rules. A model in which nothing happens breaks no rule and reaches
/// no goal.
fn goals<M: Model>(model: &M) -> BTreeSet<&'static str> {
    let is_goal = |property: &Property<M>| !property.expectation.discovery_is_failure();
    model.properties().iter().filter(|property| is_goal(property)).map(|property| property.name).collect()
}

/// Visits every state that the model can reach. No state may break one of `rules`, and some state must reach each
/// goal.
fn exhaust<M>(name: &str, model: &M, rules: &[&'static str])
where
    M: Model + Clone + Debug + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let goals = goals(model);
    // The search ends early only when all properties are discovered. At least one rule holds, so the search sees
    // all states.
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

/// Visits at most `states` states, those with the fewest steps first. No state may break a rule.
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

/// Searches until each of `rules` is found broken, by the fewest steps possible.
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
