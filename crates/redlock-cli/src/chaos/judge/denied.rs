//! The clients that could not acquire a lock, with times and reasons.

use std::time::Duration;

use super::super::event::Why;
use super::super::log::{ClientLog, Log, Outcome, Wait};
use super::availability::Gap;
use crate::lost::Lost;

/// A client that wanted a lock while no living client held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) client: usize,
    pub(crate) resource: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) why: String,
}

impl Denied {
    pub(crate) fn length(&self) -> Duration {
        Duration::from_nanos(self.until - self.from)
    }
}

/// The clients that waited in a gap, and those that never acquired a lock; the longest wait first.
pub(super) fn of(log: &Log, gaps: &[Gap]) -> Vec<Denied> {
    let mut denied = Vec::new();
    for (client, seen) in log.clients.iter().enumerate() {
        denied.extend(gaps.iter().filter_map(|gap| denied_in(log, client, seen, gap)));
        if seen.visits.is_empty()
            && let (Some(first), Some(last)) = (seen.waits.first(), seen.waits.last())
            && !denied.iter().any(|denied| denied.client == client)
        {
            let (from, until) = (first.wanted_at, last.until.max(first.wanted_at));
            let why =
                reason(log, seen.waits.iter()).unwrap_or_else(|| "its only wait was cut short".to_owned());
            denied.push(Denied { client, resource: first.resource, from, until, why });
        }
    }
    denied.sort_by_key(|denied| (std::cmp::Reverse(denied.length()), denied.from, denied.client));
    denied
}

fn denied_in(log: &Log, client: usize, seen: &ClientLog, gap: &Gap) -> Option<Denied> {
    let meets = |resource: usize, from: u64, until: u64| {
        resource == gap.resource && from < gap.until && gap.from < until
    };
    let waits: Vec<&Wait> =
        seen.waits.iter().filter(|wait| meets(wait.resource, wait.from, wait.until)).collect();
    let won = seen.visits.iter().filter(|visit| meets(visit.resource, visit.requested_at, visit.acquired_at));
    let wanted = won.map(|visit| (visit.requested_at, visit.acquired_at));
    let wanted = wanted.chain(waits.iter().map(|wait| (wait.from, wait.until)));
    let (from, until) = wanted.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))?;
    let why = reason(log, waits.iter().copied()).or_else(|| killed_holder(log, gap));
    Some(Denied {
        client,
        resource: gap.resource,
        from: from.max(gap.from),
        until: until.min(gap.until),
        why: why.unwrap_or_else(|| "its wait went on".to_owned()),
    })
}

/// The reason of the last failed wait.
fn reason<'w>(log: &Log, waits: impl DoubleEndedIterator<Item = &'w Wait>) -> Option<String> {
    waits.rev().find_map(|wait| match wait.outcome {
        Outcome::CutShort => None,
        Outcome::Missed(why) => Some(match (words(why), nodes(log, &wait.failures)) {
            (why, nodes) if nodes.is_empty() => why.to_owned(),
            (why, nodes) => format!("{why}: {nodes}"),
        }),
    })
}

fn words(why: Why) -> &'static str {
    match why {
        Why::Contended => "another client's key was there",
        Why::NoQuorum => "no quorum",
        Why::TooLate => "it was granted too late",
        Why::NoToken => "the nodes granted no fencing token",
        Why::Other => "the wait ran out",
    }
}

fn nodes(log: &Log, failures: &[Lost]) -> String {
    let failures: Vec<String> =
        failures.iter().map(|lost| format!("{} {}", log.node_name(lost.node), lost.reason)).collect();
    failures.join(", ")
}

/// A killed client's key stays for a TTL.
fn killed_holder(log: &Log, gap: &Gap) -> Option<String> {
    let killed = log.clients.iter().enumerate().find(|(_, client)| {
        client.visits.iter().any(|visit| {
            let killed_at = client.lives.get(visit.life - 1).and_then(|life| life.killed_at);
            visit.resource == gap.resource
                && killed_at
                    .is_some_and(|at| visit.acquired_at <= at && at < visit.until() && at <= gap.until)
                && visit.until() >= gap.from
        })
    });
    killed.map(|(client, _)| format!("client {client} was killed while it held it"))
}
