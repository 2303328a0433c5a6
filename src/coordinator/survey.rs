//! Asks the nodes about themselves and about one resource, for people. The protocol does not use the answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Coordinator;
use crate::error::NodeFailure;
use crate::node::{
    Answer, Command, CountClients, Declare, Declared, Forget, InspectKey, KeyKind, KeySnapshot, Link,
    ListInUse, NodeFacts, OtherClients, ReadClock, Remove,
};
use crate::protocol::Reading;
use crate::types::{Claim, NodeId, Resource};

/// How often a survey asks a node for its time: enough for a median and a rough maximum of the round trips.
pub(crate) const PROBES: usize = 50;

/// What the client knows of a node without asking the node.
pub(crate) struct StatusParts {
    pub(crate) name: Arc<str>,
    pub(crate) failure: Option<NodeFailure>,
    pub(crate) facts: Option<Arc<NodeFacts>>,
    /// The node's random id; empty until the client has observed the node.
    pub(crate) id: String,
    pub(crate) others: OtherClients,
    pub(crate) lists: Vec<ListInUse>,
}

/// The measurements of a node.
pub(crate) struct Probed {
    /// All round trips, sorted; never empty.
    pub(crate) round_trips: Vec<Duration>,
    /// How many microseconds the node's wall clock is ahead of ours.
    pub(crate) clock_offset: i64,
    /// The reading of the node's clock with the fastest round trip.
    pub(crate) reading: Reading,
    pub(crate) clients: u64,
}

/// What [`Redlock::dangerous_break`](crate::Redlock::dangerous_break) did with a lock's key on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// The key was removed.
    Removed,
    /// There was no key.
    Absent,
    /// Nothing was removed: between reading and removing the key, it expired, was released, or got another owner.
    TooLate,
    /// Nothing was removed: readers hold the lock.
    Readers,
    /// Nothing was removed: the key is of another type, and so no lock.
    NoLock,
}

/// For each node its name, and its answer or the reason why there is none.
type OfEach<T> = Vec<(Arc<str>, Result<T, NodeFailure>)>;

impl Coordinator {
    /// What the client knows of each node. Sends nothing.
    pub(crate) fn known(&self) -> Vec<StatusParts> {
        let now = self.now();
        let known = |node: NodeId| {
            let failure = match self.node(node).link() {
                Ok(_) => self.refusal(node, now),
                Err(failure) => Some(failure),
            };
            let (name, facts) = (Arc::clone(self.node(node).name()), self.node(node).facts());
            let (id, others, lists) =
                (self.roster.id(node), self.roster.others(node), self.roster.lists(node));
            StatusParts { name, failure, facts, id, others, lists }
        };
        self.node_ids().map(known).collect()
    }

    /// Measures every connected node, and learns which nodes its other clients use.
    pub(crate) async fn probe(&self) -> OfEach<Probed> {
        let probed = self.of_each(|link| self.probe_node(link)).await;
        let heard = join_all(self.node_ids().map(|node| self.roster.heard(node)));
        // For a node that does not answer in time, the other clients stay unknown.
        let _ = tokio::time::timeout(self.settings.node_timeout, heard).await;
        probed
    }

    /// The longest `max_ttl` among all clients of the nodes, as far as it was announced.
    pub(crate) fn longest_max_ttl(&self) -> Duration {
        self.roster.max_ttl().as_duration()
    }

    async fn probe_node(&self, link: Link) -> Result<Probed, NodeFailure> {
        let mut round_trips = Vec::with_capacity(PROBES);
        let (mut reading, mut wall) = self.read_clock(&link).await?;
        round_trips.push(reading.round_trip());
        for _ in 1..PROBES {
            let (next, next_wall) = self.read_clock(&link).await?;
            round_trips.push(next.round_trip());
            if next.round_trip() < reading.round_trip() {
                (reading, wall) = (next, next_wall);
            }
        }
        round_trips.sort_unstable();
        // Assumes that the node read its clock in the middle of the round trip; wrong by at most half of it.
        let half = u64::try_from(reading.round_trip().as_micros() / 2).unwrap_or(0);
        let clock_offset =
            reading.clock.cast_signed().saturating_sub(wall.saturating_add(half).cast_signed());
        let clients = self.ask_one(link, CountClients).await?;
        Ok(Probed { round_trips, clock_offset, reading, clients })
    }

    /// Reads a node's clock, and our wall clock before that.
    async fn read_clock(&self, link: &Link) -> Result<(Reading, u64), NodeFailure> {
        let (sent, wall) = (self.now(), self.ambient.wall_micros());
        let clock = self.ask_one(link.clone(), ReadClock).await?;
        Ok((Reading { sent, received: self.now(), clock }, wall))
    }

    /// Asks each node what it holds under the key of `resource`.
    pub(crate) async fn inspect(&self, resource: &Resource) -> OfEach<KeySnapshot> {
        self.of_each(|link| self.ask_one(link, InspectKey::new(resource))).await
    }

    /// Removes the key from every node, whoever its owner is. A key that gets another owner between reading and
    /// removing stays.
    pub(crate) async fn break_lock(&self, resource: &Resource) -> OfEach<Removal> {
        self.of_each(|link| async {
            let KeySnapshot { key, value, .. } =
                self.ask_one(link.clone(), InspectKey::new(resource)).await?;
            match (key, value) {
                (KeyKind::Plain, Some(value)) => {
                    let grace = self.settings.node_timeout;
                    let claim = Claim::Exclusive { key: resource.clone() };
                    let remove = Remove::new(&claim, value.as_bytes(), claim.all(), grace);
                    match self.ask_one(link, remove).await?.key {
                        Answer::Yes => Ok(Removal::Removed),
                        Answer::No => Ok(Removal::TooLate),
                    }
                }
                (KeyKind::Plain | KeyKind::Absent, _) => Ok(Removal::Absent),
                (KeyKind::Readers, _) => Ok(Removal::Readers),
                (KeyKind::Other, _) => Ok(Removal::NoLock),
            }
        })
        .await
    }

    /// Declares every node new, because an operator said so.
    pub(crate) async fn declare_new(&self) -> OfEach<Declared> {
        self.of_each(|link| self.ask_one(link, Declare::new())).await
    }

    /// Deletes what clients have announced to every node: their nodes, quorum and longest lease.
    pub(crate) async fn forget_clients(&self) -> OfEach<()> {
        self.of_each(|link| self.ask_one(link, Forget)).await
    }

    /// Sends one command, and waits `connect_timeout` instead of the shorter `node_timeout`, because people want to
    /// know how slow a node is.
    async fn ask_one<C: Command>(&self, link: Link, command: C) -> Result<C::Reply, NodeFailure> {
        let after = self.settings.connect_timeout;
        tokio::time::timeout(after, link.send(command)).await.unwrap_or(Err(NodeFailure::NoAnswer { after }))
    }

    /// Asks all nodes concurrently, each when the first attempt to connect to it has ended. A node without a connection
    /// is not asked.
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
