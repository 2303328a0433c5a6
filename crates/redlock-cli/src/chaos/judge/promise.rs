//! The promises of the lock with the given settings, and the times when a run was outside their assumptions.

use std::ops::Range;
use std::time::Duration;

use redlock_quorum::Settings;
use redlock_testing::history::{Assumption, Breach};
use redlock_testing::{ClientFault, Clients, ClockStep, Data, Nemesis};

use super::super::log::{Hit, Log};
use super::super::plan::Act;
use super::nanos;

/// How long a release may take after a failed attempt, on a busy machine. The TTL has to be longer, because otherwise
/// no leaked key exists for long enough to be noticed.
const RELEASE: Duration = Duration::from_secs(1);
/// Additional time of a wait on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// How much too fast a clock may run with the default settings: 1 %. A user who lowers the drift is judged by this
/// value all the same.
const DRIFT_PPM: i64 = 10_000;

/// The settings that contain promises. A setting that weakens them is no excuse: a user who turns off the restart guard
/// or lowers the drift sees here what they are for.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) nodes: usize,
    pub(crate) quorum: usize,
    pub(crate) ttl: Duration,
    pub(crate) max_ttl: Duration,
    /// How far clocks may run apart during a TTL.
    pub(crate) drift: Duration,
    /// How much too fast a clock may run, in parts per million.
    pub(crate) drift_ppm: i64,
    pub(crate) quarantine: Duration,
    /// The prefix of all keys.
    pub(crate) key_prefix: String,
    /// How long a failed attempt may take to remove its keys.
    pub(crate) release_within: Duration,
    /// How long some client may take to acquire a lock while a quorum can be reached.
    pub(crate) bound: Duration,
}

impl Promise {
    /// How long clients take to reconnect to a node after a fault: up to a second between two attempts, plus the delays
    /// of a busy machine.
    pub(super) const RECONNECT: Duration = Duration::from_secs(3);

    pub(crate) fn of(settings: &Settings, longest_hold: Duration) -> Self {
        let value = |name: &str| {
            settings.effective().find(|(setting, _, _)| setting.name() == name).map(|(_, value, _)| value)
        };
        let node_timeout = value("node_timeout").and_then(|text| humantime::parse_duration(&text).ok());
        let node_timeout = node_timeout.unwrap_or_default();
        let factor: f64 = value("clock_drift_factor").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let ttl = settings.ttl();
        #[expect(clippy::cast_possible_truncation, reason = "a factor is below 0.1")]
        let drift_ppm = (factor * 1e6) as i64;
        Self {
            nodes: settings.nodes(),
            quorum: settings.quorum(),
            ttl,
            max_ttl: settings.max_ttl(),
            drift: ttl.saturating_sub(settings.validity_after(Duration::ZERO)).max(ttl / 100),
            drift_ppm: drift_ppm.max(DRIFT_PPM),
            quarantine: settings.quarantine(),
            key_prefix: value("key_prefix").unwrap_or_default(),
            release_within: node_timeout + RELEASE,
            // A holder has to finish, or the lease of a killed holder has to expire.
            bound: longest_hold + ttl + SLACK,
        }
    }

    /// For each fault that broke an assumption, the time until the last lease affected by it has expired.
    pub(super) fn breaches(&self, log: &Log) -> Vec<Breach> {
        let breach = |hit: &Hit| {
            let Act::Node { nemesis, .. } = &hit.act else { return None };
            let assumption = self.broken_by(nemesis)?;
            let over = hit.healed_at.unwrap_or(log.ended_at);
            Some(Breach { assumption, from: hit.at, until: over + nanos(self.max_ttl + self.drift) })
        };
        log.hits.iter().filter_map(breach).collect()
    }

    pub(crate) fn broken_by(&self, nemesis: &Nemesis) -> Option<Assumption> {
        match nemesis {
            Nemesis::FlushAll => Some(Assumption::Memory),
            Nemesis::ClockRate { ppm } if i64::from(*ppm) > self.drift_ppm => Some(Assumption::Clocks),
            // These faults affect neither keys nor clocks, or let keys live longer. Lost data is the restart guard's
            // task, and steps of clocks are the clock guard's.
            Nemesis::Kill { .. }
            | Nemesis::Restart { .. }
            | Nemesis::Pause
            | Nemesis::Cut
            | Nemesis::Link { .. }
            | Nemesis::ClockStep { .. }
            | Nemesis::ClockRate { .. }
            | Nemesis::MemoryFull
            | Nemesis::ScriptFlush
            | _ => None,
        }
    }

    /// The periods in which a client ran and could reach a quorum.
    pub(super) fn well(&self, log: &Log, client: usize) -> Vec<Range<u64>> {
        let mut changes: Vec<(u64, isize)> = Vec::new();
        let stops = isize::try_from(self.nodes).unwrap_or(isize::MAX);
        for hit in &log.hits {
            let over = hit.healed_at.unwrap_or(u64::MAX / 2);
            let (weight, aftermath) = match &hit.act {
                Act::Client { client: hit, .. } if *hit == client => (stops, Self::RECONNECT),
                Act::Node { nemesis: Nemesis::Link { from: Clients::One(hit), .. }, .. }
                    if *hit != client =>
                {
                    continue;
                }
                Act::Node { nemesis, .. } => match self.aftermath(nemesis) {
                    Some(aftermath) => (1, aftermath),
                    None => continue,
                },
                Act::Client { .. } => continue,
            };
            changes.push((hit.at, weight));
            changes.push((over + nanos(aftermath), -weight));
        }
        changes.sort_unstable();
        let spare = isize::try_from(self.nodes - self.quorum).unwrap_or(0);
        let (mut missing, mut since, mut well) = (0, Some(log.began_at), Vec::new());
        for (at, change) in changes {
            missing += change;
            match since {
                Some(from) if missing > spare => {
                    well.push(from..at);
                    since = None;
                }
                None if missing <= spare => since = Some(at),
                Some(_) | None => {}
            }
        }
        well.extend(since.map(|from| from..u64::MAX));
        well.retain(|stretch| !stretch.is_empty());
        well
    }

    /// Whether the fault keeps clients from reaching a node, or keeps the node from doing what they ask.
    pub(super) fn keeps_away(&self, nemesis: &Nemesis) -> bool {
        self.aftermath(nemesis).is_some()
    }

    /// How long after its end a fault still costs a node its vote; `None` for a fault that never does.
    fn aftermath(&self, nemesis: &Nemesis) -> Option<Duration> {
        match nemesis {
            Nemesis::Kill { data: Data::Lost }
            | Nemesis::Restart { data: Data::Lost }
            | Nemesis::FlushAll => Some(self.quarantine + Self::RECONNECT),
            Nemesis::ScriptFlush | Nemesis::ClockRate { .. } => None,
            // Keys live longer by the step.
            Nemesis::ClockStep { step: ClockStep::Backward(by) } => Some(*by),
            // Leases that the step endangers have to be over.
            Nemesis::ClockStep { step: ClockStep::Forward(_) } => {
                Some(self.max_ttl + self.drift + Self::RECONNECT)
            }
            Nemesis::Kill { data: Data::Kept }
            | Nemesis::Restart { data: Data::Kept }
            | Nemesis::Pause
            | Nemesis::Cut
            | Nemesis::Link { .. }
            | Nemesis::MemoryFull
            | _ => Some(Self::RECONNECT),
        }
    }
}

/// The pauses of clients.
pub(super) fn client_hits(log: &Log) -> impl Iterator<Item = (usize, &Hit)> {
    log.hits.iter().filter_map(|hit| match hit.act {
        Act::Client { client, fault: ClientFault::Pause } => Some((client, hit)),
        Act::Client { fault: ClientFault::Kill, .. } | Act::Node { .. } => None,
    })
}
