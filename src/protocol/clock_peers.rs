//! The clock guard for a client that has just come and has not followed any clock yet. Clients that have write into each
//! node's record how far its clock is from the others'. A node counts at once if its clock has moved since then like those
//! of so many others that a quorum of all nodes cannot do without one of them.
//!
//! An example with three nodes, of which two make a quorum: the record of `a` says that its clock was 100 ms ahead of that
//! of `b`. Now it is 100 ms ahead of `b`, too: either both have stepped by the same, or none has. If it is 5.1 s ahead of
//! `b`, and no other node can be reached, `a` has stepped by 5 s, as far as the client can know.

use std::time::Duration;

use super::Quorum;
use super::clock_history::{ClockRule, Reading};
use super::quarantine::NodeView;
use super::record::{Observation, Record};
use crate::types::{Moment, NodeId};

/// The number of other nodes whose clocks a record remembers, as of nodes that it remembers.
const CLOCKS_MAX: usize = 64;
/// How much longer than needed a step stays in the record, so that it is not written anew for every observation of it.
const STEPPED_MARGIN: Duration = Duration::from_millis(100);

/// How far a node's clock was ahead of another node's, in microseconds: at least `least` and at most `most`. Measured at
/// `at` of the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerClock {
    pub(crate) at: u64,
    pub(crate) least: i64,
    pub(crate) most: i64,
}

/// What a client that knows the clocks writes along with an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockNews {
    /// The ids of other nodes, and how far the node's clock is from theirs.
    pub(crate) peers: Vec<(String, PeerClock)>,
    /// Until when, by the node's clock, a step endangers leases.
    pub(crate) stepped: Option<u64>,
}

/// How a node's clock moved, compared with the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// As the clocks of enough others.
    Alike,
    Ahead(Duration),
    /// Nobody has measured enough of the clocks that can be read now.
    Unknown,
}

impl PeerClock {
    /// The distance of two clocks that were read about the same time. Dated to the earlier of the readings.
    pub(crate) fn of(own: Reading, other: Reading) -> Self {
        let ((own_least, own_most), (other_least, other_most)) = (own.offset(), other.offset());
        let apart = other.sent.until(own.received);
        Self {
            at: own.clock.saturating_sub(micros(apart)),
            least: clamped((own_least - other_most).div_euclid(1000)),
            most: clamped((own_most - other_least).div_euclid(1000) + 1),
        }
    }
}

/// How the clock of `node` moved since clients wrote about it. Others are enough if no quorum can do without them and the
/// node.
pub(crate) fn moved(node: usize, known: &[Option<NodeView>], quorum: Quorum, rule: ClockRule) -> Moved {
    let Some(own) = &known[node] else { return Moved::Unknown };
    let is_other = |i: &usize| *i != node && known[*i].as_ref().is_some_and(|other| other.is_up);
    let others = (0..known.len()).filter(is_other);
    let compared: Vec<_> =
        others.filter_map(|i| Some((NodeId(i), compared(own, known[i].as_ref()?, rule)?))).collect();
    let are_enough = |which: fn(&Compared) -> bool| {
        let others = compared.iter().filter(|(_, moved)| which(moved)).map(|(other, _)| *other);
        !quorum.is_met_without(others.chain([NodeId(node)]).collect())
    };
    let ahead = compared.iter().filter_map(|(_, moved)| match moved {
        Compared::Ahead(gain) => Some(*gain),
        Compared::Alike | Compared::Behind => None,
    });
    match ahead.max() {
        _ if are_enough(|moved| *moved == Compared::Alike) => Moved::Alike,
        Some(gain) if are_enough(|_| true) => Moved::Ahead(gain),
        Some(_) | None => Moved::Unknown,
    }
}

/// How a node's clock moved, compared with that of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Alike,
    Ahead(Duration),
    /// The other one got ahead, and may have stepped further than this one.
    Behind,
}

fn compared(own: &NodeView, other: &NodeView, rule: ClockRule) -> Option<Compared> {
    let before = own.record.clocks.get(&other.record.id)?;
    let now = PeerClock::of(own.reading(), other.reading());
    // A clock that has stepped tells a wrong age, and one that has stepped ahead too great a one.
    let their_time_then = before.at.saturating_add_signed(before.least.saturating_neg());
    let age = own.clock.saturating_sub(before.at).min(other.clock.saturating_sub(their_time_then));
    let apart = own.clock.saturating_sub(now.at);
    let allowed = rule.allowed(Duration::from_micros(age.saturating_add(apart)));
    let gain = |more: i64, than: i64| {
        let gain = Duration::from_micros(u64::try_from(more.saturating_sub(than)).unwrap_or(0));
        (gain > allowed).then_some(gain)
    };
    Some(match (gain(now.least, before.most), gain(before.least, now.most)) {
        (Some(gain), _) => Compared::Ahead(gain),
        (None, Some(_)) => Compared::Behind,
        (None, None) => Compared::Alike,
    })
}

impl NodeView {
    pub(crate) fn reading(&self) -> Reading {
        Reading { sent: self.sent, received: self.received, clock: self.clock }
    }

    /// Until when another client has seen that leases on the node are endangered.
    pub(crate) fn stepped_until(&self) -> Option<Moment> {
        let left = self.record.stepped?.checked_sub(self.clock)?;
        Some(self.received + Duration::from_micros(left))
    }
}

impl Record {
    /// Whether no client can have a lease that counts on the node: a lock needs nodes that know of each other.
    pub(crate) fn is_unused(&self) -> bool {
        self.lists.is_empty() && self.clocks.is_empty()
    }

    /// Writes the distances of clocks only along with another change of this record, or if one of them is new.
    pub(super) fn handle_clocks(&mut self, look: &Observation<'_>, old: Option<&Self>) {
        let ClockNews { peers, stepped } = look.clock;
        self.stepped = self.stepped.filter(|until| *until > look.now);
        if let Some(until) = stepped
            && self.stepped.is_none_or(|known| known < *until)
        {
            self.stepped = Some(until.saturating_add(micros(STEPPED_MARGIN)));
        }
        let is_written = old != Some(&*self) || peers.iter().any(|(id, _)| !self.clocks.contains_key(id));
        if !is_written {
            return;
        }
        self.clocks.extend(peers.iter().cloned());
        while self.clocks.len() > CLOCKS_MAX {
            let Some(oldest) = self.clocks.iter().min_by_key(|(_, clock)| clock.at).map(|(id, _)| id.clone())
            else {
                return;
            };
            self.clocks.remove(&oldest);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn clamped(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}
