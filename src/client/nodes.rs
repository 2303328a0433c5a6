//! The state of the nodes, for people and monitoring.

use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::{Probed, StatusParts};
use crate::error::NodeFailure;
use crate::node::{ListInUse, NodeFacts, OtherClients};
use crate::protocol::Reading;

/// One node as the client sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    name: Arc<str>,
    failure: Option<NodeFailure>,
    facts: Option<Arc<NodeFacts>>,
    id: String,
    others: OtherClients,
    lists: Vec<ListInUse>,
}

impl NodeStatus {
    pub(super) fn new(known: StatusParts) -> Self {
        let StatusParts { name, failure, facts, id, others, lists } = known;
        Self { name, failure, facts, id, others, lists }
    }

    /// The node's configured name; without one, host and port, and the database if it is not 0.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the node's vote is lost now; `None` while the vote counts. A node in [quarantine](NodeFailure::Quarantined)
    /// has a failure although it is connected.
    #[must_use]
    pub fn failure(&self) -> Option<&NodeFailure> {
        self.failure.as_ref()
    }

    /// Whether the node has a usable connection, so that attempts ask the node. The vote of a connected node may still
    /// not count: see [`Quarantined`](NodeFailure::Quarantined) and [`NotObserved`](NodeFailure::NotObserved).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(
            self.failure,
            None | Some(
                NodeFailure::Quarantined { .. }
                    | NodeFailure::NodesNotYetInUse
                    | NodeFailure::NodesGivenUp
                    | NodeFailure::NotObserved
            )
        )
    }

    /// What the node reported of itself when the client last tried to connect; `None` if the node did not answer then.
    #[must_use]
    pub fn facts(&self) -> Option<&NodeFacts> {
        self.facts.as_deref()
    }

    /// The node's random id, which the node got when a client first observed it, and keeps as long as its data. `None`
    /// until this client has observed the node. [`OtherClients::Different`] names nodes by their ids.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        Some(self.id.as_str()).filter(|id| !id.is_empty())
    }

    /// Whether the node's other clients use the same nodes and quorum as this client.
    #[must_use]
    pub fn other_clients(&self) -> &OtherClients {
        &self.others
    }

    /// The lists of nodes that clients have announced to the node, as of the last observation. Lists that nobody uses any
    /// more are kept for a while, and those that were given up for good.
    #[must_use]
    pub fn lists(&self) -> &[ListInUse] {
        &self.lists
    }
}

/// One node's answer to an operation that asks every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResult<T> {
    name: Arc<str>,
    result: Result<T, NodeFailure>,
}

impl<T> NodeResult<T> {
    pub(super) fn of_all(results: Vec<(Arc<str>, Result<T, NodeFailure>)>) -> Vec<Self> {
        results.into_iter().map(|(name, result)| Self { name, result }).collect()
    }

    /// The node's name, as [`NodeStatus::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's answer.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The node may have done what it was asked for, or not.
    pub fn result(&self) -> Result<&T, &NodeFailure> {
        self.result.as_ref()
    }
}

/// The round trips, clock and clients of one node, measured by [`Redlock::survey`](crate::Redlock::survey).
#[derive(Clone, Debug)]
pub struct NodeSurvey {
    status: NodeStatus,
    probed: Result<Measured, NodeFailure>,
}

#[derive(Clone, Debug)]
struct Measured {
    round_trips: Vec<Duration>,
    clock_offset_micros: i64,
    reading: Reading,
    clients: u64,
}

/// How fast a node's clock runs against this machine's; see [`NodeSurvey::clock_rate_since`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClockRate {
    /// How many parts in a million the node's clock runs faster than this machine's monotonic clock; negative where the
    /// node's clock is the slower one.
    pub ppm: f64,
    /// By how much `ppm` may be wrong, either way: it is unknown at which moment of a round trip the node reads its clock.
    pub uncertainty_ppm: f64,
}

impl NodeSurvey {
    pub(super) fn new(status: NodeStatus, probed: Result<Probed, NodeFailure>) -> Self {
        let probed = probed.map(|Probed { round_trips, clock_offset, reading, clients }| Measured {
            round_trips,
            clock_offset_micros: clock_offset,
            reading,
            clients,
        });
        Self { status, probed }
    }

    /// The node's status, as in [`Redlock::nodes`](crate::Redlock::nodes).
    #[must_use]
    pub fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// Why the node could not be measured; `None` if it was measured.
    #[must_use]
    pub fn failure(&self) -> Option<&NodeFailure> {
        self.probed.as_ref().err()
    }

    /// A quantile of the round trips: `quantile` is 0 to 1, and 0.5 is the median. `None` if the node could not be
    /// measured.
    #[must_use]
    pub fn round_trip(&self, quantile: f64) -> Option<Duration> {
        let round_trips = &self.probed.as_ref().ok()?.round_trips;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few dozen round trips, and a float becomes the nearest index there is"
        )]
        let index = (round_trips.len().saturating_sub(1) as f64 * quantile).round() as usize;
        round_trips.get(index.min(round_trips.len().saturating_sub(1))).copied()
    }

    /// How many microseconds the node's wall clock is ahead of this machine's, to within half a round trip. `None` if
    /// the node could not be measured.
    #[must_use]
    pub fn clock_offset_micros(&self) -> Option<i64> {
        Some(self.probed.as_ref().ok()?.clock_offset_micros)
    }

    /// How fast the node's clock ran against this machine's since `earlier`, a survey of the same node by the same client.
    /// The longer ago that survey is, the more exact is the result: after a second it is exact to about one part in a
    /// million for each microsecond of a round trip. A clock that was stepped in between appears to run at a wrong rate.
    /// `None` if the node could not be measured in both surveys.
    #[must_use]
    pub fn clock_rate_since(&self, earlier: &Self) -> Option<ClockRate> {
        let reading = |survey: &Self| Some(survey.probed.as_ref().ok()?.reading);
        let (least, most) = reading(self)?.rate_since(reading(earlier)?)?;
        Some(ClockRate { ppm: f64::midpoint(least, most), uncertainty_ppm: (most - least) / 2.0 })
    }

    /// How many clients are connected to the node, including this one. `None` if the node could not be measured.
    #[must_use]
    pub fn connected_clients(&self) -> Option<u64> {
        Some(self.probed.as_ref().ok()?.clients)
    }
}
