//! What has happened so far: everything that is drawn, counted and judged comes from here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::plan::{Step, What};
use super::protocol::{Event, Outcome, Visit};
use crate::lost::Lost;

/// One bar of the sparkline.
pub(super) const SLOT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Tally {
    /// What is being done, as an end of the sentence "waiting for …".
    pub(super) awaited: String,
    pub(super) wanted: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) workers: Vec<Doing>,
    pub(super) visits: Vec<Visit>,
    /// Sections that wrote.
    pub(super) done: usize,
    /// How many of them since all nodes were back.
    pub(super) done_when_healed: Option<usize>,
    /// Sections of each slot since the first one.
    pub(super) rate: Vec<usize>,
    /// How often a worker's wait ran out before it got the lock.
    pub(super) waits: usize,
    pub(super) unconfirmed: usize,
    pub(super) faults: Vec<Fault>,
    pub(super) troubles: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Host and port.
    pub(super) name: String,
    pub(super) condition: Condition,
    /// Which clients have no connection now, and why.
    pub(super) lost_by: BTreeMap<usize, String>,
    /// Which clients ever had none, by reason.
    pub(super) ever_lost_by: BTreeMap<String, BTreeSet<usize>>,
    /// How often the node's answer was missing in the votes that workers were told of, by reason.
    pub(super) failures: BTreeMap<String, u64>,
}

/// What has been done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    Killed,
    Paused,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Starting,
    Waiting,
    Holding,
}

/// Something that was done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) node: usize,
    pub(super) what: What,
    /// Milliseconds since the demo began.
    pub(super) at: u64,
}

impl Tally {
    pub(super) fn new(wanted: usize, workers: usize) -> Self {
        Self {
            awaited: "the local masters to start".into(),
            wanted,
            nodes: Vec::new(),
            workers: vec![Doing::Starting; workers],
            visits: Vec::new(),
            done: 0,
            done_when_healed: None,
            rate: Vec::new(),
            waits: 0,
            unconfirmed: 0,
            faults: Vec::new(),
            troubles: Vec::new(),
        }
    }

    pub(super) fn handle_nodes(&mut self, urls: &[String]) {
        self.nodes = urls.iter().map(|url| Node::new(url.trim_start_matches("redis://"))).collect();
    }

    pub(super) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Ready { client } => self.set_doing(client, Doing::Waiting),
            Event::Holding { client } => self.set_doing(client, Doing::Holding),
            Event::Section(visit) => self.handle_visit(visit),
            Event::Waited { client: _, failures } => {
                self.waits += 1;
                self.count_failures(failures);
            }
            Event::Unconfirmed { client: _, failures } => {
                self.unconfirmed += 1;
                self.count_failures(failures);
            }
            Event::Nodes { client, lost } => self.handle_lost(client, lost),
            Event::Failed { client, error } => {
                self.troubles.push(format!("worker {client} failed: {error}"));
            }
        }
    }

    /// A step of the plan has been carried out.
    pub(super) fn handle_step(&mut self, step: Step, at: Duration) {
        let Step { node, what, at: _ } = step;
        self.faults.push(Fault { node, what, at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) });
        if let Some(node) = self.nodes.get_mut(node) {
            node.condition = match what {
                What::Kill => Condition::Killed,
                What::Pause => Condition::Paused,
                What::Restart | What::Resume => Condition::Up,
            };
        }
    }

    pub(super) fn are_all_ready(&self) -> bool {
        self.workers.iter().all(|doing| *doing != Doing::Starting)
    }

    /// Nodes that are away, and those that some client has not found again yet.
    pub(super) fn missing_nodes(&self) -> usize {
        self.nodes.iter().filter(|node| node.condition != Condition::Up || !node.lost_by.is_empty()).count()
    }

    pub(super) fn done_since_healed(&self) -> usize {
        self.done_when_healed.map_or(0, |then| self.done - then)
    }

    /// From 0 on; beyond 1 when more is done than was wanted.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn share(&self) -> f64 {
        self.done as f64 / self.wanted as f64
    }

    /// The longest time between two writes, as nobody got on.
    pub(super) fn longest_gap(&self) -> Duration {
        let mut ends: Vec<u64> = self.visits.iter().map(|visit| visit.ended_at).collect();
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
        Duration::from_nanos(gaps.max().unwrap_or(0))
    }

    fn set_doing(&mut self, client: usize, doing: Doing) {
        if let Some(worker) = self.workers.get_mut(client) {
            *worker = doing;
        }
    }

    fn handle_visit(&mut self, visit: Visit) {
        self.set_doing(visit.client, Doing::Waiting);
        match visit.outcome {
            Outcome::Wrote { .. } => self.done += 1,
            Outcome::LostLease => {}
        }
        let first = self.visits.first().map_or(visit.ended_at, |first| first.ended_at);
        let slot = Duration::from_nanos(visit.ended_at.saturating_sub(first)).as_nanos() / SLOT.as_nanos();
        let slot = usize::try_from(slot).unwrap_or(0);
        if slot >= self.rate.len() {
            self.rate.resize(slot + 1, 0);
        }
        self.rate[slot] += 1;
        self.visits.push(visit);
    }

    fn handle_lost(&mut self, client: usize, lost: Vec<Lost>) {
        for node in &mut self.nodes {
            node.lost_by.remove(&client);
        }
        for Lost { node, reason } in lost {
            if let Some(node) = self.nodes.get_mut(node) {
                node.ever_lost_by.entry(reason.clone()).or_default().insert(client);
                node.lost_by.insert(client, reason);
            }
        }
    }

    fn count_failures(&mut self, failures: Vec<Lost>) {
        for Lost { node, reason } in failures {
            if let Some(node) = self.nodes.get_mut(node) {
                *node.failures.entry(reason).or_default() += 1;
            }
        }
    }
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            condition: Condition::Up,
            lost_by: BTreeMap::new(),
            ever_lost_by: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(node: usize) -> Lost {
        Lost { node, reason: "no answer".into() }
    }

    #[test]
    fn a_node_is_missing_until_it_is_back_and_every_client_has_found_it() {
        let mut tally = Tally::new(10, 2);
        tally.handle_nodes(&["redis://a:1".into(), "redis://b:2".into()]);
        tally.handle_step(Step { node: 1, what: What::Pause, at: 0.0 }, Duration::from_millis(70));
        assert_eq!(tally.missing_nodes(), 1);
        tally.handle_event(Event::Nodes { client: 0, lost: vec![lost(1)] });
        tally.handle_step(Step { node: 1, what: What::Resume, at: 0.0 }, Duration::from_millis(90));
        assert_eq!((tally.missing_nodes(), tally.nodes[1].condition), (1, Condition::Up));
        tally.handle_event(Event::Nodes { client: 0, lost: vec![] });
        assert_eq!(tally.missing_nodes(), 0);
        assert_eq!(tally.nodes[1].ever_lost_by["no answer"].len(), 1);
        assert_eq!(tally.faults[1], Fault { node: 1, what: What::Resume, at: 90 });
    }

    #[test]
    fn failures_are_counted_by_node_and_reason() {
        let mut tally = Tally::new(10, 2);
        tally.handle_nodes(&["redis://a:1".into(), "redis://b:2".into()]);
        tally.handle_event(Event::Waited { client: 0, failures: vec![lost(0), lost(1)] });
        tally.handle_event(Event::Unconfirmed { client: 1, failures: vec![lost(1)] });
        assert_eq!(tally.nodes[1].failures["no answer"], 2);
        assert_eq!((tally.waits, tally.unconfirmed), (1, 1));
    }
}
