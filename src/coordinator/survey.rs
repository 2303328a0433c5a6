//! Looks at the nodes and at one resource on them, for people. Nothing here decides anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Coordinator;
use crate::error::NodeFailure;
use crate::node::{
    Answer, Command, CountClients, Declare, Declared, Forget, KeyKind, Link, NodeFacts, OtherClients,
    ReadClock, Remove, Seen, View,
};
use crate::types::{NodeId, Resource, Wake};

/// How often a node is asked for the time: enough for a median, and for an idea of the slowest.
pub(crate) const PROBES: usize = 50;

/// What the client knows of a node without asking it.
pub(crate) struct StatusParts {
    pub(crate) name: Arc<str>,
    pub(crate) failure: Option<NodeFailure>,
    pub(crate) facts: Option<Arc<NodeFacts>>,
    /// The random name that it gave itself; empty until it has been met.
    pub(crate) id: String,
    pub(crate) others: OtherClients,
}

/// What a look at a node gave.
pub(crate) struct Probed {
    /// Sorted; never empty.
    pub(crate) round_trips: Vec<Duration>,
    /// By how much its wall clock is ahead of ours, in microseconds.
    pub(crate) clock_offset: i64,
    pub(crate) clients: u64,
}

/// What became of a key that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// It is removed.
    Removed,
    /// There was none.
    Absent,
    /// It expired, was released or changed hands while it was looked at, and was let be.
    TooLate,
    /// It is no lock but a key of another type, and was let be.
    NoLock,
}

/// An answer, or why there is none, of each node.
type OfEach<T> = Vec<(Arc<str>, Result<T, NodeFailure>)>;

impl Coordinator {
    /// Asks nobody.
    pub(crate) fn known(&self) -> Vec<StatusParts> {
        let now = self.now();
        let known = |node: NodeId| {
            let failure = match self.node(node).link() {
                Ok(_) => self.refusal(node, now),
                Err(failure) => Some(failure),
            };
            let (name, facts) = (Arc::clone(self.node(node).name()), self.node(node).facts());
            StatusParts { name, failure, facts, id: self.roster.id(node), others: self.roster.others(node) }
        };
        self.node_ids().map(known).collect()
    }

    /// Measures every node that is connected, and hears of its other clients.
    pub(crate) async fn probe(&self) -> OfEach<Probed> {
        let probed = self.of_each(|link| self.probe_node(link)).await;
        let heard = join_all(self.node_ids().map(|node| self.roster.heard(node)));
        // Who does not say leaves it unknown.
        let _ = tokio::time::timeout(self.settings.node_timeout, heard).await;
        probed
    }

    /// The longest lease that any client of the nodes may hold.
    pub(crate) fn longest_max_ttl(&self) -> Duration {
        self.roster.max_ttl().as_duration()
    }

    async fn probe_node(&self, link: Link) -> Result<Probed, NodeFailure> {
        let mut round_trips = Vec::with_capacity(PROBES);
        let mut offset_of_fastest = (Duration::MAX, 0);
        for _ in 0..PROBES {
            let (sent, wall) = (self.now(), self.ambient.wall_micros());
            let theirs = self.ask_one(link.clone(), ReadClock).await?;
            let round_trip = sent.until(self.now());
            round_trips.push(round_trip);
            if round_trip < offset_of_fastest.0 {
                // It read its clock in the middle, give or take half of the round trip.
                let ours = wall.saturating_add(u64::try_from(round_trip.as_micros() / 2).unwrap_or(0));
                offset_of_fastest = (round_trip, theirs.cast_signed().saturating_sub(ours.cast_signed()));
            }
        }
        round_trips.sort_unstable();
        let clients = self.ask_one(link, CountClients).await?;
        Ok(Probed { round_trips, clock_offset: offset_of_fastest.1, clients })
    }

    /// What each node holds of a resource.
    pub(crate) async fn inspect(&self, resource: &Resource) -> OfEach<Seen> {
        self.of_each(|link| self.ask_one(link, View::new(resource))).await
    }

    /// Removes the key wherever it is held, by whomever. A key that changed hands since it was looked at is let be.
    pub(crate) async fn break_lock(&self, resource: &Resource) -> OfEach<Removal> {
        self.of_each(|link| async {
            let Seen { key, value, .. } = self.ask_one(link.clone(), View::new(resource)).await?;
            match (key, value) {
                (KeyKind::Plain, Some(value)) => {
                    let grace = self.settings.node_timeout;
                    let remove = Remove::new(resource, value.as_bytes(), Wake::Next, grace);
                    match self.ask_one(link, remove).await?.key {
                        Answer::Yes => Ok(Removal::Removed),
                        Answer::No => Ok(Removal::TooLate),
                    }
                }
                (KeyKind::Plain | KeyKind::Absent, _) => Ok(Removal::Absent),
                (KeyKind::Other, _) => Ok(Removal::NoLock),
            }
        })
        .await
    }

    /// Declares every node new, on an operator's word.
    pub(crate) async fn declare_new(&self) -> OfEach<Declared> {
        self.of_each(|link| self.ask_one(link, Declare::new())).await
    }

    /// Has every node forget what clients have told of their nodes and their longest leases.
    pub(crate) async fn forget_clients(&self) -> OfEach<()> {
        self.of_each(|link| self.ask_one(link, Forget)).await
    }

    /// With more patience than a vote gets: people want to know how slow a node is.
    async fn ask_one<C: Command>(&self, link: Link, command: C) -> Result<C::Reply, NodeFailure> {
        let after = self.settings.connect_timeout;
        tokio::time::timeout(after, link.send(command)).await.unwrap_or(Err(NodeFailure::NoAnswer { after }))
    }

    /// All nodes at once; a node without a connection is not asked, once the first attempt to make one is over.
    async fn of_each<T, F: Future<Output = Result<T, NodeFailure>>>(
        &self,
        ask: impl Fn(Link) -> F,
    ) -> OfEach<T> {
        let ask = &ask;
        join_all(self.nodes.iter().map(|node| async move {
            node.tried().await;
            let answer = match node.link() {
                Ok(link) => ask(link).await,
                Err(failure) => Err(failure),
            };
            (Arc::clone(node.name()), answer)
        }))
        .await
    }
}
