//! The restart guard: attempts on three nodes that may forget everything they granted, with exact clocks.
//!
//! Time passes in steps. A message may be delayed until time runs out; one that was not executed when its node
//! restarts is lost, for it came on a connection to the incarnation before. `Round`, `Lease` and `RestartGuard` decide as
//! they do in the library.

mod rules;
mod tests;

use stateright::{Model, Property};

use crate::protocol::Lease;

const NODES: usize = 3;
const ATTEMPTS: usize = 2;

const ONE_HOLDER: &str = "one holder at a time";

/// Whom attempts believe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// Wrong: nodes that restarted vote at once.
    NoGuard,
    /// Wrong: they vote one step too early.
    TooShort,
    /// Wrong: a node is given the key again although no quorum has renewed.
    HealsAlways,
}

#[derive(Clone, Debug)]
struct Restarts {
    rule: Rule,
    /// When time runs out. A lease lasts for [`TTL`](rules::TTL) steps.
    end: u8,
    /// How many times a node forgets.
    restarts: u8,
    renewals: Renewals,
    begin: Begin,
}

/// Where the search begins. From nothing there are many more states.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin {
    Nothing,
    /// The first attempt holds the lock on two nodes, and its command to the third is under way.
    Held,
}

/// Whether holders renew their leases, once, and plant the key again where it is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Renewals {
    No,
    Yes,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    now: u8,
    nodes: [Node; NODES],
    attempts: [Attempt; ATTEMPTS],
    restarts: u8,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Node {
    /// When its incarnation began.
    born: u8,
    key: Option<Key>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Key {
    owner: usize,
    expires: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Attempt {
    phase: Phase,
    sent_at: u8,
    renewed_at: u8,
    lease: Lease,
    /// For each node the last command to it.
    messages: [Message; NODES],
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    Idle,
    Asking,
    /// The lease was handed over; for how long it is good is the lease's to say.
    Holding,
    Renewing,
    /// Lost; whatever it planted may be removed at any time.
    Over,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Command {
    Acquire,
    Extend,
    /// To a node that lacks the key while the lease lives; sent at that time.
    Plant(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Message {
    None,
    Sent(Command),
    Answered(Command, Answer),
    /// The client has taken it in.
    Seen(Command, Answer),
    /// To an incarnation that is gone.
    Lost(Command),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    TimePasses,
    Restart(usize),
    Start(usize),
    Execute(usize, usize),
    See(usize, usize),
    Renew(usize),
    Release(usize, usize),
}

impl Model for Restarts {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let nothing = self.first_state();
        let steps = match self.begin {
            Begin::Nothing => vec![],
            Begin::Held => {
                let taken = [0, 1].into_iter().flat_map(|node| [Step::Execute(0, node), Step::See(0, node)]);
                [Step::Start(0)].into_iter().chain(taken).collect()
            }
        };
        vec![steps.into_iter().fold(nothing, |state, step| self.next(&state, step).expect("it can be taken"))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        let steps = [Step::TimePasses]
            .into_iter()
            .chain((0..NODES).map(Step::Restart))
            .chain((0..ATTEMPTS).flat_map(|attempt| [Step::Start(attempt), Step::Renew(attempt)]))
            .chain((0..ATTEMPTS).flat_map(|attempt| {
                (0..NODES).flat_map(move |node| {
                    [Step::Execute(attempt, node), Step::See(attempt, node), Step::Release(attempt, node)]
                })
            }));
        actions.extend(steps.filter(|step| self.next(state, *step).is_some()));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.next(state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HOLDER, |_, state: &State| state.holders() <= 1),
            Property::sometimes("a lock is held", |_, state: &State| state.holders() == 1),
            Property::sometimes("both have held it", |_, state: &State| {
                state.attempts.iter().all(|attempt| attempt.phase == Phase::Holding)
            }),
        ]
    }
}
