//! The time in which locks could be acquired.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::log::{Log, Outcome};
use super::promise::client_hits;

/// The longest handover from one holder to the next in a healthy run. Shorter times are no gaps.
const HAND_OVER: Duration = Duration::from_millis(250);

/// The availability of all resources together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Availability {
    /// Share of the time, from 0 to 1, in which every lock was held by a living client, was not wanted, or was being
    /// handed over.
    pub(crate) share: f64,
    /// The times when a client waited for a lock that no living client held, for longer than a handover takes.
    pub(crate) gaps: Vec<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) resource: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Gap {
    pub(crate) fn length(self) -> Duration {
        Duration::from_nanos(self.until - self.from)
    }
}

impl Availability {
    pub(super) fn of(log: &Log) -> Self {
        let mut resources: BTreeMap<usize, Vec<(u64, Change)>> = BTreeMap::new();
        let mut span = |resource: usize, from: u64, until: u64, changes: (Change, Change)| {
            let (from, until) = (from.max(log.began_at), until.min(log.ended_at));
            if from < until {
                resources.entry(resource).or_default().extend([(from, changes.0), (until, changes.1)]);
            }
        };
        for (number, client) in log.clients.iter().enumerate() {
            for visit in &client.visits {
                let killed_at = client.lives.get(visit.life - 1).and_then(|life| life.killed_at);
                let until = killed_at.map_or(visit.until(), |killed_at| visit.until().min(killed_at));
                span(visit.resource, visit.acquired_at, until, (Change::Held, Change::Left));
            }
            // A client asks again after a failed wait, so that its successive waits count as one.
            let won = client.visits.iter().map(|visit| (visit.resource, visit.wanted_at, visit.acquired_at));
            let cut_short = client.waits.iter().filter(|wait| wait.outcome == Outcome::CutShort);
            let in_vain = cut_short.map(|wait| (wait.resource, wait.wanted_at, wait.until));
            for (resource, mut from, until) in won.chain(in_vain) {
                // A paused client wants nothing.
                for (_, pause) in client_hits(log).filter(|(paused, _)| *paused == number) {
                    let over = pause.healed_at.unwrap_or(log.ended_at);
                    if pause.at < until && from < over {
                        span(resource, from, pause.at, (Change::Wanted, Change::Satisfied));
                        from = over;
                    }
                }
                span(resource, from, until, (Change::Wanted, Change::Satisfied));
            }
        }
        let count = resources.len().max(1);
        let gaps: Vec<Gap> =
            resources.into_iter().flat_map(|(resource, changes)| gaps(resource, changes)).collect();
        let missing: f64 = gaps.iter().map(|gap| gap.length().as_secs_f64()).sum();
        let all =
            Duration::from_nanos(log.ended_at.saturating_sub(log.began_at)).as_secs_f64() * count as f64;
        let share = if all > 0.0 { 1.0 - missing / all } else { 0.0 };
        Self { share, gaps }
    }

    pub(crate) fn longest_gap(&self) -> Duration {
        self.gaps.iter().map(|gap| gap.length()).max().unwrap_or_default()
    }
}

/// A change at a moment. Changes at the same moment are sorted in this order, so that a handover without a pause is no
/// gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Held,
    Satisfied,
    Left,
    Wanted,
}

fn gaps(resource: usize, mut changes: Vec<(u64, Change)>) -> Vec<Gap> {
    changes.sort_unstable();
    let (mut held, mut wanted, mut since, mut gaps) = (0_usize, 0_usize, None, Vec::new());
    for (at, change) in changes {
        match change {
            Change::Held => held += 1,
            Change::Left => held -= 1,
            Change::Wanted => wanted += 1,
            Change::Satisfied => wanted -= 1,
        }
        match (since, held == 0 && wanted > 0) {
            (None, true) => since = Some(at),
            (Some(from), false) => {
                since = None;
                gaps.push(Gap { resource, from, until: at });
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    gaps.retain(|gap| gap.length() > HAND_OVER);
    gaps
}
