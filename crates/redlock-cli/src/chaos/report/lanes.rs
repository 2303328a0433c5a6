//! The states of each node and each client over time.

use redlock_testing::{ClientFault, Clients, Link, Nemesis};

use super::super::log::{End, Hit, Log};
use super::super::plan::Act;
use super::scale::{COLUMNS, Scale};
use crate::chaos::log::QUARANTINED;

/// A period in a lane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) until: u64,
    /// The CSS class.
    pub(super) class: &'static str,
    pub(super) title: String,
}

/// A moment in a lane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) class: &'static str,
    pub(super) title: String,
}

#[derive(Debug, Default)]
pub(super) struct NodeLane {
    pub(super) stretches: Vec<Stretch>,
    pub(super) marks: Vec<Mark>,
}

/// One client's lane. Holds and waits are shares of columns, because there are thousands of short ones.
#[derive(Debug)]
pub(super) struct ClientLane {
    pub(super) waiting: Vec<f64>,
    pub(super) holding: Vec<f64>,
    /// When the client's ways to nodes were cut or bad.
    pub(super) ways: Vec<Stretch>,
    pub(super) stretches: Vec<Stretch>,
    pub(super) marks: Vec<Mark>,
}

pub(super) fn of_node(log: &Log, node: usize, seconds: impl Fn(u64) -> f64) -> NodeLane {
    let mut lane = NodeLane { stretches: quarantines(log, node), marks: Vec::new() };
    for hit in &log.hits {
        let Act::Node { node: hit_node, nemesis } = &hit.act else { continue };
        if *hit_node != node {
            continue;
        }
        let title = format!("{nemesis} ({}) at {:.1} s", hit.name, seconds(hit.at));
        match class_of(nemesis) {
            Class::Mark(class) => lane.marks.push(Mark { at: hit.applied_at, class, title }),
            Class::Stretch(class) => {
                let until = over(hit, log);
                let title = format!("{title}, healed at {:.1} s", seconds(until));
                lane.stretches.push(Stretch { from: hit.at, until, class, title });
            }
        }
    }
    lane
}

pub(super) fn of_client(log: &Log, client: usize, scale: Scale, seconds: impl Fn(u64) -> f64) -> ClientLane {
    let mut lane = ClientLane {
        waiting: vec![0.0; COLUMNS],
        holding: vec![0.0; COLUMNS],
        ways: ways(log, client, &seconds),
        stretches: Vec::new(),
        marks: Vec::new(),
    };
    for visit in &log.clients[client].visits {
        scale.cover(&mut lane.waiting, visit.requested_at, visit.acquired_at);
        let killed_at = log.clients[client].lives.get(visit.life - 1).and_then(|life| life.killed_at);
        scale.cover(&mut lane.holding, visit.acquired_at, killed_at.unwrap_or(u64::MAX).min(visit.until()));
        if let End::Lost { at, why } = &visit.end {
            let title = format!("lost at {:.1} s: {why}", seconds(*at));
            lane.marks.push(Mark { at: *at, class: "lost", title });
        }
    }
    for wait in &log.clients[client].waits {
        scale.cover(&mut lane.waiting, wait.from, wait.until);
    }
    for hit in &log.hits {
        let until = over(hit, log);
        let (class, what) = match &hit.act {
            Act::Client { client: hit, fault: ClientFault::Pause } if *hit == client => ("paused", "paused"),
            Act::Client { client: hit, fault: ClientFault::Kill } if *hit == client => ("down", "killed"),
            Act::Client { .. } | Act::Node { .. } => continue,
        };
        let title = format!("{what} at {:.1} s, back at {:.1} s", seconds(hit.at), seconds(until));
        lane.stretches.push(Stretch { from: hit.at, until, class, title });
    }
    lane
}

/// The cut or bad ways of one client. Ways that changed together form one stretch.
fn ways(log: &Log, client: usize, seconds: impl Fn(u64) -> f64) -> Vec<Stretch> {
    let mut ways: Vec<(Stretch, Vec<String>)> = Vec::new();
    for hit in &log.hits {
        let Act::Node { node, nemesis: Nemesis::Link { from: Clients::One(whose), link } } = &hit.act else {
            continue;
        };
        if *whose != client {
            continue;
        }
        let (from, until, class) = (hit.at, over(hit, log), class_of_link(link));
        let node = log.node_name(*node);
        let what = format!("{link} ({})", hit.name);
        let same =
            |stretch: &Stretch| stretch.title == what && from <= stretch.until && stretch.from <= until;
        match ways.iter_mut().find(|(stretch, _)| same(stretch)) {
            Some((stretch, nodes)) => {
                (stretch.from, stretch.until) = (stretch.from.min(from), stretch.until.max(until));
                nodes.push(node);
            }
            None => ways.push((Stretch { from, until, class, title: what }, vec![node])),
        }
    }
    let told = |(stretch, mut nodes): (Stretch, Vec<String>)| {
        // Sorted, because the order of faults that began together is arbitrary.
        nodes.sort_unstable();
        let (from, until) = (seconds(stretch.from), seconds(stretch.until));
        let title = format!(
            "its way to {}: {} at {from:.1} s, healed at {until:.1} s",
            nodes.join(", "),
            stretch.title
        );
        Stretch { title, ..stretch }
    };
    ways.into_iter().map(told).collect()
}

fn class_of_link(link: &Link) -> &'static str {
    match link {
        Link::Cut | Link::Reset => "cut",
        Link::Slow { .. } | Link::Lossy { .. } | Link::Narrow { .. } | Link::Open => "link",
    }
}

fn over(hit: &Hit, log: &Log) -> u64 {
    hit.healed_at.unwrap_or(log.ended_at)
}

/// When clients did not count a node's votes because it may have forgotten locks.
fn quarantines(log: &Log, node: usize) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for client in &log.clients {
        let mut since = None;
        let changes = client
            .lost_nodes
            .iter()
            .map(|(at, lost)| (*at, lost.iter().any(|lost| lost.node == node && lost.reason == QUARANTINED)));
        for (at, is_in) in changes.chain([(log.ended_at, false)]) {
            match (since, is_in) {
                (None, true) => since = Some(at),
                (Some(from), false) => {
                    since = None;
                    stretches.push(Stretch {
                        from,
                        until: at,
                        class: "quarantined",
                        title: "quarantined: it may have forgotten what it granted".to_owned(),
                    });
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }
    merged(stretches)
}

/// Joins overlapping stretches, because several clients observe the same quarantine at about the same time.
fn merged(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_by_key(|stretch| stretch.from);
    let mut merged: Vec<Stretch> = Vec::new();
    for stretch in stretches {
        match merged.last_mut() {
            Some(last) if stretch.from <= last.until => last.until = last.until.max(stretch.until),
            Some(_) | None => merged.push(stretch),
        }
    }
    merged
}

enum Class {
    Stretch(&'static str),
    Mark(&'static str),
}

fn class_of(nemesis: &Nemesis) -> Class {
    match nemesis {
        Nemesis::Kill { .. } => Class::Stretch("down"),
        Nemesis::Pause => Class::Stretch("paused"),
        Nemesis::Cut => Class::Stretch("cut"),
        Nemesis::Link { from: Clients::All, link } => Class::Stretch(class_of_link(link)),
        Nemesis::Link { .. } => Class::Stretch("link"),
        Nemesis::MemoryFull => Class::Stretch("memory"),
        Nemesis::ClockRate { .. } => Class::Stretch("clock"),
        Nemesis::Restart { .. } => Class::Mark("restarted"),
        Nemesis::ClockStep { .. } => Class::Mark("clock"),
        Nemesis::FlushAll => Class::Mark("flushed"),
        Nemesis::ScriptFlush | _ => Class::Mark("other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::plan::Origin;

    #[test]
    fn a_cut_between_a_client_and_nodes_is_in_the_lane_of_the_client() {
        let mut log = Log::new(2, vec!["a:1".into(), "b:1".into(), "c:1".into()]);
        let cut = |node, client, link| Hit {
            act: Act::Node { node, nemesis: Nemesis::Link { from: Clients::One(client), link } },
            name: "cut",
            origin: Origin::Random,
            at: 2_000_000_000,
            applied_at: 2_000_000_000,
            healed_at: Some(5_000_000_000),
        };
        log.ended_at = 9_000_000_000;
        log.hits = vec![cut(0, 1, Link::Cut), cut(2, 1, Link::Cut)];
        log.hits.push(cut(1, 1, Link::Lossy { percent: 9 }));
        let lane =
            |client| of_client(&log, client, Scale::new(0, log.ended_at), |time| time as f64 / 1e9).ways;
        assert_eq!(lane(0), []);
        let title = "its way to a:1, c:1: cut off (cut) at 2.0 s, healed at 5.0 s".to_owned();
        let (from, until) = (2_000_000_000, 5_000_000_000);
        assert_eq!(lane(1)[0], Stretch { from, until, class: "cut", title });
        assert_eq!((lane(1).len(), lane(1)[1].class), (2, "link"));
    }
}
