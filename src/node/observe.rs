//! Observing a node: the client reads what the node says of itself, and writes it into the node's record. The first
//! observation makes a connection usable; further ones follow while the connection is open.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::commands::{Command, wall_micros};
use super::connection::{Link, Refusal};
use super::facts::{self, NodeFacts};
use super::record::{self, RecordWrite, Stored, WriteRecord};
use super::roster::{Announcement, Roster};
use super::stream::Management;
use super::wire::Wire;
use super::{failure, permissions, scripts};
use crate::error::NodeFailure;
use crate::planted;
use crate::protocol::{NodeView, Observation, Reading, Record};
use crate::types::{Ambient, Eviction, Moment, NodeId};

/// Everything that an observation of a node needs.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) node: NodeId,
    pub(super) roster: Arc<Roster>,
    pub(super) eviction: Eviction,
    pub(super) management: Management,
    pub(super) ambient: Arc<dyn Ambient>,
}

/// Whether the observation does anything besides observing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservationKind {
    /// The first observation on a new connection also loads the scripts and checks permissions.
    First,
    Repeated,
}

/// The result of an observation.
pub(super) struct Observed {
    pub(super) facts: Arc<NodeFacts>,
    pub(super) at: Moment,
    pub(super) wall_micros: u64,
}

impl Observer {
    /// Observes the node, in at most [`record::TRIES`] tries, because another client may change the record in between.
    ///
    /// # Errors
    ///
    /// The reason why the node has no vote. Temporary refusals, such as full memory, are found by the commands
    /// themselves.
    pub(super) async fn observe(
        &self,
        connection: &Wire,
        kind: ObservationKind,
    ) -> Result<Observed, Refusal> {
        let mut kind = kind;
        for _ in 0..record::TRIES {
            if let Some(observed) = self.try_observe(connection, kind).await? {
                return Ok(observed);
            }
            kind = ObservationKind::Repeated;
        }
        Err(record::changes_all_the_time().into())
    }

    /// Returns `None` if another client has changed the record in between.
    async fn try_observe(
        &self,
        connection: &Wire,
        kind: ObservationKind,
    ) -> Result<Option<Observed>, Refusal> {
        let mut pipeline = Pipeline::new();
        facts::ask(&mut pipeline);
        match kind {
            ObservationKind::First => {
                scripts::load_all(&mut pipeline);
                permissions::ask(&mut pipeline);
            }
            ObservationKind::Repeated => {}
        }
        pipeline.add_command(record::read()).cmd("TIME");
        let sent = self.ambient.now();
        let replies = connection.send_packed_commands(&pipeline).await;
        let mut replies = replies.map_err(|error| failure::of_connect(&error))?;
        let received = self.ambient.now();
        // The facts are parsed first, because they explain what the server refuses.
        let rest = replies.split_off(facts::REPLIES.min(replies.len()));
        let facts = Arc::new(NodeFacts::parse(replies)?);
        let refusal = |failure| Refusal { failure, facts: Some(Arc::clone(&facts)) };
        facts.check().map_err(refusal)?;
        self.roster.admit(self.node, facts.run_id()).map_err(refusal)?;
        // Errors are extracted one by one, because the error of a pipeline as a whole hides what the server said.
        let rest: Result<Vec<Value>, _> = rest.into_iter().map(Value::extract_error).collect();
        let rest = rest.map_err(|error| refusal(failure::of_connect(&error)))?;
        let [before @ .., stored, time] = rest.as_slice() else {
            return Err(refusal(failure::of_reply("a look", &Value::Array(rest))));
        };
        if let (ObservationKind::First, Some(permissions)) = (kind, before.last()) {
            permissions::check(permissions).map_err(refusal)?;
        }
        let (stored, clock) = (Stored::parse(stored).map_err(refusal)?, wall_micros(time).map_err(refusal)?);
        let reading = Reading { sent, received, clock };
        let told = self.roster.told(self.node, stored.record.as_ref(), reading);
        let record = self.record(&facts, &stored, (sent, clock), &told);
        if stored.record.as_ref() != Some(&record) {
            let note = WriteRecord::new(&stored, &record);
            match note.send(connection.clone()).await.map_err(refusal)? {
                RecordWrite::Written => {}
                RecordWrite::Outdated => return Ok(None),
            }
        }
        facts.check_eviction(self.eviction).map_err(refusal)?;
        let observed = Observed { at: received, wall_micros: clock, facts: Arc::clone(&facts) };
        let persistence = facts.persistence();
        // The roster fills in `replaced`, because it knows which node was met before.
        let known = NodeView {
            record: record.into(),
            persistence,
            clock,
            sent,
            received,
            is_up: true,
            told: told.list.clone(),
            replaced: None,
        };
        self.roster.handle_observed(self.node, known, &told);
        Ok(Some(observed))
    }

    fn record(
        &self,
        facts: &NodeFacts,
        stored: &Stored,
        (sent, now): (Moment, u64),
        told: &Announcement,
    ) -> Record {
        let Announcement { is_copy, lacks, list, left, is_present_closed, met, clock } = told;
        #[expect(clippy::cast_possible_truncation, reason = "any 64 of the 128 random bits do")]
        let new_id = format!("{:016x}", self.ambient.random() as u64);
        let look = Observation {
            now,
            run_id: facts.run_id(),
            replication_id: facts.replication_id(),
            was_replica: facts.was_replica(),
            durability: facts.durability(self.management),
            evicted_keys: facts.evicted_keys(),
            is_declared: stored.is_declared,
            new_id: &new_id,
            is_copy: *is_copy,
            lacks,
            max_ttl: self.roster.own_max_ttl(),
            age: self.roster.since().until(sent),
            every: self.every(),
            list,
            left,
            is_present_closed: *is_present_closed,
            met,
            clock,
        };
        let mut record = Record::after(stored.record.as_ref(), &look);
        if planted::is(planted::Fault::UptimeBelieved) {
            let uptime = u64::try_from(facts.uptime().as_micros()).unwrap_or(u64::MAX);
            record.whole = record.whole.min(now.saturating_sub(uptime));
        }
        let is_believed = match &stored.record {
            None => false,
            Some(old) if old.run != record.run => planted::is(planted::Fault::RestartBelieved),
            Some(old) => {
                old.replication_id != record.replication_id
                    && planted::is(planted::Fault::ReplicationIdBelieved)
            }
        };
        if is_believed {
            record.whole = 0;
        }
        record
    }

    /// The observation interval.
    pub(super) fn every(&self) -> Duration {
        crate::protocol::observe_every(self.roster.own_max_ttl())
    }
}

/// Observes the node at the client's interval, and at once when our node list has changed. Returns the reason why the
/// node has no vote any more.
pub(super) async fn keep_observing(link: Link, observer: Observer) -> Refusal {
    let clocks = observer.roster.clocks();
    let (mut version, mut jumps) = (observer.roster.list_version(), clocks.jumps());
    // While we connected, the last unmet node on the list may have been met.
    let mut pause = if observer.roster.has_list() { Duration::ZERO } else { observer.every() };
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = observer.roster.list_changed(version) => version = observer.roster.list_version(),
            () = clocks.jumped_since(jumps) => {}
        }
        (pause, jumps) = (observer.every(), clocks.jumps());
        match link.observe(&observer).await {
            Ok(()) => pause = clocks.pause(observer.node, observer.ambient.now(), pause),
            // Commands that need neither memory nor the missing permission still work. Grants stop counting once the
            // last observation is too old.
            Err(Refusal {
                failure: NodeFailure::OutOfMemory | NodeFailure::Loading | NodeFailure::Permission { .. },
                ..
            }) => {}
            Err(refusal) => return refusal,
        }
    }
}
