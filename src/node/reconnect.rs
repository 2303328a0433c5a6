//! Pauses between connections to a node after one has failed or was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::stream::{Connector, Management, Stream};
use crate::error::NodeFailure;
use crate::types::Moment;

/// A connection that has lived for this long is steady: when it is lost, the next attempt is made at once.
pub(super) const STEADY_AFTER: Duration = Duration::from_secs(5);

/// The first pause. Each further attempt doubles the pause until a connection is steady.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause while nobody answers at the address. A node that comes back is used again within about this
/// time.
const LONGEST: Duration = Duration::from_secs(1);
/// The longest pause while a server answers but cannot be used or closes the connection again. Such a server has work
/// with every connection, and all clients of a service connect to it at once.
const LONGEST_WHEN_MET: Duration = Duration::from_secs(3);

/// Whether anything answered at the address.
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
    /// A usable connection has been made.
    pub(super) fn handle_up(&mut self, now: Moment) {
        self.up_since = Some(now);
    }

    /// The connection is lost. Returns the pause before the next attempt.
    pub(super) fn handle_lost(&mut self, now: Moment, random: u128) -> Duration {
        match self.up_since.take() {
            Some(since) if since.until(now) >= STEADY_AFTER => {
                self.next = FIRST;
                Duration::ZERO
            }
            Some(_) | None => self.pause(Peer::Met, random),
        }
    }

    /// An attempt has failed. Returns the pause before the next attempt.
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
        // A quarter of the pause is random, so that clients that lost a node together do not reconnect together.
        let jitter = u32::try_from(random >> 118).unwrap_or(0);
        pause * 3 / 4 + pause / 4 * jitter / 1024
    }
}

/// How long the reason for a silent close is remembered, because asking for it takes another connection.
const EXPLAINED_FOR: Duration = Duration::from_secs(20);

/// The remembered reason why a server closes connections without a word.
#[derive(Clone, Debug, Default)]
pub(super) struct Explanation(Arc<Mutex<Option<Asked>>>);

#[derive(Clone, Debug)]
struct Asked {
    at: Moment,
    /// `None` where the reason was not found.
    explanation: Option<NodeFailure>,
}

/// A connector that remembers whether anything answered.
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
                // A server with which TLS fails has answered as well.
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

    /// Counts the connections within [`AFTER`] to a server that closes each one after `lived`.
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

    /// The bug: a server that accepts, greets and closes was connected to again at once, 1,586 times in 5 s.
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
