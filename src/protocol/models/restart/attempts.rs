//! Attempts and leases.

use std::time::Duration;

use super::observing::{at, ttl};
use super::{Aim, Answer, Client, Command, Key, Message, NODES, Observer, Phase, Renewals, Restarts, State};
use crate::protocol::{Connection, Decision, Drift, Lease, Quorum, QuorumSize, Round, Vote};
use crate::types::NodeId;

impl Restarts {
    /// Begins an attempt that may succeed.
    pub(super) fn start(&self, state: &mut State, number: usize) -> Option<()> {
        let Observer { meets, aim, .. } = &self.clients[number];
        if *aim == Aim::ObserveOnly || state.clients[number].phase != Phase::Idle {
            return None;
        }
        // The nodes are observed twice, because the list is complete only after the last node has been met.
        for node in meets.iter().chain(meets) {
            self.observe(state, number, *node);
        }
        let (now, client) = (state.now, &state.clients[number]);
        let may = *aim == Aim::Lock || client.seen.iter().all(Option::is_some);
        may.then_some(())?;
        let asked: [bool; NODES] = std::array::from_fn(|node| client.can_ask(node, now));
        let counts: [bool; NODES] = std::array::from_fn(|node| {
            let quarantine = self.quarantine(state, number, node);
            asked[node] && quarantine.is_none_or(|quarantine| at(now) >= quarantine.until)
        });
        if counts.iter().filter(|counts| **counts).count() < quorum().needed() {
            return None;
        }
        let client = &mut state.clients[number];
        (client.phase, client.sent_at) = (Phase::Asking, now);
        for node in 0..NODES {
            if !asked[node] {
                client.messages[node] = Message::Lost(Command::Acquire);
                continue;
            }
            client.lease.handle_sent(NodeId(node));
            if !counts[node] {
                client.lease.handle_quarantined(NodeId(node));
            }
            client.messages[node] = Message::Sent(Command::Acquire);
        }
        Some(())
    }

    pub(super) fn renew(&self, state: &mut State, number: usize) -> Option<()> {
        let client = &mut state.clients[number];
        let renews = self.renewals == Renewals::Yes && client.phase == Phase::Holding;
        if !renews || client.lease.deadline(at(state.now)).is_none() {
            return None;
        }
        (client.phase, client.renewed_at) = (Phase::Renewing, state.now);
        client.messages = [Message::Sent(Command::Extend); NODES];
        Some(())
    }

    /// The node executes the command, and the client handles the answer.
    pub(super) fn execute(&self, state: &mut State, number: usize, node: usize) -> Option<()> {
        let (now, lasts) = (state.now, self.clients[number].ttl);
        let client = &mut state.clients[number];
        let Message::Sent(command) = client.messages[node] else { return None };
        let key = &mut state.servers[state.names[node]].data.key;
        let is_ours = key.is_some_and(|key| key.owner == number);
        let answer = match command {
            Command::Acquire | Command::Restore(_) if key.is_none() => Answer::Yes,
            Command::Extend if is_ours => Answer::Yes,
            Command::Acquire | Command::Restore(_) | Command::Extend => Answer::No,
        };
        if answer == Answer::Yes {
            *key = Some(Key { owner: number, expires: now + lasts });
        }
        client.messages[node] = Message::Answered(command, answer);
        let vote = match answer {
            Answer::Yes => Vote::Granted,
            Answer::No => Vote::Denied,
        };
        let (sent, renewed, node) = (at(client.sent_at), at(client.renewed_at), NodeId(node));
        let lease = &mut client.lease;
        match command {
            Command::Acquire => lease.handle_acquired(node, sent, ttl(lasts), vote),
            Command::Extend => lease.handle_extended(node, renewed, ttl(lasts), vote, at(now)),
            Command::Restore(sent) => lease.handle_restored(node, at(sent), ttl(lasts), vote, at(now)),
        }
        match client.phase {
            Phase::Asking => client.decide(now),
            Phase::Renewing => self.heal(client, now),
            Phase::Idle | Phase::Holding | Phase::Over => {}
        }
        Some(())
    }

    /// Sets the key again where it is missing, once a quorum has renewed.
    fn heal(&self, client: &mut Client, now: u8) {
        let is = |message: &Message, answer| *message == Message::Answered(Command::Extend, answer);
        let renewed = client.messages.iter().filter(|message| is(message, Answer::Yes)).count();
        let is_alive = renewed >= quorum().needed() && client.lease.deadline(at(now)).is_some();
        if !is_alive {
            return;
        }
        for (i, message) in client.messages.iter_mut().enumerate() {
            if is(message, Answer::No) {
                client.lease.handle_restore_sent(NodeId(i), Connection::Same);
                *message = Message::Sent(Command::Restore(now));
            }
        }
    }
}

impl Client {
    /// Whether the client may ask the node: there is a connection, the node was observed just now, and all nodes that
    /// were met have been announced to it.
    fn can_ask(&self, node: usize, now: u8) -> bool {
        let seen = self.seen[node].as_ref();
        seen.is_some_and(|seen| seen.is_up && seen.at == now && seen.told == self.list)
    }

    /// Decides as the coordinator does: quarantined nodes count as unknown at once, and the clock is checked last.
    fn decide(&mut self, now: u8) {
        let mut round = Round::new(quorum());
        for (i, message) in self.messages.iter().enumerate() {
            let vote = match message {
                _ if self.lease.is_quarantined(NodeId(i)) => Vote::Unknown,
                Message::Answered(_, Answer::Yes) => Vote::Granted,
                Message::Answered(_, Answer::No) => Vote::Denied,
                Message::Lost(_) => Vote::Unknown,
                Message::None | Message::Sent(_) => continue,
            };
            round.handle_vote(NodeId(i), vote);
        }
        self.phase = match round.decision() {
            Decision::Pending => return,
            Decision::Won if self.lease.deadline(at(now)).is_some() => Phase::Holding,
            Decision::Won | Decision::Failed => Phase::Over,
        };
    }
}

impl State {
    pub(super) fn holders(&self) -> usize {
        let holds = |client: &&Client| match client.phase {
            Phase::Holding | Phase::Renewing => client.lease.deadline(at(self.now)).is_some(),
            Phase::Idle | Phase::Asking | Phase::Over => false,
        };
        self.clients.iter().filter(holds).count()
    }

    /// Whether the second client has failed, or has won and stays the only holder.
    pub(super) fn is_settled(&self) -> bool {
        let [first, second, ..] = self.clients.as_slice() else { return false };
        let is_first_over = first.lease.deadline(at(self.now)).is_none();
        second.phase == Phase::Over || second.phase == Phase::Holding && is_first_over
    }

    pub(super) fn expire(&mut self) {
        for server in &mut self.servers {
            server.data.key = server.data.key.filter(|key| self.now < key.expires);
        }
    }

    /// Removes the key of a failed attempt. The release may arrive at any time, or never.
    pub(super) fn release(&mut self, number: usize, node: usize) -> Option<()> {
        let is_over = self.clients[number].phase == Phase::Over;
        let key = &mut self.servers[self.names[node]].data.key;
        let is_ours = key.is_some_and(|key| key.owner == number);
        (is_over && is_ours).then(|| *key = None)
    }
}

pub(super) fn new_attempt() -> Lease {
    Lease::new(quorum(), Drift { factor: 0.0, floor: Duration::ZERO })
}

fn quorum() -> Quorum {
    Quorum::new(NODES, QuorumSize::Majority).unwrap()
}
