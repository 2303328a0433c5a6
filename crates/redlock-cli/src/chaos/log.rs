//! The log of a run: everything that is shown, judged and drawn is derived from it. All times are nanoseconds of the
//! machine's clock.

mod visit;

use std::collections::BTreeMap;

use redlock_testing::history::LeftKey;

pub(crate) use self::visit::{End, Outcome, Visit, Wait};
use super::event::{Answer, Event, Sharing, What};
use super::plan::{Act, Origin, Planned};
use super::store::Store;
use crate::lost::Lost;

/// `NodeFailure::kind` of a node that is connected but whose vote does not count yet.
pub(crate) const QUARANTINED: &str = "in quarantine";

/// The log of one run.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// When the first client was started.
    pub(crate) started_at: u64,
    /// When all clients were ready and a lock had been acquired; the faults count from here. If that never happened,
    /// when the run gave up.
    pub(crate) began_at: u64,
    /// When the last fault was healed.
    pub(crate) healed_at: u64,
    /// When the clients were asked to finish.
    pub(crate) ended_at: u64,
    /// The operator's names for the nodes.
    pub(crate) nodes: Vec<String>,
    pub(crate) clients: Vec<ClientLog>,
    pub(crate) hits: Vec<Hit>,
    /// How often the shared number was incremented.
    pub(crate) counted: usize,
    pub(crate) writes: Vec<Written>,
    pub(crate) left: Vec<LeftKey>,
    /// When each value was first and last observed on a node, by node, key and value.
    pub(crate) seen: BTreeMap<(usize, String, String), (u64, u64)>,
    /// Other failures, as sentences without a full stop.
    pub(crate) troubles: Vec<String>,
    /// Why the faults never began, as sentences without a full stop.
    pub(crate) cut_short: Vec<String>,
    store: Store,
}

/// An applied fault.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) act: Act,
    /// The scenario's word for the fault.
    pub(crate) name: &'static str,
    pub(crate) origin: Origin,
    /// When its application began.
    pub(crate) at: u64,
    /// When the fault had taken effect.
    pub(crate) applied_at: u64,
    /// When the fault was healed; for a momentary fault, when it had taken effect.
    pub(crate) healed_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct ClientLog {
    pub(crate) lives: Vec<Life>,
    pub(crate) visits: Vec<Visit>,
    pub(crate) waits: Vec<Wait>,
    /// The nodes without a connection, after each change.
    pub(crate) lost_nodes: Vec<(u64, Vec<Lost>)>,
    /// The terms of the leaders that each life of the client has seen, with the times.
    pub(crate) leaders: Vec<(usize, u64, u64)>,
    /// Releases that were not confirmed in time: the nodes that did not answer, with the reasons.
    pub(crate) unconfirmed: Vec<Vec<Lost>>,
    /// The lock that the client wants, since when, and the time of its last call.
    wanted: Option<Wanted>,
    /// How many of the last visits belong to the last lock, which may be one of several resources.
    together: usize,
}

#[derive(Debug, Clone)]
struct Wanted {
    resources: Vec<usize>,
    sharing: Sharing,
    since: u64,
    asked_at: u64,
}

/// One process of a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Life {
    /// When the process was killed; `None` while it lives, and if it ended in order.
    pub(crate) killed_at: Option<u64>,
}

/// A write, with the store's decision.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) client: usize,
    pub(crate) resource: usize,
    pub(crate) fencing_token: u64,
    pub(crate) at: u64,
    pub(crate) answer: Answer,
    /// Whether the lease was valid at the write, by its last known deadline.
    pub(crate) lease: Lease,
}

/// The state of a lease at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    Valid,
    Over,
}

impl Log {
    pub(crate) fn new(clients: usize, nodes: Vec<String>) -> Self {
        Self { clients: (0..clients).map(|_| ClientLog::default()).collect(), nodes, ..Self::default() }
    }

    /// Records a client's event, received at `now`. Returns the store's answer if the event is a write.
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
            What::Attempt { resources, sharing } => {
                let since = log.wanted.as_ref().map_or(at, |wanted| wanted.since);
                log.wanted = Some(Wanted { resources, sharing, since, asked_at: at });
            }
            What::Acquired { deadline, fencing_token, token, slot } => {
                let Wanted { resources, sharing, since, asked_at } = log.wanted.take()?;
                log.together = resources.len();
                log.visits.extend(resources.into_iter().enumerate().map(|(place, resource)| Visit {
                    life,
                    resource,
                    place,
                    sharing,
                    slot,
                    wanted_at: since,
                    requested_at: asked_at,
                    acquired_at: at,
                    deadline,
                    renewals: 0,
                    fencing_token,
                    token: token.clone(),
                    end: End::Open,
                    counted: None,
                    over_at: None,
                    valid_again_at: None,
                }));
            }
            What::Renewed { deadline } => {
                for visit in log.last_visits() {
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
            }
            What::Missed { why, failures } => {
                let wanted = log.wanted.clone()?;
                log.waits.extend(wanted.waits(at, Outcome::Missed(why), &failures));
            }
            What::Over => {
                for visit in log.last_visits() {
                    visit.over_at.get_or_insert(at);
                }
            }
            What::Lost { why } => {
                for visit in log.last_visits() {
                    visit.over_at.get_or_insert(at);
                    visit.end = End::Lost { at, why: why.clone() };
                }
            }
            What::Released => {
                // A guard that has announced its loss reports nothing when it is dropped.
                for visit in log.last_visits() {
                    visit.end = End::Released { at };
                }
            }
            What::Counted { read } => {
                log.visits.last_mut()?.counted = Some(read);
                self.counted += 1;
            }
            What::Write => return self.write(client, now),
            What::Unconfirmed { failures } => log.unconfirmed.push(failures),
            What::Leader { term } => log.leaders.extend(term.map(|term| (life, at, term))),
            What::Nodes { lost } => log.lost_nodes.push((at, lost)),
            What::Failed { error } => self.troubles.push(format!("client {client} failed: {error}")),
        }
        None
    }

    /// One write to each resource of the client's lock. The answer is the worst of them.
    fn write(&mut self, client: usize, now: u64) -> Option<Answer> {
        let mut worst = None;
        for visit in self.clients[client].last_visits() {
            let (resource, fencing_token) = (visit.resource, visit.fencing_token);
            let lease = if now < visit.deadline { Lease::Valid } else { Lease::Over };
            let answer = self.store.write(resource, fencing_token);
            self.writes.push(Written { client, resource, fencing_token, at: now, answer, lease });
            worst = worst.max(Some(answer));
        }
        worst
    }

    /// Records that a client's process has ended.
    pub(crate) fn handle_end(&mut self, client: usize, now: u64) {
        let log = &mut self.clients[client];
        if let Some(wanted) = log.wanted.take() {
            log.waits.extend(wanted.waits(now, Outcome::CutShort, &[]));
        }
    }

    pub(crate) fn handle_kill(&mut self, client: usize, now: u64) {
        if let Some(life) = self.clients[client].lives.last_mut() {
            life.killed_at.get_or_insert(now);
        }
    }

    /// Records that a fault has taken effect, and returns its number.
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

    /// The node's name without the word "node" in front.
    pub(crate) fn node_label(&self, node: usize) -> String {
        self.node_name(node).trim_start_matches("node ").to_owned()
    }

    pub(crate) fn are_all_ready(&self) -> bool {
        self.clients.iter().all(|client| !client.lives.is_empty())
    }

    pub(crate) fn sections(&self) -> usize {
        let locks = |client: &ClientLog| client.visits.iter().filter(|visit| visit.place == 0).count();
        self.clients.iter().map(locks).sum()
    }

    /// Whether a client wants a lock and has not acquired it yet.
    pub(crate) fn is_waiting(&self, client: usize) -> bool {
        self.clients[client].wanted.is_some()
    }

    /// Why the faults have not begun, as a part of a sentence.
    pub(crate) fn unready(&self) -> String {
        let unready = self.clients.iter().position(|client| client.lives.is_empty());
        unready
            .map_or_else(|| "nobody had a lock".to_owned(), |client| format!("client {client} was not ready"))
    }

    /// The nodes to which a client has no connection, with the reasons.
    pub(crate) fn lost_by(&self, client: usize) -> String {
        let lost = self.clients[client].lost_nodes.last().map_or(&[][..], |(_, lost)| lost);
        let lost = lost.iter().map(|lost| format!("{} ({})", self.node_name(lost.node), lost.reason));
        lost.collect::<Vec<_>>().join(", ")
    }

    /// Records that a key was observed at some moment after `began`, which counts as the time of the observation.
    pub(crate) fn handle_sight(&mut self, node: usize, key: String, value: String, began: u64) {
        let times = self.seen.entry((node, key, value)).or_insert((began, began));
        times.1 = began;
    }

    /// The nodes without a fault at present.
    pub(crate) fn quiet_nodes(&self, count: usize) -> Vec<usize> {
        let is_hit = |node: &usize| {
            self.hits.iter().any(|hit| {
                hit.healed_at.is_none() && matches!(&hit.act, Act::Node { node: hit, .. } if hit == node)
            })
        };
        (0..count).filter(|node| !is_hit(node)).collect()
    }

    /// Whether every client has acquired a lock since then, or still holds one.
    pub(crate) fn have_all_won_since(&self, then: u64) -> bool {
        let has_won = |client: &ClientLog| {
            let Some(visit) = client.visits.last() else { return false };
            visit.acquired_at > then || (visit.end == End::Open && client.wanted.is_none())
        };
        self.clients.iter().all(has_won)
    }

    /// The clients without a connection to some node.
    pub(crate) fn lonely(&self) -> Vec<usize> {
        // A node in quarantine is connected; only its vote does not count.
        let is_lonely = |client: &ClientLog| {
            let lost = client.lost_nodes.last();
            lost.is_some_and(|(_, lost)| lost.iter().any(|lost| lost.reason != QUARANTINED))
        };
        self.clients.iter().enumerate().filter(|(_, log)| is_lonely(log)).map(|(client, _)| client).collect()
    }

    /// Whether a value belongs to a client's process that was killed and could not release the key.
    pub(crate) fn is_of_killed(&self, value: &str) -> bool {
        self.clients.iter().enumerate().any(|(client, log)| {
            let killed = log.lives.iter().enumerate().filter(|(_, life)| life.killed_at.is_some());
            killed
                .map(|(life, _)| super::crew::owner(client, life + 1))
                .any(|owner| value.strip_prefix(owner.as_str()).is_some_and(|rest| rest.starts_with(':')))
        })
    }
}

impl ClientLog {
    /// The visits of the client's last lock.
    fn last_visits(&mut self) -> &mut [Visit] {
        let first = self.visits.len() - self.together;
        &mut self.visits[first..]
    }
}

impl Wanted {
    /// The call that began last and ended without the lock.
    fn waits(self, until: u64, outcome: Outcome, failures: &[Lost]) -> impl Iterator<Item = Wait> {
        let Self { resources, since, asked_at, .. } = self;
        resources.into_iter().enumerate().map(move |(place, resource)| Wait {
            resource,
            place,
            wanted_at: since,
            from: asked_at,
            until,
            outcome,
            failures: failures.to_vec(),
        })
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
