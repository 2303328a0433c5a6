//! Observations: clients see, announce and conclude by the library's own rules, with one rule left out where the
//! scenario says so.

use std::time::Duration;

use super::attempts::new_attempt;
use super::{BEGIN, Client, Config, Data, Founding, NODES, Phase, Restarts, Rule, Seen, Server, State};
use crate::protocol::{
    Change, ClockNews, Durability, MemoryBreak, NodeView, Observation, Quarantine, Record, RestartGuard,
    UNMET, is_introduced, lacking, observe_every,
};
use crate::types::{Eviction, Moment, Persistence, QuarantineCause, Ttl};

/// A step of time: longer than the observation interval and all margins.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// The servers: the three nodes, and a fourth that was a node of other clients.
const SERVERS: [char; NODES + 1] = ['a', 'b', 'c', 'd'];

impl Restarts {
    pub(super) fn first_state(&self) -> State {
        let (now, is_declared) = match self.founding {
            Founding::LongAgo | Founding::InTurns => (0, false),
            Founding::Declared => (BEGIN, true),
        };
        let record = |server: usize, list: &str| {
            let name = SERVERS[server];
            let look = Observation {
                now: micros(now),
                run_id: &format!("{name}:0"),
                replication_id: "0",
                was_replica: false,
                durability: durability(self.config),
                evicted_keys: 0,
                is_declared,
                new_id: &name.to_string(),
                is_copy: false,
                lacks: &[],
                max_ttl: ttl(1),
                age: Duration::ZERO,
                every: observe_every(ttl(1)),
                list,
                left: "",
                is_present_closed: false,
                met: &[],
                clock: &ClockNews::default(),
            };
            let record = Record::after(None, &look);
            match self.founding {
                Founding::LongAgo | Founding::Declared => record,
                Founding::InTurns => in_turns(&record, &look),
            }
        };
        let server = |server| {
            let list = if server < NODES { "2 of a b c" } else { "2 of d x y" };
            let data = Data { record: Some(record(server, list)), key: None };
            let config = self.config;
            Server { run: 0, replication: 0, was_replica: false, has_replica: false, config, data }
        };
        let client = Client {
            since: None,
            seen: [None, None, None],
            list: String::new(),
            left: String::new(),
            phase: Phase::Idle,
            sent_at: 0,
            renewed_at: 0,
            lease: new_attempt(),
            messages: [super::Message::None; NODES],
        };
        State {
            now: BEGIN,
            names: [0, 1, 2],
            servers: (0..SERVERS.len()).map(server).collect(),
            clients: vec![client; self.clients.len()],
            happened: 0,
            saved: None,
        }
    }

    /// Observes a node as its supervisor does, but in one step; in the library, a client that is overtaken by another
    /// one begins again.
    pub(super) fn observe(&self, state: &mut State, number: usize, node: usize) {
        let (now, server) = (state.now, state.names[node]);
        let run_id = state.run_id(server);
        let Server { replication, was_replica, has_replica, config, ref data, .. } = state.servers[server];
        let client = &mut state.clients[number];
        client.since.get_or_insert(now);
        let old = data.record.clone();
        let others = || (0..NODES).filter(|i| *i != node).filter_map(|i| client.seen[i].as_ref());
        let met: Vec<_> = others().map(|other| (other.record.id.clone(), other.record.change())).collect();
        let is_double =
            |other: &Seen| old.as_ref().is_some_and(|old| old.id == other.record.id) && other.is_up;
        let is_copy = others().any(is_double);
        let own =
            client.seen[node].as_ref().filter(|own| old.as_ref().is_some_and(|old| old.id == own.record.id));
        let known: Vec<_> = others().map(Seen::known).collect();
        let lacks = match &old {
            Some(old) if self.rule != Rule::RollbackNotNoticed => {
                let mut lacks = lacking(old, &known);
                lacks.extend(own.map(|own| own.record.change()).filter(|met| !old.knows(met)));
                lacks
            }
            Some(_) | None => Vec::new(),
        };
        let old = old.map(|mut old| {
            old.is_durable |= self.rule == Rule::DurabilityNotNoted;
            old
        });
        let Durability { syncs, .. } = durability(config);
        let max_ttl = ttl(self.clients[number].ttl);
        let look = Observation {
            now: micros(now),
            run_id: &run_id,
            replication_id: &replication.to_string(),
            was_replica: was_replica && self.rule != Rule::PromotionIgnored,
            durability: Durability { syncs: syncs && !has_replica, ..durability(config) },
            evicted_keys: 0,
            is_declared: false,
            // The id is derived from the process, so that a wiped node gets a new id each time.
            new_id: &run_id.replace(':', ""),
            is_copy,
            lacks: &lacks,
            max_ttl,
            age: STEP * u32::from(now - client.since.unwrap_or(now)),
            every: observe_every(max_ttl),
            list: &client.list,
            left: &client.left,
            is_present_closed: false,
            met: &met,
            clock: &ClockNews::default(),
        };
        let mut record = Record::after(old.as_ref(), &look);
        if self.rule == Rule::DeclarationKept {
            record.is_declared |= old.is_some_and(|old| old.is_declared && old.id == record.id);
        }
        client.handle_observed(node, record.clone(), now);
        state.servers[server].data.record = Some(record);
    }

    /// The quarantine of a node, as a client concludes it.
    pub(super) fn quarantine(&self, state: &State, number: usize, node: usize) -> Option<Quarantine> {
        let client = &state.clients[number];
        let ours = ttl(self.clients[number].ttl).as_millis();
        let known: [_; NODES] = std::array::from_fn(|i| {
            let mut known = client.seen[i].as_ref()?.known();
            match self.rule {
                // A wiped node is also another node. This rule hides that.
                Rule::MadeRecordBelieved => {
                    known.record_mut().lists.clear();
                    known.replaced = None;
                    if known.record.is_of_another_process() {
                        known.record_mut().whole = 0;
                    }
                }
                Rule::ServerNotNoticed => {
                    known.record_mut().lists.clear();
                    known.replaced = None;
                }
                Rule::OwnTtlAlone => known.record_mut().announced.retain(|ttl, _| *ttl == ours),
                Rule::TtlNotReadAgain => known.sent = at(state.now),
                Rule::RollbackNotNoticed => {
                    known.record_mut().met.clear();
                }
                Rule::Shipped
                | Rule::DurabilityNotNoted
                | Rule::PromotionIgnored
                | Rule::DeclarationKept
                | Rule::TooShort => {}
            }
            Some(known)
        });
        // Introducing nodes to each other requires observing them again as well.
        let is_left_out = matches!(self.rule, Rule::ServerNotNoticed | Rule::TtlNotReadAgain);
        if !is_left_out && !is_introduced(node, &known) {
            return Some(Quarantine { until: Moment::NEVER, cause: QuarantineCause::Replaced });
        }
        let guard = RestartGuard::On { clock_drift_factor: 0.0, eviction: Eviction::Refused };
        let mut quarantine = guard.quarantine(node, &known)?;
        if self.rule == Rule::TooShort {
            quarantine.until = quarantine.until.ago(STEP + STEP / 2);
        }
        Some(quarantine)
    }
}

impl Record {
    fn is_of_another_process(&self) -> bool {
        self.broken_by == MemoryBreak::Made && !self.run.ends_with(":0")
    }
}

impl Client {
    fn handle_observed(&mut self, node: usize, record: Record, now: u8) {
        let (before, told) = (self.seen[node].take(), self.list.clone());
        let is_same = before.as_ref().is_none_or(|before| before.record.id == record.id);
        let replaced = before.and_then(|before| before.replaced);
        let replaced = if is_same { replaced } else { Some(now) };
        self.seen[node] = Some(Seen { record, at: now, is_up: true, replaced, told });
        let mut ids: Vec<_> = self.seen.iter().flatten().map(|seen| seen.record.id.as_str()).collect();
        let met = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < met || met < 2 {
            return;
        }
        ids.resize(NODES, UNMET);
        let list = format!("2 of {}", ids.join(" "));
        if list != self.list {
            self.left = std::mem::replace(&mut self.list, list);
        }
    }
}

impl Seen {
    pub(super) fn known(&self) -> NodeView {
        NodeView {
            record: self.record.clone().into(),
            persistence: Persistence::Durable,
            clock: micros(self.at),
            sent: at(self.at),
            received: at(self.at),
            is_up: self.is_up,
            replaced: self.replaced.map(at),
            told: self.told.clone(),
        }
    }
}

impl State {
    pub(super) fn run_id(&self, server: usize) -> String {
        format!("{}:{}", SERVERS[server], self.servers[server].run)
    }
}

/// The record after the fourth server has been the second node for a time.
fn in_turns(record: &Record, look: &Observation<'_>) -> Record {
    let met = SERVERS.map(|name| (name.to_string(), Change { run: format!("{name}:0"), sequence: 1 }));
    let met: Vec<_> = met.into_iter().filter(|(id, _)| *id != record.id).collect();
    let tell =
        |old: &Record, list| Record::after(Some(old), &Observation { list, met: &met, ..look.clone() });
    tell(&tell(record, "2 of a b c"), "2 of a c d")
}

fn durability(config: Config) -> Durability {
    Durability { syncs: config == Config::Durable, is_rewriting: false, was_rewritten: false }
}

pub(super) fn ttl(steps: u8) -> Ttl {
    Ttl::from_duration(STEP * u32::from(steps))
}

pub(super) fn at(steps: u8) -> Moment {
    Moment::from_nanos(0) + STEP * u32::from(steps)
}

fn micros(steps: u8) -> u64 {
    u64::from(steps) * 10_000_000
}
