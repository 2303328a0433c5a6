//! The restart guard of one client: whose grants count, and from when to when. Computed whenever the roster has news of
//! a node, and read by each attempt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::{Guarding, Settings};
use crate::error::NodeFailure;
use crate::node::Roster;
use crate::planted;
use crate::protocol::{Quarantine, RestartGuard, is_introduced};
use crate::types::{Moment, NodeId};

/// The value of `judged` before the first evaluation; versions of the roster count from 0.
const NEVER: u64 = u64::MAX;

pub(super) struct Guard {
    rule: RestartGuard,
    /// The version of the roster that was last evaluated.
    judged: AtomicU64,
    /// For each node, from when to when its grants count.
    counts: Vec<Counts>,
    quarantines: Mutex<Vec<Option<Quarantine>>>,
}

/// From when to when the grants of one node count, in nanoseconds of our clock.
#[derive(Default)]
struct Counts {
    from: AtomicU64,
    until: AtomicU64,
}

impl Guard {
    pub(super) fn new(settings: &Settings) -> Self {
        let rule = match settings.guarding {
            Guarding::Off => RestartGuard::Off,
            Guarding::On => {
                let (clock_drift_factor, eviction) = (settings.drift.factor, settings.eviction);
                RestartGuard::On { clock_drift_factor, eviction }
            }
        };
        let nodes = settings.nodes.len();
        Self {
            rule,
            judged: AtomicU64::new(NEVER),
            counts: (0..nodes).map(|_| Counts::default()).collect(),
            quarantines: Mutex::new(vec![None; nodes]),
        }
    }

    /// Why a node's grant does not count at `now`; `None` if it counts. Locks a mutex only if the roster has changed or
    /// the grant does not count.
    pub(super) fn refusal(&self, node: NodeId, now: Moment, roster: &Roster) -> Option<NodeFailure> {
        if self.rule == RestartGuard::Off || planted::is(planted::Fault::NoQuarantine) {
            return None;
        }
        if self.judged.load(Ordering::Acquire) != roster.version() {
            self.judge(roster);
        }
        let Counts { from, until } = &self.counts[node.0];
        let (from, until) = (from.load(Ordering::Relaxed), until.load(Ordering::Relaxed));
        if (from..until).contains(&now.as_nanos()) {
            return None;
        }
        let quarantines = self.quarantines.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match quarantines[node.0].filter(|quarantine| now < quarantine.until) {
            Some(Quarantine { until, cause }) => NodeFailure::Quarantined { left: now.until(until), cause },
            None => NodeFailure::NotObserved,
        })
    }

    fn judge(&self, roster: &Roster) {
        let mut quarantines = self.quarantines.lock().unwrap_or_else(PoisonError::into_inner);
        // The version is read before the views, so that a change in between is evaluated the next time.
        let version = roster.version();
        let mut known = roster.known();
        if planted::is(planted::Fault::StrangerBelieved) {
            for own in known.iter_mut().flatten() {
                own.record.lists.clear();
                own.replaced = None;
            }
        }
        for (node, counts) in self.counts.iter().enumerate() {
            quarantines[node] = self.rule.quarantine(node, &known);
            let from = quarantines[node].map_or(0, |quarantine| quarantine.until.as_nanos());
            let until = match &known[node] {
                Some(own) if is_introduced(node, &known) => roster.fresh_until(own.sent).as_nanos(),
                Some(_) | None => 0,
            };
            counts.from.store(from, Ordering::Relaxed);
            counts.until.store(until, Ordering::Relaxed);
        }
        self.judged.store(version, Ordering::Release);
    }
}
