//! The change of node lists: clients of the nodes 0, 1, 2 alone, of both lists, and of the nodes 2, 3, 4 alone, with
//! exact clocks.
//!
//! Nodes keep real records, which only the shipped `Record::after` changes. The shipped `Quorum` and `NodeView::bar`
//! decide attempts. A client observes some nodes and later attempts on some nodes; in between anything may happen, also
//! that time passes. Each client does so a limited number of times.
//!
//! Left out, so that the rules of the change alone have to keep holders apart: quarantines, by which a node without
//! locks on the list in use has no vote, and the introduction of nodes to each other.
//!
//! Assumption: a client of both lists has observed a quorum of each before the first client of the next list comes. So
//! the search begins later than that.

mod tests;

use std::time::Duration;

use stateright::{Model, Property};

use crate::protocol::record::Durability;
use crate::protocol::{
    Bar, ChangeProgress, ClockNews, NodeSet, NodeView, Observation, Quorum, QuorumSize, Record, observe_every,
};
use crate::types::{Moment, NodeId, Persistence, Ttl};

const NODES: usize = 5;
/// The clients, by what they name.
const OLD: usize = 0;
const BOTH: usize = 1;
const NEW: usize = 2;
const LISTS: [&str; 3] = ["2 of a b c", "2 of a b c > 2 of c d e", "2 of c d e"];

static NO_NEWS: ClockNews = ClockNews { peers: Vec::new(), stepped: None };
const STEP: Duration = Duration::from_secs(10);
/// When the search begins. Leases of a client of the old list, which observed in the beginning, are just over.
const BEGIN: u8 = 3;
/// The TTL of all leases, in steps.
const TTL: u8 = 2;
/// How long after an observation grants count, in steps; longer than in the library.
const COUNTS: u8 = 1;

const ONE_HOLDER: &str = "one holder at a time";

/// All variants but the first are wrong, because one rule is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// A client of both lists takes a quorum of the present list for enough.
    OneListAtATime,
    /// Clients of the next list alone have votes before the change is done.
    NextNotAwaited,
    /// Clients of the present list alone have votes after it is closed.
    PresentNotClosed,
    /// A list is closed while clients of it may hold leases.
    ClosedTooEarly,
    /// A single node that is closed is enough.
    OneNodeCloses,
}

#[derive(Clone, Debug)]
struct Changes {
    rule: Rule,
    /// The number of steps by which time advances.
    steps: u8,
    /// Whether the client of the old list comes back during the search.
    comes_back: bool,
    /// The nodes, as bit sets, that the client of both lists may reach.
    both_reaches: Vec<u8>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    now: u8,
    nodes: [Node; NODES],
    clients: [Client; 3],
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Node {
    record: Record,
    /// The holder of the key, and when the key expires.
    key: Option<(usize, u8)>,
}

#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Client {
    /// The client of both lists observes once in each step, the others once in the search.
    has_observed: bool,
    has_attempted: bool,
    /// What the client saw last of each node: when, whether the node has a vote, and how far the change was.
    seen: [Option<(u8, Option<Bar>, ChangeProgress)>; NODES],
    /// Until when the client holds the lock.
    holds: u8,
}

/// A step of a client that reaches some of the nodes, as a bit set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    TimePasses,
    Observe(usize, u8),
    Attempt(usize, u8),
}

impl Changes {
    fn next(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::TimePasses => {
                next.now = (state.now < self.steps).then_some(state.now + 1)?;
                for node in &mut next.nodes {
                    node.key = node.key.filter(|(_, expires)| *expires > next.now);
                }
                next.clients[BOTH].has_observed = false;
                for client in &mut next.clients {
                    // What is over does not matter any more.
                    client.holds = if client.holds > next.now { client.holds } else { 0 };
                }
            }
            Step::Observe(client, reached) => self.observe(&mut next, client, reached)?,
            Step::Attempt(client, reached) => self.attempt(&mut next, client, reached)?,
        }
        Some(next)
    }

    fn observe(&self, state: &mut State, number: usize, reached: u8) -> Option<()> {
        if state.clients[number].has_observed || number == OLD && !self.comes_back {
            return None;
        }
        state.clients[number].has_observed = true;
        for node in nodes(reached) {
            let closed = |i: &usize| {
                state.clients[number].seen[*i]
                    .is_some_and(|(.., progress)| progress >= ChangeProgress::Closed)
            };
            let closed = (0..NODES).filter(closed);
            let closed: NodeSet = closed.map(NodeId).collect();
            let is_present_closed = if self.rule == Rule::OneNodeCloses {
                closed != NodeSet::EMPTY
            } else {
                quorum(BOTH).is_present_met_by(closed)
            };
            let record = &mut state.nodes[node].record;
            if self.rule == Rule::ClosedTooEarly && number == BOTH {
                for (_, used) in record.lists.iter_mut().filter(|(list, _)| *list != LISTS[BOTH]) {
                    used.last = 0;
                }
            }
            *record = announced(record, number, state.now, is_present_closed);
            let view = view(record, number, state.now);
            let progress = record.lists.get(LISTS[BOTH]).map_or(ChangeProgress::Begun, |used| used.progress);
            let ignored = match self.rule {
                Rule::NextNotAwaited => Some(Bar::NotYet),
                Rule::PresentNotClosed => Some(Bar::Over),
                Rule::Shipped | Rule::OneListAtATime | Rule::ClosedTooEarly | Rule::OneNodeCloses => None,
            };
            let bar = view.bar().filter(|bar| Some(*bar) != ignored);
            state.clients[number].seen[node] = Some((state.now, bar, progress));
        }
        Some(())
    }

    fn attempt(&self, state: &mut State, number: usize, reached: u8) -> Option<()> {
        let (now, client) = (state.now, &mut state.clients[number]);
        if client.has_attempted {
            return None;
        }
        let counts =
            |node: &usize| client.seen[*node].is_some_and(|(at, bar, _)| now - at <= COUNTS && bar.is_none());
        let granted = |node: &usize| state.nodes[*node].key.is_none();
        let granted: Vec<_> = nodes(reached).filter(counts).filter(granted).collect();
        let won: NodeSet = granted.iter().copied().map(NodeId).collect();
        let is_won = if self.rule == Rule::OneListAtATime && number == BOTH {
            quorum(OLD).is_met_by(won) || quorum(NEW).is_met_by(won)
        } else {
            quorum(number).is_met_by(won)
        };
        // The keys of a failed attempt are removed; they could only keep others from the lock.
        is_won.then_some(())?;
        client.has_attempted = true;
        client.holds = now + TTL;
        for node in granted {
            state.nodes[node].key = Some((number, now + TTL));
        }
        Some(())
    }
}

/// The record after a client has announced its list.
fn announced(record: &Record, client: usize, now: u8, is_present_closed: bool) -> Record {
    let look = look(LISTS[client], now, is_present_closed);
    // The number of changes matters to the restart guard alone.
    Record { sequence: 0, ..Record::after(Some(record), &look) }
}

fn look(list: &'static str, now: u8, is_present_closed: bool) -> Observation<'static> {
    let max_ttl = Ttl::from_duration(STEP * u32::from(TTL));
    Observation {
        now: micros(now),
        run_id: "r",
        replication_id: "p",
        was_replica: false,
        durability: Durability { syncs: true, is_rewriting: false, was_rewritten: false },
        evicted_keys: 0,
        is_declared: true,
        new_id: "n",
        is_copy: false,
        lacks: &[],
        max_ttl,
        age: Duration::ZERO,
        every: observe_every(max_ttl),
        list,
        left: "",
        is_present_closed,
        met: &[],
        clock: &NO_NEWS,
    }
}

fn view(record: &Record, client: usize, now: u8) -> NodeView {
    let at = Moment::from_nanos(0) + STEP * u32::from(now);
    NodeView {
        record: record.clone().into(),
        persistence: Persistence::Durable,
        clock: micros(now),
        sent: at,
        received: at,
        is_up: true,
        told: LISTS[client].to_owned(),
        replaced: None,
    }
}

fn quorum(client: usize) -> Quorum {
    let sets = [vec![0, 1, 2], vec![2, 3, 4]].map(|nodes| nodes.into_iter().map(NodeId).collect::<NodeSet>());
    let of = |set| Quorum::of(set, QuorumSize::Majority).unwrap();
    match client {
        OLD => of(sets[0]),
        BOTH => of(sets[0]).with_next(sets[1], QuorumSize::Majority).unwrap(),
        _ => of(sets[1]),
    }
}

fn nodes(reached: u8) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| reached >> node & 1 == 1)
}

fn micros(steps: u8) -> u64 {
    1 + u64::from(steps) * 10_000_000
}

impl Model for Changes {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let made = Record::after(None, &look("", 0, false));
        let node = Node { record: Record { sequence: 0, ..made }, key: None };
        let state =
            State { now: 0, nodes: std::array::from_fn(|_| node.clone()), clients: Default::default() };
        let free = Self { comes_back: true, ..self.clone() };
        let mut script = vec![Step::Observe(OLD, 0b00111), Step::Observe(BOTH, self.both_reaches[0])];
        for _ in 0..BEGIN {
            script.extend([Step::TimePasses, Step::Observe(BOTH, self.both_reaches[0])]);
        }
        let take = |state: State, step: Step| free.next(&state, step).expect("it can be taken");
        let mut state = script.into_iter().fold(state, take);
        for client in &mut state.clients {
            client.has_observed = false;
        }
        vec![state]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Step>) {
        actions.push(Step::TimePasses);
        for client in [OLD, BOTH, NEW] {
            let reached = match client {
                OLD => vec![0b00011, 0b00101, 0b00110, 0b00111],
                BOTH => self.both_reaches.clone(),
                _ => vec![0b11000, 0b10100, 0b01100, 0b11100],
            };
            for reached in reached {
                actions.extend([Step::Observe(client, reached), Step::Attempt(client, reached)]);
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.next(state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HOLDER, |_, state: &State| {
                state.clients.iter().filter(|client| client.holds > state.now).count() <= 1
            }),
            Property::sometimes("a client of the old list holds the lock", |model: &Self, state: &State| {
                state.clients[OLD].holds > 0 || !model.comes_back
            }),
            Property::sometimes("a client of both lists holds it", |_, state: &State| {
                state.clients[BOTH].holds > 0
            }),
            Property::sometimes("a client of the new list holds it", |_, state: &State| {
                state.clients[NEW].holds > 0
            }),
        ]
    }
}
