//! What the lock promises with these settings, and when a run was outside of it.

use std::ops::Range;
use std::time::Duration;

use redlock_quorum::Settings;
use redlock_testing::history::{Assumption, Breach};
use redlock_testing::{ClientFault, Clients, ClockStep, Data, Nemesis};

use super::super::log::{Hit, Log};
use super::super::plan::Act;
use super::nanos;

/// How long a release may take after an attempt has given up, on such a machine. The TTL has to be longer, or no key
/// is there for long enough to be seen.
const RELEASE: Duration = Duration::from_secs(1);
/// What else a wait may take on such a machine.
const SLACK: Duration = Duration::from_secs(3);

/// What a clock may be fast by, with the default settings: 1 %. Less is a choice of the user's, and is judged.
const DRIFT_PPM: i64 = 10_000;

/// The settings, as far as they are promises. A setting that weakens them is no excuse: whoever turns the restart
/// guard off, or lowers the drift, sees here what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) nodes: usize,
    pub(crate) quorum: usize,
    pub(crate) ttl: Duration,
    pub(crate) max_ttl: Duration,
    /// What a clock may jump during a TTL.
    pub(crate) drift: Duration,
    /// By how many parts of a million a clock may be fast.
    pub(crate) drift_ppm: i64,
    pub(crate) quarantine: Duration,
    /// Stands before the names of all keys.
    pub(crate) key_prefix: String,
    /// Within which an attempt that failed has removed its keys.
    pub(crate) release_within: Duration,
    /// Within which somebody wins, where a quorum can be reached.
    pub(crate) bound: Duration,
}

impl Promise {
    /// After the end of a fault clients need so long to find a node again: up to a second between two tries, and a
    /// machine that does much else.
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
            // A holder finishes, or a killed one's lease ends.
            bound: longest_hold + ttl + SLACK,
        }
    }

    /// When an assumption did not hold, and until when leases of that time may live.
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
            Nemesis::ClockStep { step: ClockStep::Forward(by) } if *by > self.drift => {
                Some(Assumption::Clocks)
            }
            Nemesis::ClockRate { ppm } if i64::from(*ppm) > self.drift_ppm => Some(Assumption::Clocks),
            // These leave keys and clocks alone, or let keys live longer; the restart guard is there for lost data.
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

    /// The stretches of time in which a client ran and could have had a quorum.
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

    /// Whether clients cannot reach a node, or it does not do what they ask, while this lasts.
    pub(super) fn keeps_away(&self, nemesis: &Nemesis) -> bool {
        self.aftermath(nemesis).is_some()
    }

    /// How long after its end a fault keeps a node's vote away; none for one that never does.
    fn aftermath(&self, nemesis: &Nemesis) -> Option<Duration> {
        match nemesis {
            Nemesis::Kill { data: Data::Lost }
            | Nemesis::Restart { data: Data::Lost }
            | Nemesis::FlushAll => Some(self.quarantine + Self::RECONNECT),
            Nemesis::ScriptFlush | Nemesis::ClockRate { .. } => None,
            // Keys live longer by the step.
            Nemesis::ClockStep { step: ClockStep::Backward(by) } => Some(*by),
            Nemesis::ClockStep { step: ClockStep::Forward(_) } => None,
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
