//! Looks at the nodes and at one resource on them, for people. Nothing here decides anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Coordinator, quarantined};
use crate::error::NodeFailure;
use crate::node::{
    Answer, Command, CountClients, Declare, Declared, Link, NodeFacts, ReadClock, Remove, Seen, View,
};
use crate::types::{NodeId, Resource};

/// How often a node is asked for the time: enough for a median, and for an idea of the slowest.
pub(crate) const PROBES: usize = 50;

/// What the client knows of a node without asking it.
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    pub(crate) failure: Option<NodeFailure>,
    pub(crate) facts: Option<Arc<NodeFacts>>,
    pub(crate) others: Option<String>,
}

/// What a look at a node gave.
pub(crate) struct Probed {
    /// Sorted; never empty.
    pub(crate) round_trips: Vec<Duration>,
    /// By how much its wall clock is ahead of ours, in microseconds.
    pub(crate) clock_offset: i64,
    pub(crate) clients: u64,
}

/// An answer, or why there is none, of each node.
type OfEach<T> = Vec<(Arc<str>, Result<T, NodeFailure>)>;

impl Coordinator {
    /// Asks nobody.
    pub(crate) fn known(&self) -> Vec<Known> {
        let (guard, now) = (self.restart_guard(), self.now());
        let known = |node: NodeId| {
            let failure = match self.node(node).link() {
                Ok(link) => quarantined(guard, &link, now),
                Err(failure) => Some(failure),
            };
            let (name, facts) = (Arc::clone(self.node(node).name()), self.node(node).facts());
            Known { name, failure, facts, others: self.roster.others(node) }
        };
        self.node_ids().map(known).collect()
    }

    /// Measures every node that is connected.
    pub(crate) async fn probe(&self) -> OfEach<Probed> {
        self.of_each(|link| self.probe_node(link)).await
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
    pub(crate) async fn break_lock(&self, resource: &Resource) -> OfEach<Answer> {
        self.of_each(|link| async {
            let held = self.ask_one(link.clone(), View::new(resource)).await?;
            match held.token {
                Some(token) => self.ask_one(link, Remove::new(resource, &token)).await,
                None => Ok(Answer::No),
            }
        })
        .await
    }

    /// Declares every node new, on an operator's word.
    pub(crate) async fn declare_new(&self) -> OfEach<Declared> {
        self.of_each(|link| self.ask_one(link, Declare::new())).await
    }

    async fn ask_one<C: Command>(&self, link: Link, command: C) -> Result<C::Reply, NodeFailure> {
        let after = self.settings.node_timeout;
        tokio::time::timeout(after, link.send(command)).await.unwrap_or(Err(NodeFailure::NoAnswer { after }))
    }

    /// All nodes at once; a node without a connection is not asked.
    async fn of_each<T, F: Future<Output = Result<T, NodeFailure>>>(
        &self,
        ask: impl Fn(Link) -> F,
    ) -> OfEach<T> {
        let ask = &ask;
        join_all(self.nodes.iter().map(|node| async move {
            let answer = match node.link() {
                Ok(link) => ask(link).await,
                Err(failure) => Err(failure),
            };
            (Arc::clone(node.name()), answer)
        }))
        .await
    }
}
