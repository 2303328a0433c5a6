//! Fencing tokens: attempts on three nodes, with nothing assumed about time.
//!
//! A message may be delayed for ever, so an answer on its way is the same as a command not yet looked at, and the
//! client may decide on any part of the answers. Keys vanish at any moment: by expiry, a release or a step of a clock.

mod rules;
mod tests;

use stateright::{Model, Property};

use rules::{is_quorum_of_grants, token};

const NODES: usize = 3;
const ATTEMPTS_MAX: usize = 3;
/// How many second rounds an attempt tries at most.
const ROUNDS_MAX: usize = 2;

const UNIQUE: &str = "tokens are unique";
const IN_ORDER: &str = "tokens grow in real-time order";

/// How tokens are made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// Wrong: a node also says "raised" when its score was the token already.
    RaiseAcceptsEqual,
    /// Wrong: a grant counts as a raise, whatever the node said of its score.
    StaleGrantCounts,
    /// Wrong: each node counts its own grants, and the token is the largest number of a quorum.
    CounterPerNode,
}

#[derive(Clone, Debug)]
struct Fencing {
    rule: Rule,
    /// Each attempt's wall clock, and by that its proposal.
    walls: Vec<u8>,
    starts: Starts,
    /// What the nodes' scores may be at first. Nodes are alike, so their order does not matter.
    scores: Vec<[u8; NODES]>,
    /// How many times a node loses everything.
    losses: u8,
    /// How many second rounds an attempt tries.
    rounds: usize,
    commands: Commands,
}

/// What others' commands may come between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Commands {
    /// `SET` and `ZADD` are two.
    Apart,
    /// They are executed as one, which makes fewer states.
    Together,
}

/// Which attempt may begin when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Starts {
    AnyOrder,
    /// In the order of their clocks.
    InOrder,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct State {
    nodes: [Node; NODES],
    attempts: [Attempt; ATTEMPTS_MAX],
    losses: u8,
}

/// A node, and what is under way between it and each attempt.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    key: Key,
    score: u8,
    messages: [Messages; ATTEMPTS_MAX],
}

/// Whose it is makes no difference: nobody removes it but by way of `KeyVanishes`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Free,
    Held,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Messages {
    acquire: Acquire,
    second: Second,
    /// Raises of rounds that are over, which may still be executed; 0 is none.
    late: [u8; ROUNDS_MAX],
}

/// `SET` and `ZADD`, one behind the other; others' commands may be executed between them.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Acquire {
    Unsent,
    Sent,
    Granted,
    Denied,
    GrantedAnd(Raised, u8),
    /// Executed; the answer makes no difference any more.
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

/// [`Raise`], in an order.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Raised {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Attempt {
    phase: Phase,
    /// Second rounds that were lost.
    lost: u8,
    /// Bit set of the attempts that had returned when this one began.
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

/// Attempts and nodes by their numbers; nodes as they stand in the state before.
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
    /// On the grants of these nodes, a bit set.
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
                // Nobody looks at a denial, nor at an answer that comes after the decision.
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
        // Nodes are alike: states that differ by the nodes' order alone are one.
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
