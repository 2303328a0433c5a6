//! The clock guard: whose grants do not count, because the node's clock ran ahead of ours and leases may have ended early.
//!
//! Redis ends a key by its wall clock. When that clock gains more than the drift within the life of a lease, the key is
//! gone before the lease is over, and the node would help a second client to a quorum. So a client reads the clock of
//! each node again and again, also with every grant, and compares how far it advanced with its own clock.
//!
//! An example with a drift factor of 0.01 and 2 ms: between two readings 1 s apart the node's clock advances by 1.032 s.
//! The gain of 32 ms is more than the 12 ms that two clocks may run apart in that time. Of a lease of 3 s, or less, the
//! clocks may take away less than these 32 ms. So the node's grants do not count for another 3 s, until all such leases
//! that it granted before are over.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::time::Duration;

use super::intervals::{observation_lasts, observe_every};
use super::quarantine::Quarantine;
use super::{Drift, NodeSet, Quorum};
use crate::types::{Moment, NodeId, QuarantineCause, Ttl};

/// The number of time parts of which a history keeps a reading each. They cover the longest lease.
const PARTS: u32 = 32;
/// The part of the drift that does not grow with time, at most: Redis' granularity of 1 ms and our rounding. A client with
/// a larger floor allows for round trips, but those of other clients may be shorter.
const SLACK_MAX: Duration = Duration::from_millis(2);

/// How long a jump waits for readings of the other clocks, which may have jumped alike.
pub(crate) const SETTLES_AFTER: Duration = Duration::from_millis(50);

/// One reading of a node's clock. The node read its clock at some moment between `sent` and `received`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) sent: Moment,
    pub(crate) received: Moment,
    /// The node's wall clock in microseconds since 1970, rounded down.
    pub(crate) clock: u64,
}

impl Reading {
    pub(crate) fn round_trip(self) -> Duration {
        self.sent.until(self.received)
    }

    /// How far the node's clock was ahead of ours, in nanoseconds: at least the first and at most the second.
    pub(super) fn offset(self) -> (i128, i128) {
        let clock = i128::from(self.clock) * 1000;
        (clock - i128::from(self.received.as_nanos()), clock + 999 - i128::from(self.sent.as_nanos()))
    }

    /// How many parts in a million the node's clock ran faster than ours from `earlier` to here: at least the first and at
    /// most the second. `None` unless the earlier reading was over when this one began.
    pub(crate) fn rate_since(self, earlier: Self) -> Option<(f64, f64)> {
        let shortest = earlier.received.until(self.sent).as_secs_f64();
        let longest = earlier.sent.until(self.received).as_secs_f64();
        let theirs = i128::from(self.clock) - i128::from(earlier.clock);
        // Both readings are rounded down to a microsecond.
        #[expect(clippy::cast_precision_loss, reason = "microseconds of less than a century are exact")]
        let (least, most) = ((theirs - 1) as f64, (theirs + 1) as f64);
        (shortest > 0.0).then(|| {
            // Of a clock that was set back both are negative, and a shorter time makes them lower.
            ((least / longest).min(least / shortest) - 1e6, (most / longest).max(most / shortest) - 1e6)
        })
    }

    /// By how much the node's clock ran ahead of ours from `earlier` to here, and not less; and how long that took, at
    /// most.
    fn gain_since(self, earlier: Self) -> (Duration, Duration) {
        (nanos(self.offset().0 - earlier.offset().1), earlier.sent.until(self.received))
    }
}

/// By how much clocks may run apart, and how long a lease may last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClockRule {
    factor: f64,
    slack: Duration,
    /// Our own longest lease, which says how often we observe.
    ours: Ttl,
    /// The longest lease of all clients.
    longest: Ttl,
}

impl ClockRule {
    pub(crate) fn new(drift: Drift, ours: Ttl) -> Self {
        Self { factor: drift.factor, slack: drift.floor.min(SLACK_MAX), ours, longest: ours }
    }

    /// The rule while the longest lease of all clients is this.
    pub(crate) fn with_longest(self, longest: Ttl) -> Self {
        Self { longest, ..self }
    }

    /// How far two clocks may run apart within `stretch`.
    pub(super) fn allowed(self, stretch: Duration) -> Duration {
        stretch.mul_f64(self.factor) + self.slack
    }

    /// The longest lease from which a gain takes away more than its drift, as long as it may last by our clock.
    pub(super) fn endangered(self, gain: Duration) -> Duration {
        let ttl = gain.saturating_sub(self.slack).as_secs_f64() / self.factor;
        let longest = self.longest.as_duration();
        self.span(if ttl < longest.as_secs_f64() { Duration::from_secs_f64(ttl) } else { longest })
    }

    /// How long a lease of `ttl` may last by our clock.
    pub(super) fn span(self, ttl: Duration) -> Duration {
        ttl + self.allowed(ttl)
    }
}

/// The clock of one node, as far as a client has followed it.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(crate) struct ClockHistory {
    /// Of each time part the reading that proves the largest gains; the earliest part first.
    readings: VecDeque<Reading>,
    /// The lowest upper bound of the offsets of these readings.
    lowest: Option<i128>,
    last: Option<Reading>,
    /// When we began to follow the clock, without a longer pause since.
    since: Moment,
    past: Past,
    /// Until when leases may be alive that a gain endangered.
    endangered_until: Moment,
    /// Until when another client says so.
    told_until: Moment,
    jump: Option<Jump>,
    is_connected: bool,
}

/// What is known of the clock from before we followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Past {
    Unknown,
    /// The clock did not step while leases on the node were alive, or they are covered by a quarantine.
    Known,
}

/// A gain between two readings in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Jump {
    from: Moment,
    to: Moment,
    least: Duration,
    most: Duration,
    /// `endangered_until` before.
    before: Moment,
}

/// Whether a reading shows a gain that the reading before did not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Steady,
    Jumped,
}

impl ClockHistory {
    pub(crate) fn new() -> Self {
        let never = Moment::from_nanos(0);
        Self {
            readings: VecDeque::new(),
            lowest: None,
            last: None,
            since: never,
            past: Past::Unknown,
            endangered_until: never,
            told_until: never,
            jump: None,
            is_connected: false,
        }
    }

    pub(crate) fn handle_reading(&mut self, reading: Reading, rule: ClockRule) -> Pace {
        self.is_connected = true;
        let pace = self.handle_pause_or_jump(reading, rule);
        self.handle_gains(reading, rule);
        self.keep(reading, rule);
        if self.last.is_none_or(|last| last.received <= reading.received) {
            self.last = Some(reading);
        }
        pace
    }

    fn handle_gains(&mut self, reading: Reading, rule: ClockRule) {
        // Hardly any reading shows more than the slack, and this runs for every acquire.
        if self.lowest.is_none_or(|lowest| nanos(reading.offset().0 - lowest) <= rule.slack) {
            return;
        }
        for (i, earlier) in self.readings.iter().enumerate() {
            if earlier.received > reading.sent {
                break;
            }
            let (gain, stretch) = reading.gain_since(*earlier);
            if gain <= rule.allowed(stretch) {
                continue;
            }
            // The endangered leases were granted before the next reading: a later one already had the gain behind it, or
            // is judged by that reading.
            let next = self.readings.get(i + 1).map_or(reading.received, |next| next.received);
            self.endangered_until = self.endangered_until.max(next + rule.endangered(gain));
        }
    }

    fn handle_pause_or_jump(&mut self, reading: Reading, rule: ClockRule) -> Pace {
        let Some(last) = self.last else {
            self.since = reading.received;
            return Pace::Steady;
        };
        if last.received > reading.sent {
            return Pace::Steady;
        }
        if last.received.until(reading.sent) > observation_lasts(observe_every(rule.ours)) {
            (self.since, self.past) = (reading.received, Past::Unknown);
        }
        let (least, stretch) = reading.gain_since(last);
        if least <= rule.allowed(stretch) {
            return Pace::Steady;
        }
        let most = nanos(reading.offset().1 - last.offset().0);
        let (from, to, before) = (last.sent, reading.received, self.endangered_until);
        self.jump = Some(Jump { from, to, least, most, before });
        Pace::Jumped
    }

    fn keep(&mut self, reading: Reading, rule: ClockRule) {
        let longest = rule.span(rule.longest.as_duration());
        let part = |reading: Reading| reading.received.align_down(longest / PARTS);
        // Of two readings of a part, the one with the lower clock proves more, after what the drift allows.
        let proves_more = |a: Reading, b: Reading| {
            let allowed = rule.allowed(b.sent.until(a.sent)).saturating_sub(rule.slack);
            a.offset().1 < b.offset().1 + i128::try_from(allowed.as_nanos()).unwrap_or(i128::MAX)
        };
        let mut are_others = match self.readings.back_mut() {
            Some(back) if part(*back) == part(reading) => {
                let is_kept = proves_more(reading, *back);
                if is_kept {
                    *back = reading;
                }
                is_kept
            }
            Some(back) if part(*back) > part(reading) => false,
            Some(_) | None => {
                self.readings.push_back(reading);
                true
            }
        };
        while self.readings.get(1).is_some_and(|next| next.received + longest < reading.received) {
            self.readings.pop_front();
            are_others = true;
        }
        if are_others {
            self.find_lowest();
        }
    }

    fn find_lowest(&mut self) {
        self.lowest = self.readings.iter().map(|reading| reading.offset().1).min();
    }

    /// The connection is gone.
    pub(crate) fn handle_down(&mut self) {
        self.is_connected = false;
    }

    /// Whether a reading that was received then says nothing yet of whether the past is known.
    pub(crate) fn is_past_unknown_at(&self, received: Moment) -> bool {
        self.past == Past::Unknown && self.since <= received
    }

    pub(crate) fn is_past_known(&self) -> bool {
        self.past == Past::Known
    }

    /// The clock cannot have endangered a lease before we followed it.
    pub(crate) fn handle_past_known(&mut self) {
        self.past = Past::Known;
    }

    /// The clock gained this much before we followed it.
    pub(crate) fn handle_past_gain(&mut self, gain: Duration, rule: ClockRule) {
        self.past = Past::Known;
        self.endangered_until = self.endangered_until.max(self.since + rule.endangered(gain));
    }

    /// Another client saw a gain that endangers leases until then.
    pub(crate) fn handle_told(&mut self, until: Moment, rule: ClockRule) {
        // The mark of a clock that was set back since lasts for too long.
        let latest = self.since + rule.span(rule.longest.as_duration());
        self.told_until = self.told_until.max(until.min(latest));
    }

    /// When the leases are over that a gain endangered.
    pub(crate) fn endangered_until(&self) -> Moment {
        self.endangered_until
    }

    /// Whether a jump has been seen just before `now`. It may turn out that all clocks have jumped.
    pub(crate) fn has_just_jumped(&self, now: Moment) -> bool {
        self.jump.is_some_and(|jump| now < jump.to + SETTLES_AFTER)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(crate) fn last(&self) -> Option<Reading> {
        self.last
    }

    /// Until when the node's grants do not count, if that is after `now`.
    pub(crate) fn quarantine(&self, now: Moment, rule: ClockRule) -> Option<Quarantine> {
        Some(self.last_quarantine(rule)).filter(|quarantine| now < quarantine.until)
    }

    /// The quarantine that ends last, or has ended last.
    pub(crate) fn last_quarantine(&self, rule: ClockRule) -> Quarantine {
        let unknown_until = match self.past {
            Past::Unknown => self.since + rule.span(rule.longest.as_duration()),
            Past::Known => Moment::from_nanos(0),
        };
        let stepped_until = self.endangered_until.max(self.told_until);
        let cause = if stepped_until < unknown_until {
            QuarantineCause::ClockUnknown
        } else {
            QuarantineCause::Stepped
        };
        let until = stepped_until.max(unknown_until);
        Quarantine { until, cause }
    }

    /// Our own clock stood still in the last jump, and is put forward now. The readings since then are off.
    fn handle_standstill(&mut self) {
        let Some(jump) = self.jump.take() else { return };
        self.readings.retain(|reading| reading.received < jump.to);
        self.find_lowest();
        self.last = self.readings.back().copied();
        self.endangered_until = jump.before;
    }
}

/// For how long our own clock stood still: all connected nodes, at least a quorum and at least two, jumped alike at the
/// same time. Forgets the jumps.
pub(crate) fn take_standstill(
    nodes: &mut [impl DerefMut<Target = ClockHistory>],
    quorum: Quorum,
) -> Option<Duration> {
    let connected = nodes.iter().enumerate().filter(|(_, node)| node.is_connected);
    let connected: NodeSet = connected.map(|(i, _)| NodeId(i)).collect();
    let jumps: Option<Vec<_>> = connected.iter().map(|node| nodes[node.0].jump).collect();
    let jumps = jumps.filter(|jumps| quorum.is_met_by(connected) && jumps.len() >= 2)?;
    let from = jumps.iter().map(|jump| jump.from).max()?;
    let to = jumps.iter().map(|jump| jump.to).min()?;
    let least = jumps.iter().map(|jump| jump.least).max()?;
    let most = jumps.iter().map(|jump| jump.most).min()?;
    if from > to || least > most {
        return None;
    }
    nodes.iter_mut().filter(|node| node.is_connected).for_each(|node| node.handle_standstill());
    Some(least)
}

fn nanos(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "clock_history_tests.rs"]
mod tests;
