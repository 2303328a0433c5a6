//! Fencing tokens: attempts on three nodes, without any assumption about time.
//!
//! A message may be delayed for ever. An answer under way is therefore the same as a command that was not executed
//! yet, and the client may decide on any part of the answers. Keys may vanish at any moment: by expiry, a release or
//! a clock step.

mod rules;
mod tests;

use stateright::{Model, Property};

use rules::{is_quorum_of_grants, token};

const NODES: usize = 3;
const ATTEMPTS_MAX: usize = 3;
/// The limit on second rounds of an attempt.
const ROUNDS_MAX: usize = 2;

const UNIQUE: &str = "tokens are unique";
const IN_ORDER: &str = "tokens grow in real-time order";

/// The rule by which tokens are made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// Wrong: a node also answers "raised" when its score was equal to the token.
    RaiseAcceptsEqual,
    /// Wrong: a grant counts as a raise, whatever the node's answer about its score.
    StaleGrantCounts,
    /// Wrong: each node counts its own grants, and the token is the largest count in a quorum.
    CounterPerNode,
}

#[derive(Clone, Debug)]
struct Fencing {
    rule: Rule,
    /// Each attempt's wall clock, which is its proposal.
    walls: Vec<u8>,
    starts: Starts,
    /// The possible initial scores of the nodes. Nodes are interchangeable, so their order does not matter.
    scores: Vec<[u8; NODES]>,
    /// How many times a node loses its data.
    losses: u8,
    /// How many second rounds an attempt tries.
    rounds: usize,
    commands: Commands,
}

/// Where commands of other attempts may run in between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Commands {
    /// `SET` and `ZADD` are two steps.
    Apart,
    /// `SET` and `ZADD` are one step, which makes fewer states.
    Together,
}

/// Which attempt may begin when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Starts {
    AnyOrder,
    /// Attempts begin in the order of their clocks.
    InOrder,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State {
    nodes: [Node; NODES],
    attempts: [Attempt; ATTEMPTS_MAX],
    losses: u8,
}

/// A node, and the messages between it and each attempt.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    key: Key,
    score: u8,
    messages: [Messages; ATTEMPTS_MAX],
}

/// The key of the lock. The owner does not matter, because only `KeyVanishes` removes the key.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Free,
    Held,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Messages {
    acquire: Acquire,
    second: Second,
    /// Raises of rounds that have ended and that may still be executed; 0 is none.
    late: [u8; ROUNDS_MAX],
}

/// `SET` and the `ZADD` behind it; commands of others may run between the two.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Acquire {
    Unsent,
    Sent,
    Granted,
    Denied,
    GrantedAnd(Raised, u8),
    /// Both were executed, and the answer does not matter any more.
    Over,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Second {
    NotAsked,
    Reading,
    Read(u8),
    Raising,
    Answered(Raised),
}

/// [`Raise`], with an order.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Raised {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Attempt {
    phase: Phase,
    /// The number of second rounds that failed.
    lost: u8,
    /// The attempts that had returned when this one began, as a bit set.
    after: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    Idle,
    Acquiring,
    Reading,
    Raising(u8),
    Returned(u8),
    GivenUp,
}

/// A step. Attempts and nodes are given by number; nodes are numbered as in the state before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Start {
        attempt: usize,
    },
    Set {
        attempt: usize,
        node: usize,
    },
    Zadd {
        attempt: usize,
        node: usize,
    },
    /// The client decides on the grants of these nodes, a bit set.
    Decide {
        attempt: usize,
        nodes: u8,
    },
    Read {
        attempt: usize,
        node: usize,
    },
    ChooseToken {
        attempt: usize,
    },
    Raise {
        attempt: usize,
        node: usize,
    },
    RaiseLate {
        attempt: usize,
        node: usize,
        which: usize,
    },
    EndRound {
        attempt: usize,
    },
    KeyVanishes {
        node: usize,
    },
    NodeForgets {
        node: usize,
    },
}

impl Model for Fencing {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let messages = Messages { acquire: Acquire::Unsent, second: Second::NotAsked, late: [0; ROUNDS_MAX] };
        let node = |score| Node { key: Key::Free, score, messages: [messages; ATTEMPTS_MAX] };
        let attempts = [Attempt { phase: Phase::Idle, lost: 0, after: 0 }; ATTEMPTS_MAX];
        let state = |scores: &[u8; NODES]| State { nodes: scores.map(node), attempts, losses: self.losses };
        self.scores.iter().map(state).collect()
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for attempt in 0..self.walls.len() {
            match state.attempts[attempt].phase {
                Phase::Idle if self.may_start(state, attempt) => steps.push(Step::Start { attempt }),
                Phase::Acquiring => {
                    let subsets = (0..1 << NODES).filter(|nodes| is_quorum_of_grants(state, attempt, *nodes));
                    steps.extend(subsets.map(|nodes| Step::Decide { attempt, nodes }));
                }
                Phase::Reading => steps.push(Step::ChooseToken { attempt }),
                Phase::Raising(_) => steps.push(Step::EndRound { attempt }),
                Phase::Idle | Phase::Returned(_) | Phase::GivenUp => {}
            }
            for (node, Node { messages, .. }) in state.nodes.iter().enumerate() {
                let Messages { acquire, second, late } = messages[attempt];
                match acquire {
                    Acquire::Sent => steps.push(Step::Set { attempt, node }),
                    Acquire::Granted | Acquire::Denied => steps.push(Step::Zadd { attempt, node }),
                    Acquire::Unsent | Acquire::GrantedAnd(..) | Acquire::Over => {}
                }
                match second {
                    Second::Reading => steps.push(Step::Read { attempt, node }),
                    Second::Raising => steps.push(Step::Raise { attempt, node }),
                    Second::NotAsked | Second::Read(_) | Second::Answered(_) => {}
                }
                let late = late.iter().enumerate().filter(|(_, token)| **token > 0);
                steps.extend(late.map(|(which, _)| Step::RaiseLate { attempt, node, which }));
            }
        }
        for (node, Node { key, .. }) in state.nodes.iter().enumerate() {
            if *key == Key::Held {
                steps.push(Step::KeyVanishes { node });
            }
            if state.losses > 0 {
                steps.push(Step::NodeForgets { node });
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = *state;
        let nodes = &mut next.nodes;
        match step {
            Step::Start { attempt } => {
                nodes.iter_mut().for_each(|node| node.messages[attempt].acquire = Acquire::Sent);
                let returned = (0..ATTEMPTS_MAX).filter(|other| token(&state.attempts[*other]).is_some());
                let after = returned.fold(0, |set, other| set | 1 << other);
                next.attempts[attempt] = Attempt { phase: Phase::Acquiring, lost: 0, after };
            }
            Step::Set { attempt, node } => {
                let answer = if nodes[node].key == Key::Free { Acquire::Granted } else { Acquire::Denied };
                nodes[node].key = Key::Held;
                nodes[node].messages[attempt].acquire = answer;
                if self.commands == Commands::Together {
                    return self.next_state(&next, Step::Zadd { attempt, node });
                }
            }
            Step::Zadd { attempt, node } => {
                let granted = nodes[node].messages[attempt].acquire == Acquire::Granted;
                let (raised, count) = self.zadd(&mut nodes[node], self.proposal(attempt), granted);
                // The client ignores denials, and answers that arrive after the decision.
                let awaited = granted && state.attempts[attempt].phase == Phase::Acquiring;
                let answer = if awaited { Acquire::GrantedAnd(raised, count) } else { Acquire::Over };
                nodes[node].messages[attempt].acquire = answer;
            }
            Step::Decide { attempt, nodes } => self.decide(&mut next, attempt, nodes),
            Step::Read { attempt, node } => {
                nodes[node].messages[attempt].second = Second::Read(nodes[node].score);
            }
            Step::ChooseToken { attempt } => self.choose_token(&mut next, attempt)?,
            Step::Raise { attempt, node } => {
                let Phase::Raising(token) = state.attempts[attempt].phase else { return None };
                let (raised, _) = self.zadd(&mut nodes[node], token, true);
                nodes[node].messages[attempt].second = Second::Answered(raised);
            }
            Step::RaiseLate { attempt, node, which } => {
                let late = &mut nodes[node].messages[attempt].late;
                let token = std::mem::take(&mut late[which]);
                late.sort_unstable();
                self.zadd(&mut nodes[node], token, true);
            }
            Step::EndRound { attempt } => self.end_round(&mut next, attempt)?,
            Step::KeyVanishes { node } => nodes[node].key = Key::Free,
            Step::NodeForgets { node } => {
                next.losses -= 1;
                (nodes[node].key, nodes[node].score) = (Key::Free, 0);
            }
        }
        // Nodes are interchangeable: states that differ only in the order of the nodes are the same.
        next.nodes.sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(UNIQUE, |_, state: &State| {
                let tokens: Vec<u8> = state.attempts.iter().filter_map(token).collect();
                tokens.iter().enumerate().all(|(i, token)| !tokens[i + 1..].contains(token))
            }),
            Property::always(IN_ORDER, |_, state: &State| {
                let exceeds_earlier = |later: &Attempt, larger| {
                    let mut others = state.attempts.iter().enumerate();
                    others.all(|(i, other)| later.after >> i & 1 == 0 || token(other) < Some(larger))
                };
                state
                    .attempts
                    .iter()
                    .all(|later| token(later).is_none_or(|larger| exceeds_earlier(later, larger)))
            }),
            Property::sometimes("every attempt returns", |model: &Self, state: &State| {
                state.attempts[..model.walls.len()].iter().all(|attempt| token(attempt).is_some())
            }),
        ]
    }
}
