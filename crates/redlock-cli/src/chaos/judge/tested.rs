//! The planned parts of a run that did not take place. A run without a violation proves nothing about what was not
//! tried.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::log::Log;
use super::super::plan::Origin;
use super::super::scenario::faults_end;
use super::super::scenario::{Scenario, Spot, Timing};

/// The least that a run has to do before "nothing is wrong" means that the lock has kept its promises.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// The scheduled faults, in the scenario's order.
    faults: Vec<Named>,
    draws_at_random: bool,
    needs_contention: bool,
    duration: Duration,
}

#[derive(Debug, Clone)]
struct Named {
    /// The scenario's word for the fault, and its position in the file.
    what: String,
    at: Duration,
    /// How many nodes, ways or clients the fault hits at once; none if it is left out.
    acts: usize,
}

impl Expected {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let named = |fault: &super::super::scenario::Fault| Named {
            what: match &fault.spot {
                // The fault is not from a file.
                spot if *spot == Spot::default() => fault.name.to_owned(),
                spot => format!("{} ({spot})", fault.name),
            },
            at: match fault.timing {
                Timing::Once { at } | Timing::Repeated { at, .. } => at,
                Timing::Random => Duration::ZERO,
            },
            acts: if scenario.leaves_out(fault.name) {
                0
            } else {
                fault.acts(scenario.nodes.len(), scenario.clients)
            },
        };
        Self {
            faults: scenario.faults.iter().map(named).collect(),
            draws_at_random: scenario.random.is_some(),
            needs_contention: true,
            duration: scenario.duration,
        }
    }

    /// The same expectation, but a run without contention is acceptable.
    pub(crate) fn without_contention(self) -> Self {
        Self { needs_contention: false, ..self }
    }
}

/// Each planned part that did not take place, as a sentence without a full stop.
pub(super) fn untested(log: &Log, expected: &Expected) -> Vec<String> {
    if !log.cut_short.is_empty() {
        return log.cut_short.clone();
    }
    let mut untested = Vec::new();
    if expected.faults.is_empty() && !expected.draws_at_random {
        untested.push("the scenario names no fault".to_owned());
    }
    let faults = expected.faults.iter().enumerate();
    untested.extend(faults.filter_map(|(number, fault)| missing(log, expected, number, fault)));
    if expected.draws_at_random && !log.hits.iter().any(|hit| hit.origin == Origin::Random) {
        untested.push("no fault of [random] was drawn and played".to_owned());
    }
    if log.sections() == 0 {
        untested.push("nobody ever had a lock".to_owned());
    } else if expected.needs_contention && !is_contended(log) {
        untested.push("no client ever wanted a lock that another one had".to_owned());
    }
    untested
}

/// Why a fault does not count as played: no repetition of it has hit all of its victims.
fn missing(log: &Log, expected: &Expected, number: usize, fault: &Named) -> Option<String> {
    let mut played: BTreeMap<usize, usize> = BTreeMap::new();
    for hit in &log.hits {
        if let Origin::Scheduled { fault, repetition } = hit.origin
            && fault == number
        {
            *played.entry(repetition).or_default() += 1;
        }
    }
    let Named { what, at, acts } = fault;
    let most = played.into_values().max().unwrap_or(0);
    let end = faults_end(expected.duration);
    let ran = Duration::from_nanos(log.healed_at.saturating_sub(log.began_at));
    match most {
        most if most >= *acts => None,
        0 if *at >= end => Some(format!(
            "{what} was not played: it begins after {at:?}, and the faults of a run of {:?} end after {end:?}",
            expected.duration
        )),
        0 if ran <= *at => Some(format!("{what} was not played: the run ended before")),
        0 => Some(format!("{what} was not played: something else was done to its victims all the while")),
        most => Some(format!(
            "{what} hit at most {most} of {acts} at once: something else was done to the others"
        )),
    }
}

/// A change at a moment. Changes at the same moment are sorted in this order, because a client that acquires a lock
/// does not wait for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Satisfied,
    Left,
    Held,
    Wanted,
}

/// Whether any client ever wanted a lock while another client held it.
fn is_contended(log: &Log) -> bool {
    let mut resources: BTreeMap<usize, Vec<(u64, Change)>> = BTreeMap::new();
    for client in &log.clients {
        for visit in &client.visits {
            let changes = resources.entry(visit.resource).or_default();
            changes.push((visit.requested_at, Change::Wanted));
            changes.push((visit.acquired_at, Change::Satisfied));
            changes.push((visit.acquired_at, Change::Held));
            changes.push((visit.until().max(visit.acquired_at), Change::Left));
        }
        for wait in &client.waits {
            let changes = resources.entry(wait.resource).or_default();
            changes.extend([(wait.from, Change::Wanted), (wait.until, Change::Satisfied)]);
        }
    }
    resources.into_values().any(|mut changes| {
        changes.sort_unstable();
        let (mut held, mut wanted) = (0_isize, 0_isize);
        changes.into_iter().any(|(_, change)| {
            match change {
                Change::Satisfied => wanted -= 1,
                Change::Left => held -= 1,
                Change::Held => held += 1,
                Change::Wanted => wanted += 1,
            }
            held > 0 && wanted > 0
        })
    })
}
