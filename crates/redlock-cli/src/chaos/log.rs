//! What has happened in a run: everything that is shown, judged and drawn comes from here. All times are nanoseconds
//! of the machine's clock.

use std::collections::BTreeMap;

use redlock_testing::history::LeftKey;

use super::event::{Answer, Event, What, Why};
use super::plan::{Act, Origin, Planned};
use super::store::Store;
use crate::lost::Lost;

/// `NodeFailure::kind` of a node that is connected, and whose vote does not count yet.
pub(crate) const QUARANTINED: &str = "in quarantine";

/// One run.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// When the first client was started.
    pub(crate) started_at: u64,
    /// When all clients were ready and somebody had a lock; the faults count from here. Without that, when the run
    /// gave up.
    pub(crate) began_at: u64,
    /// When the last fault was healed.
    pub(crate) healed_at: u64,
    /// When the clients were told to finish.
    pub(crate) ended_at: u64,
    /// The operator's names for the nodes.
    pub(crate) nodes: Vec<String>,
    pub(crate) clients: Vec<ClientLog>,
    pub(crate) hits: Vec<Hit>,
    /// How often the shared number was raised.
    pub(crate) counted: usize,
    pub(crate) writes: Vec<Written>,
    pub(crate) left: Vec<LeftKey>,
    /// When each value was first and last seen on a node, by node, key and value.
    pub(crate) seen: BTreeMap<(usize, String, String), (u64, u64)>,
    /// What else went wrong, as sentences without a full stop.
    pub(crate) troubles: Vec<String>,
    /// Why the faults never began, as sentences without a full stop.
    pub(crate) cut_short: Vec<String>,
    store: Store,
}

/// A fault that was applied.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) act: Act,
    /// The scenario's word for it.
    pub(crate) name: &'static str,
    pub(crate) origin: Origin,
    /// Before it was applied.
    pub(crate) at: u64,
    /// When it had taken effect.
    pub(crate) applied_at: u64,
    /// When it was healed; of a momentary one, when it had taken effect.
    pub(crate) healed_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct ClientLog {
    pub(crate) lives: Vec<Life>,
    pub(crate) visits: Vec<Visit>,
    pub(crate) waits: Vec<Wait>,
    /// The nodes without a connection, whenever that changed.
    pub(crate) lost_nodes: Vec<(u64, Vec<Lost>)>,
    /// Releases that were not confirmed in time: the nodes that did not answer, and why.
    pub(crate) unconfirmed: Vec<Vec<Lost>>,
    /// What it wants, since when, and when it asked last.
    wanted: Option<Wanted>,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    resource: usize,
    since: u64,
    asked_at: u64,
}

/// One process of a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Life {
    /// When it was killed; none while it lives and when it ended in order.
    pub(crate) killed_at: Option<u64>,
}

/// One hold of a lock.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) life: usize,
    pub(crate) resource: usize,
    /// Since when the client wanted it, over all waits in vain.
    pub(crate) wanted_at: u64,
    /// Before the call that acquired it.
    pub(crate) requested_at: u64,
    pub(crate) acquired_at: u64,
    pub(crate) deadline: u64,
    pub(crate) renewals: usize,
    pub(crate) fencing_token: u64,
    /// The key's value on the nodes.
    pub(crate) token: String,
    pub(crate) end: End,
    /// The shared number as the client found it, if the client raised it.
    pub(crate) counted: Option<u64>,
    /// When the guard first said that it was over.
    pub(crate) over_at: Option<u64>,
    /// When it was held again after its loss.
    pub(crate) valid_again_at: Option<u64>,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Not that anybody knows.
    Open,
    Released {
        at: u64,
    },
    Lost {
        at: u64,
        why: String,
    },
}

/// A wait for a lock that was in vain.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) resource: usize,
    /// Since when the client wanted it, over all waits before this one.
    pub(crate) wanted_at: u64,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) outcome: Outcome,
    /// The nodes that did not answer, and why.
    pub(crate) failures: Vec<Lost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Missed(Why),
    /// The client was killed, or the run ended.
    CutShort,
}

/// A write as the store decided it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) client: usize,
    pub(crate) resource: usize,
    pub(crate) fencing_token: u64,
    pub(crate) at: u64,
    pub(crate) answer: Answer,
    /// Whether the lease was over by then, by its last known deadline.
    pub(crate) lease: Lease,
}

/// What a lease was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    Valid,
    Over,
}

impl Log {
    pub(crate) fn new(clients: usize, nodes: Vec<String>) -> Self {
        Self { clients: (0..clients).map(|_| ClientLog::default()).collect(), nodes, ..Self::default() }
    }

    /// Takes in what a client says, `now`; answers what the store says to it, if that is what it asks.
    pub(crate) fn handle_event(
        &mut self,
        client: usize,
        life: usize,
        event: Event,
        now: u64,
    ) -> Option<Answer> {
        let Event { at, what } = event;
        let log = &mut self.clients[client];
        match what {
            What::Ready => {
                log.lives.push(Life::default());
                log.lost_nodes.push((at, Vec::new()));
            }
            What::Attempt { resource } => {
                let since = log.wanted.map_or(at, |wanted| wanted.since);
                log.wanted = Some(Wanted { resource, since, asked_at: at });
            }
            What::Acquired { deadline, fencing_token, token } => {
                let Wanted { resource, since, asked_at } = log.wanted.take()?;
                log.visits.push(Visit {
                    life,
                    resource,
                    wanted_at: since,
                    requested_at: asked_at,
                    acquired_at: at,
                    deadline,
                    renewals: 0,
                    fencing_token,
                    token,
                    end: End::Open,
                    counted: None,
                    over_at: None,
                    valid_again_at: None,
                });
            }
            What::Renewed { deadline } => {
                let visit = log.visits.last_mut()?;
                match visit.end {
                    End::Open if visit.over_at.is_none() => {
                        visit.deadline = visit.deadline.max(deadline);
                        visit.renewals += 1;
                    }
                    End::Open | End::Lost { .. } | End::Released { .. } => {
                        visit.valid_again_at.get_or_insert(at);
                    }
                }
            }
            What::Missed { why, failures } => {
                let Wanted { resource, since, asked_at } = log.wanted?;
                let outcome = Outcome::Missed(why);
                let (wanted_at, from) = (since, asked_at);
                log.waits.push(Wait { resource, wanted_at, from, until: at, outcome, failures });
            }
            What::Over => {
                log.visits.last_mut()?.over_at.get_or_insert(at);
            }
            What::Lost { why } => {
                let visit = log.visits.last_mut()?;
                visit.over_at.get_or_insert(at);
                visit.end = End::Lost { at, why };
            }
            What::Released => {
                // A guard that was lost is dropped without a word.
                log.visits.last_mut()?.end = End::Released { at };
            }
            What::Counted { read } => {
                log.visits.last_mut()?.counted = Some(read);
                self.counted += 1;
            }
            What::Write => return self.write(client, now),
            What::Unconfirmed { failures } => log.unconfirmed.push(failures),
            What::Nodes { lost } => log.lost_nodes.push((at, lost)),
            What::Failed { error } => self.troubles.push(format!("client {client} failed: {error}")),
        }
        None
    }

    fn write(&mut self, client: usize, now: u64) -> Option<Answer> {
        let visit = self.clients[client].visits.last()?;
        let (resource, fencing_token) = (visit.resource, visit.fencing_token);
        let lease = if now < visit.deadline { Lease::Valid } else { Lease::Over };
        let answer = self.store.write(resource, fencing_token);
        self.writes.push(Written { client, resource, fencing_token, at: now, answer, lease });
        Some(answer)
    }

    /// The process of a client has ended.
    pub(crate) fn handle_end(&mut self, client: usize, now: u64) {
        let log = &mut self.clients[client];
        if let Some(Wanted { resource, since, asked_at }) = log.wanted.take() {
            let outcome = Outcome::CutShort;
            let (wanted_at, from, failures) = (since, asked_at, Vec::new());
            log.waits.push(Wait { resource, wanted_at, from, until: now, outcome, failures });
        }
    }

    pub(crate) fn handle_kill(&mut self, client: usize, now: u64) {
        if let Some(life) = self.clients[client].lives.last_mut() {
            life.killed_at.get_or_insert(now);
        }
    }

    /// A fault has taken effect; answers its number.
    pub(crate) fn handle_hit(&mut self, planned: &Planned, at: u64, now: u64) -> usize {
        let Planned { act, name, origin, .. } = planned.clone();
        self.hits.push(Hit { act, name, origin, at, applied_at: now, healed_at: None });
        self.hits.len() - 1
    }

    pub(crate) fn handle_healed(&mut self, hit: usize, now: u64) {
        if let Some(hit) = self.hits.get_mut(hit) {
            hit.healed_at = Some(now);
        }
    }

    /// The operator's name for a node.
    pub(crate) fn node_name(&self, node: usize) -> String {
        self.nodes.get(node).cloned().unwrap_or_else(|| format!("node {node}"))
    }

    /// The same behind the word "node".
    pub(crate) fn node_label(&self, node: usize) -> String {
        self.node_name(node).trim_start_matches("node ").to_owned()
    }

    pub(crate) fn are_all_ready(&self) -> bool {
        self.clients.iter().all(|client| !client.lives.is_empty())
    }

    pub(crate) fn sections(&self) -> usize {
        self.clients.iter().map(|client| client.visits.len()).sum()
    }

    /// Whether a client wants a lock, and does not have it yet.
    pub(crate) fn is_waiting(&self, client: usize) -> bool {
        self.clients[client].wanted.is_some()
    }

    /// The reason why the faults have not begun, as a part of a sentence.
    pub(crate) fn unready(&self) -> String {
        let unready = self.clients.iter().position(|client| client.lives.is_empty());
        unready
            .map_or_else(|| "nobody had a lock".to_owned(), |client| format!("client {client} was not ready"))
    }

    /// The nodes that a client has no connection to, with the reasons.
    pub(crate) fn lost_by(&self, client: usize) -> String {
        let lost = self.clients[client].lost_nodes.last().map_or(&[][..], |(_, lost)| lost);
        let lost = lost.iter().map(|lost| format!("{} ({})", self.node_name(lost.node), lost.reason));
        lost.collect::<Vec<_>>().join(", ")
    }

    /// A key was there before the look began, or not later than it ended.
    pub(crate) fn handle_sight(&mut self, node: usize, key: String, value: String, began: u64) {
        let times = self.seen.entry((node, key, value)).or_insert((began, began));
        times.1 = began;
    }

    /// The nodes to which nothing is being done.
    pub(crate) fn quiet_nodes(&self, count: usize) -> Vec<usize> {
        let is_hit = |node: &usize| {
            self.hits.iter().any(|hit| {
                hit.healed_at.is_none() && matches!(&hit.act, Act::Node { node: hit, .. } if hit == node)
            })
        };
        (0..count).filter(|node| !is_hit(node)).collect()
    }

    /// Whether every client has had a lock since then, or still has one.
    pub(crate) fn have_all_won_since(&self, then: u64) -> bool {
        let has_won = |client: &ClientLog| {
            let Some(visit) = client.visits.last() else { return false };
            visit.acquired_at > then || (visit.end == End::Open && client.wanted.is_none())
        };
        self.clients.iter().all(has_won)
    }

    /// The clients that have no connection to some node.
    pub(crate) fn lonely(&self) -> Vec<usize> {
        // A node in quarantine is connected; it only has no vote.
        let is_lonely = |client: &ClientLog| {
            let lost = client.lost_nodes.last();
            lost.is_some_and(|(_, lost)| lost.iter().any(|lost| lost.reason != QUARANTINED))
        };
        self.clients.iter().enumerate().filter(|(_, log)| is_lonely(log)).map(|(client, _)| client).collect()
    }

    /// The key's value belongs to a client's process that was killed, which could not release it.
    pub(crate) fn is_of_killed(&self, value: &str) -> bool {
        self.clients.iter().enumerate().any(|(client, log)| {
            let killed = log.lives.iter().enumerate().filter(|(_, life)| life.killed_at.is_some());
            killed
                .map(|(life, _)| super::crew::owner(client, life + 1))
                .any(|owner| value.strip_prefix(owner.as_str()).is_some_and(|rest| rest.starts_with(':')))
        })
    }
}

impl Visit {
    pub(crate) fn ended_at(&self) -> Option<u64> {
        match self.end {
            End::Open => None,
            End::Released { at } | End::Lost { at, .. } => Some(at),
        }
    }

    /// Until when it was held, by the earlier of its deadline and its end.
    pub(crate) fn until(&self) -> u64 {
        self.ended_at().map_or(self.deadline, |end| end.min(self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_is_known_by_its_kind() {
        let left = std::time::Duration::ZERO;
        let cause = redlock_quorum::QuarantineCause::Promoted;
        assert_eq!(redlock_quorum::NodeFailure::Quarantined { left, cause }.kind(), QUARANTINED);
    }
}
