//! The clock guard: clients and three nodes whose clocks race and step, without restarts.
//!
//! The shipped `ClockHistory`, `moved`, `Record::after`, `Round` and `Lease` decide. Time passes in steps of [`STEP`]. In
//! each step a node's clock advances by the drift factor too much, or not. Each step of a clock on the menu happens at most
//! once, at any time, between any two observations and commands of any client. Clients that are there observe all nodes
//! whenever time has passed.

mod tests;

use std::time::Duration;

use stateright::{Model, Property};

use crate::protocol::{
    ClockHistory, ClockNews, ClockRule, Decision, Drift, Durability, Lease, Moved, NodeView, Observation,
    Pace, PeerClock, Quorum, QuorumSize, Reading, Record, Round, Vote, moved,
};
use crate::types::{Moment, NodeId, Persistence, Ttl};

const NODES: usize = 3;
/// The length of one step of time.
const STEP: Duration = Duration::from_secs(1);
/// A wide drift, so that few steps of time tell clocks that race from clocks that step.
const DRIFT: Drift = Drift { factor: 0.25, floor: Duration::ZERO };
/// By how much a clock that races gets ahead in a step of time.
const RACE: Duration = Duration::from_millis(200);

const ONE_HOLDER: &str = "one holder at a time";

/// The rule by which attempts count grants. All variants but the first are wrong, because one rule is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    NoGuard,
    /// Only observations read clocks, and grants do not.
    GrantsNotRead,
    /// A client that has just come believes every clock.
    PastBelieved,
    /// What other clients have seen of steps is not read.
    MarkIgnored,
    /// A client writes the distances of clocks before it knows whether they stepped.
    WrittenUnjudged,
    /// A client protects leases of its own length only.
    OwnTtlAlone,
    /// A node counts again while leases of the length that its step endangered may be alive.
    TooShort,
}

#[derive(Clone, Debug)]
struct Clocks {
    rule: Rule,
    /// The number of steps by which time advances.
    steps: u64,
    /// The nodes whose clocks step, and by how much.
    menu: Vec<(usize, Duration)>,
    /// The nodes whose clocks race.
    racing: Vec<usize>,
    clients: Vec<Plan>,
    /// The steps before the search begins.
    script: Vec<Step>,
}

/// A client's plan.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// The TTL of its lease, in steps of time.
    ttl: u32,
    arrives: Arrival,
    /// The nodes that its attempt reaches.
    asks: [bool; NODES],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arrival {
    Long,
    Later,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    now: u64,
    nodes: [Node; NODES],
    clients: Vec<Client>,
    happened: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Node {
    /// How far its clock is ahead of true time.
    ahead: Duration,
    record: Record,
    /// The owner of the key, and when it expires by the node's clock.
    key: Option<(usize, Duration)>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Client {
    is_here: bool,
    clocks: [ClockHistory; NODES],
    seen: [Option<(Record, Reading)>; NODES],
    phase: Phase,
    sent_at: u64,
    lease: Lease,
    votes: [Option<bool>; NODES],
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    Idle,
    Asking,
    Holding,
    Over,
}

/// A step; where it has two numbers, the first is a client and the second a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    TimePasses,
    Jumps(usize),
    Arrives(usize),
    Start(usize),
    Execute(usize, usize),
}

fn at(now: u64) -> Moment {
    // Later than the oldest reading that matters is old.
    Moment::from_nanos(0) + Duration::from_secs(1_000 + now)
}

fn ttl(steps: u32) -> Ttl {
    Ttl::from_duration(STEP * steps)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("minutes")
}

fn quorum() -> Quorum {
    Quorum::new(NODES, QuorumSize::Majority).expect("a majority")
}

impl State {
    fn wall(&self, node: usize) -> Duration {
        Duration::from_secs(1_000 + self.now) + self.nodes[node].ahead
    }

    fn reading(&self, node: usize) -> Reading {
        Reading { sent: at(self.now), received: at(self.now), clock: micros(self.wall(node)) }
    }

    fn holders(&self) -> usize {
        let holds = |client: &&Client| {
            client.phase == Phase::Holding && client.lease.deadline(at(self.now)).is_some()
        };
        self.clients.iter().filter(holds).count()
    }
}

impl Clocks {
    fn rule_of(&self, client: usize) -> ClockRule {
        let longest = self.clients.iter().map(|plan| plan.ttl).max().unwrap_or(0);
        let longest = if self.rule == Rule::OwnTtlAlone { self.clients[client].ttl } else { longest };
        ClockRule::new(DRIFT, ttl(longest))
    }

    fn first_state(&self) -> State {
        let client = Client {
            is_here: false,
            clocks: std::array::from_fn(|_| ClockHistory::new()),
            seen: [const { None }; NODES],
            phase: Phase::Idle,
            sent_at: 0,
            lease: Lease::new(quorum(), DRIFT),
            votes: [None; NODES],
        };
        let node = |i: usize| Node {
            ahead: Duration::ZERO,
            record: Record::after(
                None,
                &look(&format!("{i}"), micros(at(0).until(at(0))), &ClockNews::default()),
            ),
            key: None,
        };
        let mut state = State {
            now: 0,
            nodes: std::array::from_fn(node),
            clients: vec![client; self.clients.len()],
            happened: 0,
        };
        for (i, plan) in self.clients.iter().enumerate() {
            if plan.arrives == Arrival::Long {
                self.arrive(&mut state, i);
            }
        }
        state
    }

    /// The client meets all nodes, and then observes each again, because it knows the others then.
    fn arrive(&self, state: &mut State, client: usize) {
        state.clients[client].is_here = true;
        for _ in 0..2 {
            (0..NODES).for_each(|node| self.observe(state, client, node));
        }
    }

    fn observe(&self, state: &mut State, number: usize, node: usize) {
        let (rule, reading) = (self.rule_of(number), state.reading(node));
        let client = &mut state.clients[number];
        let pace = client.clocks[node].handle_reading(reading, rule);
        if state.nodes[node].record.is_unused() || self.rule == Rule::PastBelieved {
            client.clocks[node].handle_past_known();
        }
        let news = match pace {
            Pace::Steady => self.news(client, node, reading),
            Pace::Jumped => ClockNews::default(),
        };
        let record = Record::after(Some(&state.nodes[node].record), &look("", reading.clock, &news));
        // Only what changes on its own account is written, so that states meet again.
        let is_news = record.clocks != state.nodes[node].record.clocks
            || record.stepped != state.nodes[node].record.stepped;
        if is_news {
            state.nodes[node].record = record.clone();
        }
        client.seen[node] = Some((record, reading));
        let known: [_; NODES] = std::array::from_fn(|i| client.seen[i].as_ref().map(view));
        for (i, clock) in client.clocks.iter_mut().enumerate() {
            let Some(own) = known[i].as_ref().filter(|own| clock.is_past_unknown_at(own.received)) else {
                continue;
            };
            if let Some(until) = own.stepped_until().filter(|_| self.rule != Rule::MarkIgnored) {
                clock.handle_told(until, rule);
            }
            match moved(i, &known, quorum(), rule) {
                Moved::Alike => clock.handle_past_known(),
                Moved::Ahead(gain) => clock.handle_past_gain(gain, rule),
                Moved::Unknown => {}
            }
        }
    }

    fn news(&self, client: &Client, node: usize, reading: Reading) -> ClockNews {
        let is_judged = |i: usize| client.clocks[i].is_past_known() || self.rule == Rule::WrittenUnjudged;
        if !is_judged(node) {
            return ClockNews::default();
        }
        let others = (0..NODES).filter(|i| *i != node && is_judged(*i));
        let peers =
            others.filter_map(|i| Some((i.to_string(), PeerClock::of(reading, client.clocks[i].last()?))));
        let left = reading.received.until(client.clocks[node].endangered_until());
        let stepped = (!left.is_zero()).then(|| reading.clock + micros(left));
        ClockNews { peers: peers.collect(), stepped }
    }

    fn is_refused(&self, state: &State, number: usize, node: usize) -> bool {
        let now = if self.rule == Rule::TooShort { at(state.now + 3) } else { at(state.now) };
        let clock = &state.clients[number].clocks[node];
        self.rule != Rule::NoGuard && clock.quarantine(now, self.rule_of(number)).is_some()
    }

    /// The node executes the acquire, and the client reads the answer at once: a later reading proves no more.
    fn execute(&self, state: &mut State, number: usize, node: usize) -> Option<()> {
        let client = &state.clients[number];
        let is_asked = client.phase == Phase::Asking && client.votes[node].is_none();
        (is_asked && self.clients[number].asks[node]).then_some(())?;
        let (wall, ttl) = (state.wall(node), ttl(self.clients[number].ttl));
        let is_granted = state.nodes[node].key.is_none_or(|(_, expires)| expires <= wall);
        if is_granted {
            state.nodes[node].key = Some((number, wall + ttl.as_duration()));
        }
        if self.rule != Rule::GrantsNotRead {
            let (reading, rule) = (state.reading(node), self.rule_of(number));
            state.clients[number].clocks[node].handle_reading(reading, rule);
        }
        let vote = match (is_granted, self.is_refused(state, number, node)) {
            (true, false) => Vote::Granted,
            (true, true) => Vote::Unknown,
            (false, _) => Vote::Denied,
        };
        let client = &mut state.clients[number];
        client.votes[node] = Some(vote == Vote::Granted);
        client.lease.handle_acquired(NodeId(node), at(client.sent_at), ttl, vote);
        let mut round = Round::new(quorum());
        for (i, granted) in client.votes.iter().enumerate() {
            if let Some(granted) = granted {
                round.handle_vote(NodeId(i), if *granted { Vote::Granted } else { Vote::Unknown });
            }
        }
        match round.decision() {
            Decision::Won if client.lease.deadline(at(state.now)).is_some() => client.phase = Phase::Holding,
            Decision::Won | Decision::Failed => client.phase = Phase::Over,
            Decision::Pending => {}
        }
        Some(())
    }

    fn next(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::TimePasses => {
                next.now = (state.now < self.steps).then_some(state.now + 1)?;
                self.racing.iter().for_each(|node| next.nodes[*node].ahead += RACE);
                for client in (0..self.clients.len()).filter(|i| state.clients[*i].is_here) {
                    (0..NODES).for_each(|node| self.observe(&mut next, client, node));
                }
            }
            Step::Jumps(number) => {
                let (node, by) = self.menu[number];
                next.happened =
                    (state.happened & 1 << number == 0).then_some(state.happened | 1 << number)?;
                next.nodes[node].ahead += by;
            }
            Step::Arrives(client) => {
                (!state.clients[client].is_here).then_some(())?;
                self.arrive(&mut next, client);
            }
            Step::Start(number) => {
                let client = &mut next.clients[number];
                (client.is_here && client.phase == Phase::Idle).then_some(())?;
                (client.phase, client.sent_at) = (Phase::Asking, state.now);
            }
            Step::Execute(client, node) => self.execute(&mut next, client, node)?,
        }
        Some(next)
    }
}

fn look<'a>(new_id: &'a str, now: u64, clock: &'a ClockNews) -> Observation<'a> {
    Observation {
        now,
        run_id: "r",
        replication_id: "p",
        was_replica: false,
        durability: Durability { syncs: true, is_rewriting: false, was_rewritten: false },
        evicted_keys: 0,
        is_declared: true,
        new_id,
        is_copy: false,
        lacks: &[],
        max_ttl: ttl(1),
        age: Duration::ZERO,
        every: STEP,
        list: "",
        left: "",
        is_present_closed: false,
        met: &[],
        clock,
    }
}

fn view((record, reading): &(Record, Reading)) -> NodeView {
    let Reading { sent, received, clock } = *reading;
    NodeView {
        record: record.clone().into(),
        persistence: Persistence::Durable,
        clock,
        sent,
        received,
        is_up: true,
        told: String::new(),
        replaced: None,
    }
}

impl Model for Clocks {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let take = |state: State, step: &Step| self.next(&state, *step).expect("it can be taken");
        vec![self.script.iter().fold(self.first_state(), take)]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Step>) {
        let clients = 0..self.clients.len();
        actions.push(Step::TimePasses);
        actions.extend((0..self.menu.len()).map(Step::Jumps));
        actions.extend(clients.clone().flat_map(|client| [Step::Arrives(client), Step::Start(client)]));
        actions.extend(clients.flat_map(|client| (0..NODES).map(move |node| Step::Execute(client, node))));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.next(state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HOLDER, |_, state: &State| state.holders() <= 1),
            Property::sometimes("the last client gets the lock", |_, state: &State| {
                state.clients.last().is_some_and(|client| client.phase == Phase::Holding)
            }),
        ]
    }
}
