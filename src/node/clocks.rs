//! The clocks of all nodes as one client has followed them; the rules are in `protocol/clock_history.rs` and
//! `protocol/clock_peers.rs`.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::planted;
use crate::protocol::{
    ClockHistory, ClockNews, ClockRule, Drift, Moved, NodeView, Pace, PeerClock, Quarantine, Quorum, Reading,
    SETTLES_AFTER, moved, take_standstill,
};
use crate::types::sync::{AtomicU64, Mutex, MutexGuard};
use crate::types::{Guarding, Moment, NodeId, Published, Ttl};

/// The clock guard of one client.
pub(crate) struct Clocks {
    guarding: Guarding,
    rule: ClockRule,
    quorum: Quorum,
    /// A mutex for each, because every grant brings a reading along. Whoever needs several takes them in their order.
    nodes: Box<[Mutex<ClockHistory>]>,
    /// For each node, when its last quarantine ends, in nanoseconds of our clock: attempts read it without the mutex.
    refused_until: Box<[AtomicU64]>,
    /// Changes when a clock has jumped.
    jumps: Published<()>,
    /// Puts our own clock forward, which stood still.
    forward: Box<dyn Fn(Duration) + Send + Sync>,
}

impl Clocks {
    pub(crate) fn new(
        guarding: Guarding,
        (drift, max_ttl, quorum): (Drift, Ttl, Quorum),
        forward: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        let guarding = if planted::is(planted::Fault::NoClockGuard) { Guarding::Off } else { guarding };
        Self {
            guarding,
            rule: ClockRule::new(drift, max_ttl),
            quorum,
            nodes: (0..quorum.nodes()).map(|_| Mutex::new(ClockHistory::new())).collect(),
            refused_until: (0..quorum.nodes()).map(|_| AtomicU64::new(u64::MAX)).collect(),
            jumps: Published::new(()),
            forward: Box::new(forward),
        }
    }

    pub(crate) fn are_guarded(&self) -> bool {
        self.guarding == Guarding::On
    }

    /// `longest` is the longest lease of all clients.
    pub(super) fn handle_reading(&self, node: NodeId, reading: Reading, longest: Ttl) {
        let mut history = self.lock(node);
        let is_one_of_many = history.has_just_jumped(reading.received);
        let pace = history.handle_reading(reading, self.rule(longest));
        self.publish(node, &history, longest);
        drop(history);
        match pace {
            Pace::Jumped if self.are_guarded() => {}
            Pace::Jumped | Pace::Steady => return,
        }
        let standstill = self.take_standstill(longest);
        if !is_one_of_many {
            self.jumps.set(());
        }
        if let Some(standstill) = standstill {
            tracing::warn!(
                ?standstill,
                "our own clock stood still, as that of a machine that was frozen; it is put forward"
            );
            (self.forward)(standstill);
        }
    }

    /// What to write into the record of `node`, read just now; nothing while it is not known whether clocks stepped.
    pub(super) fn news(&self, node: NodeId, reading: Reading, ids: &[String]) -> ClockNews {
        let nodes = self.lock_all();
        let own = &nodes[node.0];
        if !own.is_past_known() || own.has_just_jumped(reading.received) {
            return ClockNews::default();
        }
        let peer = |(other, id): (&MutexGuard<'_, ClockHistory>, &String)| {
            let reading_of_other = other.last().filter(|_| !id.is_empty() && other.is_past_known())?;
            Some((id.clone(), PeerClock::of(reading, reading_of_other)))
        };
        let others =
            nodes.iter().zip(ids).enumerate().filter(|(i, (other, _))| *i != node.0 && other.is_connected());
        let peers = others.filter_map(|(_, other)| peer(other)).collect();
        let left = reading.received.until(own.endangered_until());
        let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        ClockNews { peers, stepped: (left > 0).then(|| reading.clock.saturating_add(left)) }
    }

    /// Node `unused` was observed, and no client can hold a lease on it.
    pub(super) fn handle_unused(&self, unused: NodeId, longest: Ttl) {
        let mut history = self.lock(unused);
        history.handle_past_known();
        self.publish(unused, &history, longest);
    }

    /// Judges the clocks that we have just begun to follow by what other clients wrote.
    pub(super) fn handle_known(&self, known: &[Option<NodeView>], longest: Ttl) {
        let rule = self.rule(longest);
        for i in 0..self.nodes.len() {
            let mut history = self.lock(NodeId(i));
            let Some(own) = known[i].as_ref().filter(|own| history.is_past_unknown_at(own.received)) else {
                continue;
            };
            if let Some(until) = own.stepped_until() {
                history.handle_told(until, rule);
            }
            match moved(i, known, self.quorum, rule) {
                Moved::Alike => history.handle_past_known(),
                Moved::Ahead(gain) => history.handle_past_gain(gain, rule),
                Moved::Unknown => {}
            }
            self.publish(NodeId(i), &history, longest);
        }
    }

    pub(super) fn handle_down(&self, node: NodeId) {
        self.lock(node).handle_down();
    }

    /// Until when the grants of a node do not count because of its clock, and why.
    pub(super) fn quarantine(&self, node: NodeId, now: Moment, longest: Ttl) -> Option<Quarantine> {
        match self.guarding {
            Guarding::On if now.as_nanos() < self.refused_until[node.0].load(Ordering::Relaxed) => {
                self.lock(node).quarantine(now, self.rule(longest))
            }
            Guarding::On | Guarding::Off => None,
        }
    }

    /// How long to wait before the next observation of a node, `every` at most: a jump is written once it is sure that it
    /// was none of our own clock.
    pub(super) fn pause(&self, node: NodeId, now: Moment, every: Duration) -> Duration {
        if self.lock(node).has_just_jumped(now) { SETTLES_AFTER.min(every) } else { every }
    }

    /// The number of jumps, to be given to [`jumped_since`](Self::jumped_since).
    pub(super) fn jumps(&self) -> u64 {
        self.jumps.version()
    }

    /// Returns when a clock has jumped since `jumps`: all nodes are observed then, because all clocks may have jumped.
    /// Cancel safe.
    pub(super) async fn jumped_since(&self, jumps: u64) {
        self.jumps.changed_since(jumps).await;
    }

    fn publish(&self, node: NodeId, history: &ClockHistory, longest: Ttl) {
        let until = history.last_quarantine(self.rule(longest)).until;
        self.refused_until[node.0].store(until.as_nanos(), Ordering::Relaxed);
    }

    fn rule(&self, longest: Ttl) -> ClockRule {
        self.rule.with_longest(longest)
    }

    fn take_standstill(&self, longest: Ttl) -> Option<Duration> {
        let mut nodes = self.lock_all();
        let standstill = take_standstill(&mut nodes, self.quorum)?;
        nodes.iter().enumerate().for_each(|(i, history)| self.publish(NodeId(i), history, longest));
        Some(standstill)
    }

    fn lock(&self, node: NodeId) -> MutexGuard<'_, ClockHistory> {
        self.nodes[node.0].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_all(&self) -> Vec<MutexGuard<'_, ClockHistory>> {
        (0..self.nodes.len()).map(|i| self.lock(NodeId(i))).collect()
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clocks").field("guarding", &self.guarding).finish_non_exhaustive()
    }
}
