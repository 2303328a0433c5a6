//! The restart guard: clients and three nodes that restart, forget, are promoted, rolled back or replaced, with exact
//! clocks.
//!
//! Nodes keep real records, which only the shipped `Record::after` changes. The shipped `Round`, `Lease` and
//! `RestartGuard::quarantine` decide attempts. Time passes in steps of [`STEP`](observing::STEP), which are longer than
//! the margins and pauses of the library. Each scenario has a menu of faults. Each fault happens at most once, in any
//! order and at any time, between any two observations and commands of any client.
//!
//! Assumptions, because clients cannot know better:
//!
//! - A client observes all nodes that it can reach, and announces to each of them the others, just before it starts
//!   an attempt. Steps are longer than the longest observation interval.
//! - A holder has met all nodes, unless a scenario says otherwise.
//! - A file that is loaded is older than the latest process that a client has met.
//! - A replica that is promoted is observed before it restarts.

mod attempts;
mod faults;
mod observing;
mod tests;

use stateright::{Model, Property};

use crate::protocol::{Lease, Record};

const NODES: usize = 3;
/// When a search begins: after the quarantine of the first records.
const BEGIN: u8 = 20;

const ONE_HOLDER: &str = "one holder at a time";

/// The rule by which attempts count grants. All variants but the first are wrong, because one rule is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// A restarted node counts although no client had noted that the process before it keeps every write.
    DurabilityNotNoted,
    PromotionIgnored,
    /// A record that another process made counts, however young the record is.
    MadeRecordBelieved,
    /// No client notices that another server is the node.
    ServerNotNoticed,
    OwnTtlAlone,
    /// The announcements to other nodes are not read again before a quarantine ends.
    TtlNotReadAgain,
    DeclarationKept,
    RollbackNotNoticed,
    TooShort,
}

#[derive(Clone, Debug)]
struct Restarts {
    rule: Rule,
    /// The number of steps by which time advances.
    steps: u8,
    menu: Vec<Fault>,
    /// The configuration of all servers.
    config: Config,
    founding: Founding,
    clients: Vec<Observer>,
    renewals: Renewals,
    /// The steps before the search begins.
    script: Vec<Step>,
}

/// A client's settings and its aim.
#[derive(Clone, Debug)]
struct Observer {
    /// The client's `max_ttl`, which is also the TTL of its lease, in steps.
    ttl: u8,
    /// The nodes that the client can reach, and observes, when it starts an attempt.
    meets: Vec<usize>,
    aim: Aim,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Aim {
    Lock,
    /// As [`Lock`](Self::Lock), but only once the client has met all nodes.
    LockAfterMeetingAll,
    ObserveOnly,
}

/// How the nodes began.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Founding {
    LongAgo,
    /// The nodes began long ago, and another server has alternated with one of them.
    InTurns,
    /// The nodes began just now, and were declared new.
    Declared,
}

/// Whether holders renew their leases, once, and set the key again where it is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Renewals {
    No,
    Yes,
}

/// A fault of the node with this number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The client with the first number observes the node with the second one, before that client starts an attempt.
    Observe(usize, usize),
    Restart(usize, Lost, Config),
    /// A first replica attaches to the node.
    Attach(usize),
    /// The node's replica takes its place, without the lock.
    Promote(usize),
    /// The node's name leads to the server with the second number from now on.
    Swap(usize, usize),
    Save(usize),
    /// The node restarts with the saved data.
    Load(usize),
}

/// The data that a restart loses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Nothing,
    /// The latest writes: the locks.
    Locks,
    All,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Config {
    Durable,
    Weak,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    now: u8,
    /// The server that each node is.
    names: [usize; NODES],
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// The faults of the menu that have happened, as a bit set.
    happened: u8,
    saved: Option<Data>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Server {
    /// The number of restarts, which is different for each process of the server.
    run: u8,
    replication: u8,
    was_replica: bool,
    has_replica: bool,
    config: Config,
    data: Data,
}

/// The content of a server's file.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Data {
    record: Option<Record>,
    key: Option<Key>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Key {
    owner: usize,
    expires: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Client {
    /// When the client first observed a node.
    since: Option<u8>,
    seen: [Option<Seen>; NODES],
    list: String,
    left: String,
    phase: Phase,
    sent_at: u8,
    renewed_at: u8,
    lease: Lease,
    /// The last command to each node.
    messages: [Message; NODES],
}

/// A client's knowledge of a node.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Seen {
    record: Record,
    at: u8,
    is_up: bool,
    replaced: Option<u8>,
    /// The list that was announced to the node.
    told: String,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Phase {
    Idle,
    Asking,
    /// The client holds the lock; the lease itself says until when.
    Holding,
    Renewing,
    /// The attempt failed; the keys that it set may be removed at any time.
    Over,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Command {
    Acquire,
    Extend,
    /// Set the key again, at this time, on a node that lacks it while the lease is alive.
    Restore(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Message {
    None,
    Sent(Command),
    Answered(Command, Answer),
    /// The connection is gone.
    Lost(Command),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

/// A step; where it has two numbers, the first is a client and the second a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    TimePasses,
    Happens(Fault),
    Start(usize),
    Execute(usize, usize),
    Renew(usize),
    Release(usize, usize),
}

impl Restarts {
    /// Returns the state after a step; `None` if the step is impossible.
    fn next(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::TimePasses => {
                next.now = (state.now < BEGIN + self.steps).then_some(state.now + 1)?;
                next.expire();
            }
            Step::Happens(fault) => {
                let number = self.menu.iter().position(|listed| *listed == fault)?;
                let mark = 1 << number;
                next.happened = (state.happened & mark == 0).then_some(state.happened | mark)?;
                if let Fault::Observe(client, node) = fault {
                    self.observe(&mut next, client, node);
                } else {
                    next.happens(fault)?;
                }
            }
            Step::Start(client) => self.start(&mut next, client)?,
            Step::Execute(client, node) => self.execute(&mut next, client, node)?,
            Step::Renew(client) => self.renew(&mut next, client)?,
            Step::Release(client, node) => next.release(client, node)?,
        }
        Some(next)
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let clients = 0..self.clients.len();
        let commands = clients.clone().flat_map(|client| {
            (0..NODES).flat_map(move |node| [Step::Execute(client, node), Step::Release(client, node)])
        });
        [Step::TimePasses]
            .into_iter()
            .chain(self.menu.iter().copied().map(Step::Happens))
            .chain(clients.flat_map(|client| [Step::Start(client), Step::Renew(client)]))
            .chain(commands)
    }
}

impl Model for Restarts {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let take = |state: State, step: &Step| self.next(&state, *step).expect("it can be taken");
        let mut state = self.script.iter().fold(self.first_state(), take);
        for (i, fault) in self.menu.iter().enumerate() {
            if let Fault::Observe(..) = fault {
                state.happened &= !(1 << i);
            }
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if !state.is_settled() {
            actions.extend(self.steps());
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        self.next(state, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HOLDER, |_, state: &State| state.holders() <= 1),
            Property::sometimes("a lock is held", |_, state: &State| state.holders() == 1),
            Property::sometimes("the second client gets it, too", |_, state: &State| {
                state.clients[1].phase == Phase::Holding
            }),
        ]
    }
}
