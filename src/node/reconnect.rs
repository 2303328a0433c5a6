//! When a node is met again after a connection has failed or was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::stream::{Connector, Management, Stream};
use crate::error::NodeFailure;
use crate::types::Moment;

/// A connection that has lived for so long is one: when it is lost, the node is met again at once.
pub(super) const STEADY_AFTER: Duration = Duration::from_secs(5);

/// The first pause; doubles with each further attempt until a connection is steady.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause while nobody answers at the address: a node that is back is used again about that soon.
const LONGEST: Duration = Duration::from_secs(1);
/// Longest pause while somebody does, and either cannot be used or goes away again. Such a peer has work with every
/// connection, and all of a service's clients come to it at once.
const LONGEST_WHEN_MET: Duration = Duration::from_secs(3);

/// Whether there was anybody at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Silent,
    Met,
}

/// The pauses between connections to one node.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    up_since: Option<Moment>,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST, up_since: None }
    }
}

impl Pauses {
    /// There is a connection that can be used.
    pub(super) fn handle_up(&mut self, now: Moment) {
        self.up_since = Some(now);
    }

    /// It is lost. For how long to wait before the next attempt.
    pub(super) fn handle_lost(&mut self, now: Moment, random: u128) -> Duration {
        match self.up_since.take() {
            Some(since) if since.until(now) >= STEADY_AFTER => {
                self.next = FIRST;
                Duration::ZERO
            }
            Some(_) | None => self.pause(Peer::Met, random),
        }
    }

    /// An attempt has failed. For how long to wait before the next.
    pub(super) fn handle_failed(&mut self, peer: Peer, random: u128) -> Duration {
        self.pause(peer, random)
    }

    fn pause(&mut self, peer: Peer, random: u128) -> Duration {
        let longest = match peer {
            Peer::Silent => LONGEST,
            Peer::Met => LONGEST_WHEN_MET,
        };
        let pause = self.next.min(longest);
        self.next = (self.next * 2).min(LONGEST_WHEN_MET);
        // A quarter is random: clients that lost a node together do not come back together.
        let jitter = u32::try_from(random >> 118).unwrap_or(0);
        pause * 3 / 4 + pause / 4 * jitter / 1024
    }
}

/// For how long it is remembered why a peer closes without a word: to ask takes another connection.
const EXPLAINED_FOR: Duration = Duration::from_secs(20);

/// Why a peer closed without a word, once it was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Explanation(Arc<Mutex<Option<Asked>>>);

#[derive(Clone, Debug)]
struct Asked {
    at: Moment,
    /// `None` where it was not found out.
    explanation: Option<NodeFailure>,
}

/// A connector that remembers whether anybody was there.
pub(super) struct ConnectAttempt {
    connector: Arc<dyn Connector>,
    answered: AtomicBool,
    explanation: Explanation,
    now: Moment,
}

impl ConnectAttempt {
    pub(super) fn new(connector: Arc<dyn Connector>, explanation: Explanation, now: Moment) -> Self {
        Self { connector, answered: AtomicBool::new(false), explanation, now }
    }

    pub(super) fn peer(&self) -> Peer {
        if self.answered.load(Ordering::Relaxed) { Peer::Met } else { Peer::Silent }
    }
}

impl Connector for ConnectAttempt {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>> {
        async {
            let stream = self.connector.connect().await;
            let met = match &stream {
                // A peer with whom TLS fails is one, too.
                Ok(_) | Err(NodeFailure::Tls { .. }) => true,
                Err(_) => false,
            };
            self.answered.fetch_or(met, Ordering::Relaxed);
            stream
        }
        .boxed()
    }

    fn superseded(&self) -> BoxFuture<'_, NodeFailure> {
        self.connector.superseded()
    }

    fn management(&self) -> Management {
        self.connector.management()
    }

    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>> {
        async {
            let lock = || self.explanation.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = lock().clone().filter(|asked| asked.at.until(self.now) < EXPLAINED_FOR);
            if let Some(Asked { explanation, .. }) = known {
                return explanation;
            }
            let explanation = self.connector.explain().await;
            *lock() = Some(Asked { at: self.now, explanation: explanation.clone() });
            explanation
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(10);

    /// How many connections there are within [`AFTER`] to a peer that is `lived` long.
    fn connections(
        lived: Duration,
        random: u128,
        mut pause: impl FnMut(&mut Pauses, Moment) -> Duration,
    ) -> u32 {
        let (mut pauses, mut now, mut count) = (Pauses::default(), Moment::from_nanos(1), 0);
        let end = now + AFTER;
        while now < end {
            count += 1;
            now = now + lived;
            now = now + pause(&mut pauses, now);
        }
        assert!(count > 1, "random {random}");
        count
    }

    /// A peer that accepts, greets and closes was met again at once: 1,586 times in 5 s.
    #[test]
    fn a_connection_that_is_lost_soon_is_made_ever_more_rarely() {
        for random in [0, u128::MAX / 2, u128::MAX] {
            for lived in [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(999)] {
                let count = connections(lived, random, |pauses, now| {
                    pauses.handle_up(now.ago(lived));
                    pauses.handle_lost(now, random)
                });
                assert!(count < 12, "{count} connections that lived for {lived:?}");
            }
            let refused =
                connections(Duration::ZERO, random, |pauses, _| pauses.handle_failed(Peer::Met, random));
            assert!(refused < 12, "{refused}");
        }
    }

    #[test]
    fn a_node_that_is_away_is_looked_for_every_second() {
        let mut pauses = Pauses::default();
        for _ in 0..20 {
            assert!(pauses.handle_failed(Peer::Silent, u128::MAX) <= LONGEST);
        }
        assert!(pauses.handle_failed(Peer::Silent, 0) >= LONGEST / 2);
    }

    #[test]
    fn a_steady_connection_that_is_lost_is_made_again_at_once() {
        let mut pauses = Pauses::default();
        let start = Moment::from_nanos(1);
        (0..20).for_each(|_| {
            pauses.handle_failed(Peer::Met, 0);
        });
        pauses.handle_up(start);
        assert_eq!(pauses.handle_lost(start + STEADY_AFTER, 0), Duration::ZERO);
        assert!(pauses.handle_failed(Peer::Met, 0) <= FIRST);
    }
}
