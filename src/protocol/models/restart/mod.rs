//! The restart guard: clients and three nodes that restart, forget, are promoted, rolled back or other servers, with exact
//! clocks.
//!
//! Nodes keep real records, which change by the shipped `Record::after` alone; attempts are decided by the shipped `Round`,
//! `Lease` and `RestartGuard::quarantine`. Time passes in steps of [`STEP`](looks::STEP), so that the margins and pauses of the
//! library are less than one. Each scenario has a menu of faults, each of which happens at most once, in any order and at any
//! time, between any two looks and commands of any client.
//!
//! Assumed, because nothing can be known otherwise:
//!
//! - A client looks at all nodes that it can reach, and tells each of them of the others, just before it starts an attempt.
//!   Steps are longer than the longest pause between looks.
//! - A holder has met all nodes, unless a scenario says otherwise.
//! - A file that is loaded is older than the latest process that a client has met.
//! - A replica that is promoted is met before it restarts.

mod attempts;
mod faults;
mod looks;
mod tests;

use stateright::{Model, Property};

use crate::protocol::{Lease, Record};

const NODES: usize = 3;
/// When a search begins: later than any first record is old.
const BEGIN: u8 = 20;

const ONE_HOLDER: &str = "one holder at a time";

/// Whom attempts believe. All but the first are wrong, by one rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Shipped,
    /// A restarted node is believed although no client had noted that the process before keeps every write.
    DurabilityNotNoted,
    PromotionIgnored,
    /// A record that another process made is believed, however young it is.
    MadeRecordBelieved,
    /// Nobody notices that another server is the node.
    ServerNotNoticed,
    OwnTtlAlone,
    /// What other nodes have been told is not read again before a quarantine ends.
    TtlNotReadAgain,
    DeclarationKept,
    RollbackNotNoticed,
    TooShort,
}

#[derive(Clone, Debug)]
struct Restarts {
    rule: Rule,
    /// How many steps of time pass.
    steps: u8,
    menu: Vec<Fault>,
    /// What all servers are configured to.
    config: Config,
    founding: Founding,
    clients: Vec<Observer>,
    renewals: Renewals,
    /// What has happened before the search begins.
    script: Vec<Step>,
}

/// What a client does.
#[derive(Clone, Debug)]
struct Observer {
    /// Its `max_ttl`, and the TTL of its lease, in steps.
    ttl: u8,
    /// The nodes that it can reach when it starts an attempt. It looks at all of them then.
    meets: Vec<usize>,
    aim: Aim,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Aim {
    Lock,
    /// As [`Lock`](Self::Lock), but only once it has met all nodes.
    LockAfterMeetingAll,
    LookAround,
}

/// How the nodes came into being.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Founding {
    LongAgo,
    /// So, and another server has taken turns with one of them.
    InTurns,
    /// Just now, and declared new.
    Declared,
}

/// Whether holders renew their leases, once, and plant the key again where it is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Renewals {
    No,
    Yes,
}

/// Something that happens to the node of that number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The client of the first number looks at it, before it starts an attempt.
    Look(usize, usize),
    Restart(usize, Lost, Config),
    /// Its first replica attaches.
    Attach(usize),
    /// Its replica takes its place and lacks the lock.
    Promote(usize),
    /// The name leads to the server of that number from now on.
    Swap(usize, usize),
    Save(usize),
    /// It restarts with what was saved.
    Load(usize),
}

/// What a restart loses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Nothing,
    /// What was written last: the locks.
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
    /// Which server each node is.
    names: [usize; NODES],
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// Which faults of the menu have happened.
    happened: u8,
    saved: Option<Data>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Server {
    /// Its number of restarts; other processes have other numbers.
    run: u8,
    replication: u8,
    was_replica: bool,
    has_replica: bool,
    config: Config,
    data: Data,
}

/// What a file holds.
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
    /// When it first looked at a node.
    since: Option<u8>,
    seen: [Option<Seen>; NODES],
    list: String,
    left: String,
    phase: Phase,
    sent_at: u8,
    renewed_at: u8,
    lease: Lease,
    /// For each node the last command to it.
    messages: [Message; NODES],
}

/// What a client knows of a node.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Seen {
    record: Record,
    at: u8,
    is_up: bool,
    replaced: Option<u8>,
    /// The list that the node was told.
    told: String,
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
    /// Its connection is gone.
    Lost(Command),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

/// Clients come before nodes.
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
    /// The state after a step; `None` where it cannot be taken.
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
                if let Fault::Look(client, node) = fault {
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
            if let Fault::Look(..) = fault {
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
