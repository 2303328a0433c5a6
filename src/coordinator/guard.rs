//! The guards of one client: whose grants count, and from when to when. The restart guard computes this
//! whenever the roster has news of a node, the clock guard with each reading of a clock.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Coordinator;
use super::fanout::Reply;
use crate::config::Settings;
use crate::error::NodeFailure;
use crate::node::{Acquired, Answered, Roster};
use crate::planted;
use crate::protocol::{Bar, NodeView, Quarantine, Reading, RestartGuard, is_introduced};
use crate::types::sync::{AtomicU64, Mutex, MutexGuard};
use crate::types::{Guarding, Moment, NodeId};

/// The value of `judged` before the first evaluation; versions of the roster count from 0.
const NEVER: u64 = u64::MAX;

pub(super) struct Guard {
    rule: RestartGuard,
    /// The version of the roster that was last evaluated.
    judged: AtomicU64,
    /// For each node, from when to when its grants count.
    counts: Vec<Counts>,
    /// How often the writing of `counts` began or ended: odd while it is under way.
    writes: AtomicU64,
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
            writes: AtomicU64::new(0),
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
        if self.counting(node).contains(&now.as_nanos()) {
            return None;
        }
        let Refusal { bar, quarantine } = self.refusals()[node.0];
        Some(match (bar, quarantine.filter(|quarantine| now < quarantine.until)) {
            (Some(Bar::NotYet), _) => NodeFailure::NodesNotYetInUse,
            (Some(Bar::Over), _) => NodeFailure::NodesGivenUp,
            (None, Some(quarantine)) => refused(quarantine, now),
            (None, None) => NodeFailure::NotObserved,
        })
    }

    /// From when to when the grants of a node count. Both ends are of one evaluation: the beginning of one and the end
    /// of the next could make a time where both refuse.
    fn counting(&self, node: NodeId) -> Range<u64> {
        let Counts { from, until } = &self.counts[node.0];
        let read = || from.load(Ordering::SeqCst)..until.load(Ordering::SeqCst);
        let before = self.writes.load(Ordering::SeqCst);
        let counting = read();
        if before.is_multiple_of(2) && self.writes.load(Ordering::SeqCst) == before {
            return counting;
        }
        // Nothing is written while this is locked.
        let _refusals = self.refusals();
        read()
    }

    /// `refusals` is locked, so that one evaluation at a time is written.
    fn write(&self, _refusals: &mut [Refusal], counting: impl Iterator<Item = Range<u64>>) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        for (counts, Range { start, end }) in self.counts.iter().zip(counting) {
            counts.from.store(start, Ordering::SeqCst);
            counts.until.store(end, Ordering::SeqCst);
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    fn refusals(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, roster: &Roster) {
        let mut refusals = self.refusals();
        // The version is read before the views, so that a change in between is evaluated the next time.
        let version = roster.version();
        let mut known = roster.known();
        let memory_believed = [planted::Fault::UptimeBelieved, planted::Fault::ReplicationIdBelieved];
        let is_memory_believed = memory_believed.into_iter().any(planted::is);
        if is_memory_believed || planted::is(planted::Fault::StrangerBelieved) {
            for own in known.iter_mut().flatten() {
                // Where a declaration is believed, it is not the memory that is.
                if is_memory_believed && own.record.is_declared {
                    continue;
                }
                own.record_mut().lists.clear();
                own.replaced = None;
            }
        }
        let mut counting = Vec::with_capacity(known.len());
        for (node, refusal) in refusals.iter_mut().enumerate() {
            let quarantine = self.rule.quarantine(node, &known);
            let bar = known[node].as_ref().and_then(NodeView::bar);
            let is_ignored = planted::is(planted::Fault::NewListVotesAtOnce);
            let bar = bar.filter(|bar| !is_ignored || *bar != Bar::NotYet);
            *refusal = Refusal { bar, quarantine };
            let from = quarantine.map_or(0, |quarantine| quarantine.until.as_nanos());
            let until = match &known[node] {
                Some(own) if bar.is_none() && is_introduced(node, &known) => {
                    roster.fresh_until(own.sent).as_nanos()
                }
                Some(_) | None => 0,
            };
            counting.push(from..until);
        }
        self.write(&mut refusals, counting.into_iter());
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

#[cfg(all(test, redlock_shuttle))]
#[path = "guard_schedules_tests.rs"]
mod schedules;

#[cfg(all(test, unix))]
#[path = "clocks_tests.rs"]
mod tests;
