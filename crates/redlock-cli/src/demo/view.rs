//! The state of a run as it is shown. A pure function derives it from the log, so that picture and summary can be
//! tested.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redlock_testing::Nemesis;
use serde::Serialize;

use crate::chaos::log::{Hit, Log};
use crate::chaos::plan::Act;
use crate::lost::Lost;

/// The time of one bar of the sparkline.
pub(super) const SLOT: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct View {
    /// The present activity, as the end of the sentence "waiting for …".
    pub(super) awaited: String,
    pub(super) wanted: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) workers: Vec<Doing>,
    /// Sections that incremented the counter.
    pub(super) done: usize,
    /// Number of such sections since all nodes were back.
    pub(super) done_since_healed: usize,
    /// The longest time between two such sections.
    pub(super) longest_gap: Duration,
    /// Number of sections in each slot since the first section.
    pub(super) rate: Vec<usize>,
    pub(super) faults: Vec<Fault>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    /// Host and port.
    pub(super) name: String,
    pub(super) condition: Condition,
    /// The workers that have no connection now, with the reasons.
    pub(super) lost_by: BTreeMap<usize, String>,
    /// The workers that have ever been without a connection, by reason.
    pub(super) ever_lost_by: BTreeMap<String, BTreeSet<usize>>,
    /// How often the node's answer was missing in the votes that workers received, by reason.
    pub(super) failures: BTreeMap<String, u64>,
}

/// The state of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Condition {
    #[default]
    Up,
    Killed,
    Paused,
}

/// The activity of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Starting,
    Waiting,
    Holding,
}

/// An event of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) node: usize,
    pub(super) what: What,
    /// Milliseconds since the demo began.
    pub(super) at: u64,
}

/// The events of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// SIGKILL.
    Kill,
    /// The node was started again, with its data.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

impl What {
    /// The event as a sentence about the node.
    pub(super) fn as_done(self) -> &'static str {
        match self {
            Self::Kill => "killed (SIGKILL)",
            Self::Restart => "restarted with its data",
            Self::Pause => "paused (SIGSTOP)",
            Self::Resume => "resumed (SIGCONT)",
        }
    }
}

/// The facts that are not in the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    /// The number of wanted sections.
    pub(super) wanted: usize,
    /// Host and port of each node.
    pub(super) addresses: Vec<String>,
    /// The number of faults in the plan.
    pub(super) faults: usize,
    /// When the demo began.
    pub(super) began_at: u64,
}

impl View {
    pub(super) fn of(log: &Log, frame: &Frame) -> Self {
        let mut ends: Vec<u64> = done(log).collect();
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
        let mut view = Self {
            awaited: String::new(),
            wanted: frame.wanted,
            nodes: frame.addresses.iter().enumerate().map(|(node, name)| seen_of(log, node, name)).collect(),
            workers: (0..log.clients.len()).map(|worker| doing(log, worker)).collect(),
            done: ends.len(),
            done_since_healed: match log.healed_at {
                0 => 0,
                healed_at => ends.iter().filter(|at| **at > healed_at).count(),
            },
            longest_gap: Duration::from_nanos(gaps.max().unwrap_or(0)),
            rate: rate(&ends),
            faults: faults(log, frame.began_at),
        };
        view.awaited = awaited(log, frame, &view);
        view
    }

    pub(super) fn are_all_ready(&self) -> bool {
        self.workers.iter().all(|doing| *doing != Doing::Starting)
    }
}

/// When each section that incremented the counter ended.
fn done(log: &Log) -> impl Iterator<Item = u64> {
    let visits = log.clients.iter().flat_map(|client| &client.visits);
    visits.filter(|visit| visit.counted.is_some()).filter_map(|visit| visit.ended_at())
}

fn doing(log: &Log, worker: usize) -> Doing {
    if log.clients[worker].lives.is_empty() {
        return Doing::Starting;
    }
    match log.clients[worker].visits.last() {
        Some(visit) if visit.ended_at().is_none() && !log.is_waiting(worker) => Doing::Holding,
        Some(_) | None => Doing::Waiting,
    }
}

fn rate(ends: &[u64]) -> Vec<usize> {
    let mut rate = Vec::new();
    let first = ends.first().copied().unwrap_or(0);
    for end in ends {
        let slot = Duration::from_nanos(end - first).as_nanos() / SLOT.as_nanos();
        let slot = usize::try_from(slot).unwrap_or(0);
        if slot >= rate.len() {
            rate.resize(slot + 1, 0);
        }
        rate[slot] += 1;
    }
    rate
}

fn seen_of(log: &Log, node: usize, name: &str) -> Node {
    let mut seen = Node { name: name.to_owned(), condition: condition(log, node), ..Node::default() };
    let of_node = |lost: &&Lost| lost.node == node;
    for (worker, client) in log.clients.iter().enumerate() {
        for Lost { reason, .. } in client.lost_nodes.iter().flat_map(|(_, lost)| lost).filter(of_node) {
            seen.ever_lost_by.entry(reason.clone()).or_default().insert(worker);
        }
        if let Some(lost) = client.lost_nodes.last().and_then(|(_, lost)| lost.iter().find(of_node)) {
            seen.lost_by.insert(worker, lost.reason.clone());
        }
        let told = client.waits.iter().map(|wait| &wait.failures).chain(&client.unconfirmed);
        for Lost { reason, .. } in told.flatten().filter(of_node) {
            *seen.failures.entry(reason.clone()).or_default() += 1;
        }
    }
    seen
}

fn condition(log: &Log, node: usize) -> Condition {
    let hit = log.hits.iter().find(|hit| {
        hit.healed_at.is_none() && matches!(&hit.act, Act::Node { node: hit, .. } if *hit == node)
    });
    match hit.map(steps) {
        None => Condition::Up,
        Some((What::Pause, _)) => Condition::Paused,
        Some((What::Kill | What::Restart | What::Resume, _)) => Condition::Killed,
    }
}

/// The two events of a fault: the harm and the healing.
fn steps(hit: &Hit) -> (What, What) {
    match &hit.act {
        Act::Node { nemesis: Nemesis::Pause, .. } => (What::Pause, What::Resume),
        // The scenario has no other faults.
        Act::Node { .. } | Act::Client { .. } => (What::Kill, What::Restart),
    }
}

fn faults(log: &Log, began_at: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for hit in &log.hits {
        let Act::Node { node, .. } = hit.act else { continue };
        let (harm, healing) = steps(hit);
        let since = |at: u64| at.saturating_sub(began_at) / 1_000_000;
        faults.push(Fault { node, what: harm, at: since(hit.applied_at) });
        faults.extend(hit.healed_at.map(|at| Fault { node, what: healing, at: since(at) }));
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn awaited(log: &Log, frame: &Frame, view: &View) -> String {
    let sections = || format!("sections: {} of {} are done", view.done, view.wanted);
    if log.started_at == 0 {
        return "the local masters to start".to_owned();
    }
    if !log.are_all_ready() {
        return "the workers to connect".to_owned();
    }
    if log.ended_at > 0 {
        return "the workers to finish, and their last releases to arrive on all nodes".to_owned();
    }
    let are_faults_over = view.faults.len() == 2 * frame.faults;
    if are_faults_over && view.nodes.iter().any(|node| !node.lost_by.is_empty()) {
        return "every worker to find the nodes again".to_owned();
    }
    if view.done >= view.wanted && !are_faults_over {
        return "the faults to be over".to_owned();
    }
    sections()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::chaos::event::{COUNTER, Event, Sharing, What as Said};
    use crate::chaos::plan::Origin;

    const BEGAN: u64 = 1_000_000_000;

    pub(in super::super) fn log(workers: usize) -> Log {
        let mut log = Log::new(workers, (0..5).map(|node| format!("node {node}")).collect());
        (log.started_at, log.began_at) = (BEGAN, BEGAN);
        log
    }

    pub(in super::super) fn frame(wanted: usize) -> Frame {
        let addresses = (1..=5).map(|port| format!("127.0.0.1:{port}")).collect();
        Frame { wanted, addresses, faults: 2, began_at: BEGAN }
    }

    pub(in super::super) fn say(log: &mut Log, worker: usize, at: u64, what: Said) {
        let _ = log.handle_event(worker, 1, Event { at: BEGAN + at, what }, BEGAN + at);
    }

    pub(in super::super) fn acquire(log: &mut Log, worker: usize, at: u64, deadline: u64) {
        say(log, worker, at, Said::Attempt { resources: vec![COUNTER], sharing: Sharing::Exclusive });
        let token = format!("t{worker}-{at}");
        say(
            log,
            worker,
            at,
            Said::Acquired { deadline: BEGAN + deadline, fencing_token: 0, token, slot: None },
        );
    }

    pub(in super::super) fn hit(
        log: &mut Log,
        node: usize,
        nemesis: Nemesis,
        at: u64,
        healed_at: Option<u64>,
    ) {
        let (at, healed_at) = (BEGAN + at, healed_at.map(|at| BEGAN + at));
        let (act, origin) = (Act::Node { node, nemesis }, Origin::Random);
        log.hits.push(Hit { act, name: "pause", origin, at, applied_at: at, healed_at });
    }

    fn lost(node: usize) -> Vec<Lost> {
        vec![Lost { node, reason: "no answer".into() }]
    }

    #[test]
    fn a_node_is_missed_until_every_worker_has_found_it() {
        let mut log = log(2);
        (0..2).for_each(|worker| say(&mut log, worker, 0, Said::Ready));
        hit(&mut log, 1, Nemesis::Pause, 70_000_000, None);
        say(&mut log, 0, 80, Said::Nodes { lost: lost(1) });
        let view = View::of(&log, &frame(10));
        assert_eq!((view.nodes[1].condition, view.nodes[1].lost_by.len()), (Condition::Paused, 1));
        log.hits[0].healed_at = Some(BEGAN + 90_000_000);
        let one = Frame { faults: 1, ..frame(10) };
        assert_eq!(View::of(&log, &one).awaited, "every worker to find the nodes again");
        say(&mut log, 0, 95, Said::Nodes { lost: vec![] });
        let view = View::of(&log, &one);
        assert_eq!(view.awaited, "sections: 0 of 10 are done");
        assert_eq!((view.nodes[1].condition, view.nodes[1].lost_by.len()), (Condition::Up, 0));
        assert_eq!(view.nodes[1].ever_lost_by["no answer"].len(), 1);
        assert_eq!(view.faults[1], Fault { node: 1, what: What::Resume, at: 90 });
    }

    #[test]
    fn failures_are_counted_by_node_and_reason() {
        let mut log = log(2);
        say(&mut log, 0, 0, Said::Attempt { resources: vec![COUNTER], sharing: Sharing::Exclusive });
        let why = crate::chaos::event::Why::NoQuorum;
        say(&mut log, 0, 1, Said::Missed { why, failures: [lost(0), lost(1)].concat() });
        say(&mut log, 1, 2, Said::Unconfirmed { failures: lost(1) });
        assert_eq!(View::of(&log, &frame(10)).nodes[1].failures["no answer"], 2);
    }

    #[test]
    fn sections_are_counted_when_they_have_raised_the_counter() {
        let mut log = log(2);
        for (at, what) in [(20, Said::Counted { read: 0 }), (30, Said::Released)] {
            if at == 20 {
                acquire(&mut log, 0, 10, 900);
            }
            say(&mut log, 0, at, what);
        }
        acquire(&mut log, 1, 40, 900);
        say(&mut log, 1, 50, Said::Released);
        let view = View::of(&log, &frame(10));
        assert_eq!((view.done, view.rate), (1, vec![1]));
    }
}
