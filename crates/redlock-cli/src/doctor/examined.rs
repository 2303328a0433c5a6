//! The known facts about one node after its examination.

use std::time::Duration;

use redlock_quorum::{
    ClockRate, NodeFacts, NodeFailure, NodeStatus, NodeSurvey, OtherClients, Persistence, QuarantineCause,
};

/// One node. `failure` is the reason why its vote does not count now.
#[derive(Clone, Debug)]
pub(super) struct Examined {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) failure: Option<NodeFailure>,
    pub(super) facts: Option<NodeFacts>,
    pub(super) others: OtherClients,
    pub(super) measured: Option<Measured>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) median: Duration,
    pub(super) p99: Duration,
    /// How far the node's wall clock is ahead of this machine's.
    pub(super) clock_offset_micros: i64,
    /// How much faster that clock runs than this machine's; `None` if the sample was too short to tell.
    pub(super) clock_rate: Option<ClockRate>,
    pub(super) clients: u64,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Votes,
    Quarantined(Duration),
    /// The node answers, but its vote does not count.
    Refused,
    Unreachable,
}

/// A rate that is less certain than a tenth of the default `clock_drift_factor` tells nothing.
const UNCERTAINTY_MAX_PPM: f64 = 1000.0;

impl Examined {
    /// What a survey found, and since `earlier` the rate of the node's clock.
    pub(super) fn new(survey: &NodeSurvey, earlier: &NodeSurvey) -> Self {
        let status: &NodeStatus = survey.status();
        Self {
            name: status.name().to_owned(),
            id: status.id().map(str::to_owned),
            // The survey comes second: a node that hangs is found out only by asking it.
            failure: status
                .failure()
                .filter(|failure| !is_of_newcomers(failure))
                .or(survey.failure())
                .cloned(),
            facts: status.facts().cloned(),
            others: status.other_clients().clone(),
            measured: Measured::of(survey, earlier),
        }
    }

    pub(super) fn state(&self) -> State {
        match &self.failure {
            None => State::Votes,
            Some(NodeFailure::Quarantined { left, .. }) => State::Quarantined(*left),
            Some(
                NodeFailure::Connecting
                | NodeFailure::Unreachable { .. }
                | NodeFailure::Sentinel { .. }
                | NodeFailure::NoAnswer { .. }
                | NodeFailure::ConnectionLost { .. },
            ) => State::Unreachable,
            Some(_) => State::Refused,
        }
    }

    pub(super) fn votes(&self) -> bool {
        self.state() == State::Votes
    }

    /// Whether the node could evict locks.
    pub(super) fn may_evict(&self) -> bool {
        self.facts
            .as_ref()
            .is_some_and(|facts| facts.max_memory() > 0 && facts.eviction_policy() != "noeviction")
    }

    pub(super) fn persistence(&self) -> Option<Persistence> {
        self.facts.as_ref().map(NodeFacts::persistence)
    }
}

/// Whether only clients that have just come, as this one, do not count the node: too few others can be reached to tell it
/// with which nodes it is used, or to compare its clock with.
fn is_of_newcomers(failure: &NodeFailure) -> bool {
    matches!(
        failure,
        NodeFailure::NotObserved | NodeFailure::Quarantined { cause: QuarantineCause::ClockUnknown, .. }
    )
}

impl Measured {
    fn of(survey: &NodeSurvey, earlier: &NodeSurvey) -> Option<Self> {
        let clock_rate = survey.clock_rate_since(earlier);
        Some(Self {
            median: survey.round_trip(0.5)?,
            p99: survey.round_trip(0.99)?,
            clock_offset_micros: survey.clock_offset_micros()?,
            clock_rate: clock_rate.filter(|rate| rate.uncertainty_ppm <= UNCERTAINTY_MAX_PPM),
            clients: survey.connected_clients()?,
        })
    }
}
