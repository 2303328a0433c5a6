//! The time it took to acquire a lock.

use std::time::Duration;

use super::super::event::LONG;
use super::super::log::Log;

/// Waits for locks that are held briefly. A wait for a long hold would measure the hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Latency {
    /// When each lock was acquired and how long that took, in order of acquisition.
    pub(crate) waits: Vec<(u64, Duration)>,
}

impl Latency {
    pub(super) fn of(log: &Log) -> Self {
        let visits = log.clients.iter().flat_map(|client| &client.visits);
        let mut waits: Vec<(u64, Duration)> = visits
            .filter(|visit| visit.resource < LONG)
            .map(|visit| {
                (visit.acquired_at, Duration::from_nanos(visit.acquired_at.saturating_sub(visit.wanted_at)))
            })
            .collect();
        waits.sort_unstable();
        Self { waits }
    }

    /// The wait at a percentage from 0 to 100.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        percentile(self.waits.iter().map(|(_, wait)| *wait), percent)
    }
}

/// The smallest wait that is not exceeded by `percent` of a hundred waits; zero if there are none.
pub(crate) fn percentile(waits: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut waits: Vec<Duration> = waits.collect();
    waits.sort_unstable();
    let rank = (waits.len() * percent).div_ceil(100).max(1) - 1;
    waits.get(rank).copied().unwrap_or_default()
}
