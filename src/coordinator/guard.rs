//! The guards of one client: whose grants count, and from when to when. The restart guard computes this
//! whenever the roster has news of a node, the clock guard with each reading of a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Coordinator;
use super::fanout::Reply;
use crate::config::Settings;
use crate::error::NodeFailure;
use crate::node::{Acquired, Answered, Roster};
use crate::planted;
use crate::protocol::{Bar, NodeView, Quarantine, Reading, RestartGuard, is_introduced};
use crate::types::{Guarding, Moment, NodeId};

/// The value of `judged` before the first evaluation; versions of the roster count from 0.
const NEVER: u64 = u64::MAX;

pub(super) struct Guard {
    rule: RestartGuard,
    /// The version of the roster that was last evaluated.
    judged: AtomicU64,
    /// For each node, from when to when its grants count.
    counts: Vec<Counts>,
    refusals: Mutex<Vec<Refusal>>,
}

/// Why the grants of one node do not count.
#[derive(Clone, Copy, Default)]
struct Refusal {
    bar: Option<Bar>,
    quarantine: Option<Quarantine>,
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
            refusals: Mutex::new(vec![Refusal::default(); nodes]),
        }
    }

    /// Why a node's grant does not count at `now`; `None` if it counts. Locks a mutex only if the roster has changed or
    /// the grant does not count.
    pub(super) fn refusal(&self, node: NodeId, now: Moment, roster: &Roster) -> Option<NodeFailure> {
        let by_clock = || roster.clock_quarantine(node, now).map(|quarantine| refused(quarantine, now));
        self.forgetful(node, now, roster).or_else(by_clock)
    }

    fn forgetful(&self, node: NodeId, now: Moment, roster: &Roster) -> Option<NodeFailure> {
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
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let Refusal { bar, quarantine } = refusals[node.0];
        Some(match (bar, quarantine.filter(|quarantine| now < quarantine.until)) {
            (Some(Bar::NotYet), _) => NodeFailure::NodesNotYetInUse,
            (Some(Bar::Over), _) => NodeFailure::NodesGivenUp,
            (None, Some(quarantine)) => refused(quarantine, now),
            (None, None) => NodeFailure::NotObserved,
        })
    }

    fn judge(&self, roster: &Roster) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
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
            let quarantine = self.rule.quarantine(node, &known);
            let bar = known[node].as_ref().and_then(NodeView::bar);
            let is_ignored = planted::is(planted::Fault::NewListVotesAtOnce);
            let bar = bar.filter(|bar| !is_ignored || *bar != Bar::NotYet);
            refusals[node] = Refusal { bar, quarantine };
            let from = quarantine.map_or(0, |quarantine| quarantine.until.as_nanos());
            let until = match &known[node] {
                Some(own) if bar.is_none() && is_introduced(node, &known) => {
                    roster.fresh_until(own.sent).as_nanos()
                }
                Some(_) | None => 0,
            };
            counts.from.store(from, Ordering::Relaxed);
            counts.until.store(until, Ordering::Relaxed);
        }
        self.judged.store(version, Ordering::Release);
    }
}

impl Coordinator {
    /// What the answer of `node` to an acquire that was queued after `sent_at` counts for: a grant counts only if the
    /// node's clock, read right after, shows no gain that endangers leases. A reading that took longer than the node
    /// timeout could hide one.
    pub(super) fn with_clock(
        self: &Arc<Self>,
        node: NodeId,
        sent: Moment,
    ) -> impl FnOnce(Reply<Answered>) -> Reply<Acquired> + Send + use<> {
        let this = Arc::clone(self);
        move |reply| {
            let Answered { acquired, clock } = reply?;
            let Some(clock) = clock else { return Ok(acquired) };
            let received = this.now();
            let sent = if planted::is(planted::Fault::SentAtLate) { received } else { sent };
            let clock =
                clock.map(|clock| this.roster.handle_reading(node, Reading { sent, received, clock }));
            if let Acquired::Denied(_) = acquired {
                return Ok(acquired);
            }
            clock?;
            let after = this.settings.node_timeout;
            if sent.until(received) > after {
                return Err(NodeFailure::NoAnswer { after });
            }
            match this.roster.clock_quarantine(node, received) {
                Some(quarantine) => Err(refused(quarantine, received)),
                None => Ok(acquired),
            }
        }
    }
}

fn refused(Quarantine { until, cause }: Quarantine, now: Moment) -> NodeFailure {
    NodeFailure::Quarantined { left: now.until(until), cause }
}

#[cfg(all(test, unix))]
#[path = "clocks_tests.rs"]
mod tests;
