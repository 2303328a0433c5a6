//! The restart guard of one client: judged whenever something new is known of a node, and looked up at each attempt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::{Guarding, Settings};
use crate::error::NodeFailure;
use crate::node::Roster;
use crate::protocol::{Quarantine, RestartGuard};
use crate::types::{Moment, NodeId};

/// Stands for what has not been judged yet; versions of the roster count from 0.
const NEVER: u64 = u64::MAX;

pub(super) struct Guard {
    rule: RestartGuard,
    /// The version of the roster that was judged.
    judged: AtomicU64,
    /// Until when each node is in quarantine, in nanoseconds.
    until: Vec<AtomicU64>,
    quarantines: Mutex<Vec<Option<Quarantine>>>,
}

impl Guard {
    pub(super) fn new(settings: &Settings) -> Self {
        let rule = match settings.guarding {
            Guarding::Off => RestartGuard::Off,
            Guarding::On => {
                RestartGuard::On { clock_drift_factor: settings.drift.factor, eviction: settings.eviction }
            }
        };
        let nodes = settings.nodes.len();
        Self {
            rule,
            judged: AtomicU64::new(NEVER),
            until: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
            quarantines: Mutex::new(vec![None; nodes]),
        }
    }

    /// Why a node's grant does not count, where it does not at `now`. Takes a lock only where something is new or the node
    /// is in quarantine.
    pub(super) fn quarantined(&self, node: NodeId, now: Moment, roster: &Roster) -> Option<NodeFailure> {
        if self.judged.load(Ordering::Acquire) != roster.version() {
            self.judge(roster);
        }
        if now.as_nanos() >= self.until[node.0].load(Ordering::Relaxed) {
            return None;
        }
        let quarantines = self.quarantines.lock().unwrap_or_else(PoisonError::into_inner);
        let quarantine = quarantines[node.0].filter(|quarantine| now < quarantine.until)?;
        Some(NodeFailure::Quarantined { left: now.until(quarantine.until), cause: quarantine.cause })
    }

    fn judge(&self, roster: &Roster) {
        let mut quarantines = self.quarantines.lock().unwrap_or_else(PoisonError::into_inner);
        // Before what it stands for is read: what comes meanwhile is judged the next time.
        let version = roster.version();
        let known = roster.known();
        for (node, until) in self.until.iter().enumerate() {
            quarantines[node] = self.rule.quarantine(node, &known);
            let end = quarantines[node].map_or(0, |quarantine| quarantine.until.as_nanos());
            until.store(end, Ordering::Relaxed);
        }
        self.judged.store(version, Ordering::Release);
    }
}
