//! What nodes and attempts do: the library's own rules, and the wrong ones in their place.

use std::time::Duration;

use super::{
    Answer, Attempt, Command, Key, Message, NODES, Node, Phase, Renewals, Restarts, Rule, State, Step,
};
use crate::protocol::{Connection, Decision, Drift, Lease, Quorum, QuorumSize, RestartGuard, Round, Vote};
use crate::types::{Evidence, Moment, NodeId, Origin, Persistence, Promotion, Ttl};

/// How many steps a key lives.
pub(super) const TTL: u8 = 2;
/// A step of time.
const STEP: Duration = Duration::from_millis(10);

impl Restarts {
    pub(super) fn first_state(&self) -> State {
        // Old enough to be believed.
        let now = TTL;
        let attempt = Attempt {
            phase: Phase::Idle,
            sent_at: 0,
            renewed_at: 0,
            lease: Lease::new(quorum(), Drift { factor: 0.0, floor: Duration::ZERO }),
            messages: [Message::None; NODES],
        };
        State {
            now,
            nodes: [Node { born: 0, key: None }; NODES],
            attempts: [attempt.clone(), attempt],
            restarts: 0,
        }
    }

    fn guard(&self) -> RestartGuard {
        match self.rule {
            Rule::Shipped | Rule::HealsAlways => RestartGuard::For(STEP * u32::from(TTL)),
            Rule::TooShort => RestartGuard::For(STEP * u32::from(TTL - 1)),
            Rule::NoGuard => RestartGuard::Off,
        }
    }

    /// The state after a step; `None` where it cannot be taken.
    pub(super) fn next(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::TimePasses => {
                next.now = (state.now < self.end).then_some(state.now + 1)?;
                next.expire();
            }
            Step::Restart(node) => {
                next.restarts = (state.restarts < self.restarts).then_some(state.restarts + 1)?;
                next.restart(node);
            }
            Step::Start(attempt) => self.start(&mut next, attempt)?,
            Step::Execute(attempt, node) => next.execute(attempt, node)?,
            Step::See(attempt, node) => self.see(&mut next, attempt, node)?,
            Step::Renew(attempt) => self.renew(&mut next, attempt)?,
            Step::Release(attempt, node) => next.release(attempt, node)?,
        }
        Some(next)
    }

    fn start(&self, state: &mut State, number: usize) -> Option<()> {
        let (now, guard) = (state.now, self.guard());
        // They are alike, so the first is the one that begins first.
        let in_turn = number == 0 || state.attempts[number - 1].phase != Phase::Idle;
        let attempt = &mut state.attempts[number];
        if attempt.phase != Phase::Idle || !in_turn {
            return None;
        }
        (attempt.phase, attempt.sent_at) = (Phase::Asking, now);
        for (i, node) in state.nodes.iter().enumerate() {
            attempt.lease.handle_sent(NodeId(i));
            if guard.quarantine(&evidence(node), at(now)).is_some() {
                attempt.lease.handle_quarantined(NodeId(i));
            }
            attempt.messages[i] = Message::Sent(Command::Acquire);
        }
        Some(())
    }

    fn renew(&self, state: &mut State, number: usize) -> Option<()> {
        let attempt = &mut state.attempts[number];
        let renews = self.renewals == Renewals::Yes && attempt.phase == Phase::Holding;
        if !renews || attempt.lease.deadline(at(state.now)).is_none() {
            return None;
        }
        (attempt.phase, attempt.renewed_at) = (Phase::Renewing, state.now);
        attempt.messages = [Message::Sent(Command::Extend); NODES];
        Some(())
    }

    fn see(&self, state: &mut State, number: usize, node: usize) -> Option<()> {
        let now = state.now;
        let attempt = &mut state.attempts[number];
        let Message::Answered(command, answer) = attempt.messages[node] else { return None };
        attempt.messages[node] = Message::Seen(command, answer);
        let vote = match answer {
            Answer::Yes => Vote::Granted,
            Answer::No => Vote::Denied,
        };
        let (sent_at, renewed_at, lease) = (at(attempt.sent_at), at(attempt.renewed_at), &mut attempt.lease);
        match command {
            Command::Acquire => lease.handle_acquired(NodeId(node), sent_at, ttl(), vote),
            Command::Extend => lease.handle_extended(NodeId(node), renewed_at, ttl(), vote, at(now)),
            Command::Plant(sent) => lease.handle_replanted(NodeId(node), at(sent), ttl(), vote, at(now)),
        }
        match attempt.phase {
            Phase::Asking => decide(attempt, now),
            Phase::Renewing => self.heal(attempt, now),
            Phase::Idle | Phase::Holding | Phase::Over => {}
        }
        Some(())
    }

    /// Plants the key where it is missing, once enough nodes have renewed.
    fn heal(&self, attempt: &mut Attempt, now: u8) {
        let is = |message: &Message, answer| *message == Message::Seen(Command::Extend, answer);
        let renewed = attempt.messages.iter().filter(|message| is(message, Answer::Yes)).count();
        let alive = renewed >= quorum().needed() && attempt.lease.deadline(at(now)).is_some();
        if !alive && self.rule != Rule::HealsAlways {
            return;
        }
        for (i, message) in attempt.messages.iter_mut().enumerate() {
            if is(message, Answer::No) {
                attempt.lease.handle_replanting(NodeId(i), Connection::Same);
                *message = Message::Sent(Command::Plant(now));
            }
        }
    }
}

impl State {
    pub(super) fn holders(&self) -> usize {
        let holds = |attempt: &&Attempt| match attempt.phase {
            Phase::Holding | Phase::Renewing => attempt.lease.deadline(at(self.now)).is_some(),
            Phase::Idle | Phase::Asking | Phase::Over => false,
        };
        self.attempts.iter().filter(holds).count()
    }

    fn expire(&mut self) {
        for node in &mut self.nodes {
            node.key = node.key.filter(|key| self.now < key.expires);
        }
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node] = Node { born: self.now, key: None };
        for attempt in &mut self.attempts {
            if let Message::Sent(command) = attempt.messages[node] {
                attempt.messages[node] = Message::Lost(command);
            }
        }
    }

    fn execute(&mut self, number: usize, i: usize) -> Option<()> {
        let expires = self.now + TTL;
        let Message::Sent(command) = self.attempts[number].messages[i] else { return None };
        let node = &mut self.nodes[i];
        let mine = node.key.is_some_and(|key| key.owner == number);
        let answer = match command {
            Command::Acquire | Command::Plant(_) if node.key.is_none() => Answer::Yes,
            Command::Extend if mine => Answer::Yes,
            Command::Acquire | Command::Plant(_) | Command::Extend => Answer::No,
        };
        if answer == Answer::Yes {
            node.key = Some(Key { owner: number, expires });
        }
        self.attempts[number].messages[i] = Message::Answered(command, answer);
        Some(())
    }

    /// Of an attempt that lost: its key goes when the release arrives, if ever.
    fn release(&mut self, number: usize, node: usize) -> Option<()> {
        let over = self.attempts[number].phase == Phase::Over;
        let mine = self.nodes[node].key.is_some_and(|key| key.owner == number);
        (over && mine).then(|| self.nodes[node].key = None)
    }
}

/// As the coordinator does: quarantined nodes are unknown at once, and the last thing is the look at the clock.
fn decide(attempt: &mut Attempt, now: u8) {
    let mut round = Round::new(quorum());
    for (i, message) in attempt.messages.iter().enumerate() {
        let vote = match message {
            _ if attempt.lease.is_quarantined(NodeId(i)) => Vote::Unknown,
            Message::Seen(_, Answer::Yes) => Vote::Granted,
            Message::Seen(_, Answer::No) => Vote::Denied,
            Message::Lost(_) => Vote::Unknown,
            Message::None | Message::Sent(_) | Message::Answered(..) => continue,
        };
        round.handle_vote(NodeId(i), vote);
    }
    attempt.phase = match round.decision() {
        Decision::Pending => return,
        Decision::Won if attempt.lease.deadline(at(now)).is_some() => Phase::Holding,
        Decision::Won | Decision::Lost => Phase::Over,
    };
}

/// All that a node without files can show is its age.
fn evidence(node: &Node) -> Evidence {
    Evidence {
        persistence: Persistence::Weak,
        promotion: Promotion::Never,
        origin: Origin::ThisIncarnation,
        born: at(node.born),
    }
}

fn quorum() -> Quorum {
    Quorum::new(NODES, QuorumSize::Majority).unwrap()
}

fn ttl() -> Ttl {
    Ttl::from_duration(STEP * u32::from(TTL))
}

fn at(steps: u8) -> Moment {
    Moment::from_nanos(0) + STEP * u32::from(steps)
}
