//! What a run proves: a pure function of what was seen.

mod availability;
mod latency;
mod leftovers;
mod promise;
#[cfg(test)]
mod tests;

use std::time::Duration;

use redlock_testing::history::{
    self, Answer as Stored, Loss, Section, Sharing, Standstill, Verdict, Violation, Waiter, Write,
};

pub(super) use self::availability::Availability;
#[cfg(test)]
use self::availability::Gap;
pub(super) use self::latency::{Latency, percentile};
pub(super) use self::promise::Promise;
use self::promise::client_hits;
use super::event::{Answer, resource_name};
use super::log::{End, Lease, Log, Outcome};

/// How late after the deadline a holder may be told of its loss: the library's timer takes milliseconds, the rest is
/// for a machine with more processes than processors.
const LOSS_BOUND: Duration = Duration::from_secs(1);

/// Everything that is said about a run.
#[derive(Debug)]
pub(super) struct Judgement {
    /// Each thing that is wrong, as a sentence without a full stop; none when the run was clean.
    pub(super) wrong: Vec<String>,
    pub(super) violations: Vec<Violation>,
    /// What a breach of the assumptions has allowed.
    pub(super) excused: Vec<Violation>,
    pub(super) counts: Counts,
    pub(super) availability: Availability,
    pub(super) latency: Latency,
    /// After each fault, and after its end, the time until somebody got a lock.
    pub(super) recoveries: Vec<Recovery>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Holds of a lock.
    pub(super) sections: usize,
    pub(super) renewals: usize,
    pub(super) losses: usize,
    /// Waits that were over before the lock was had.
    pub(super) misses: usize,
    pub(super) unconfirmed_releases: usize,
    pub(super) faults: usize,
    pub(super) writes: usize,
    /// Writes that the store refused for their fencing token.
    pub(super) stale_writes: usize,
    /// Writes that the store took although the lease was over, since nobody had written after it.
    pub(super) late_writes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) after_fault: Option<Duration>,
    pub(super) after_healing: Option<Duration>,
}

pub(super) fn judge(log: &Log, promise: &Promise) -> Judgement {
    let sections = sections(log);
    let breaches = promise.breaches(log);
    let verdict = history::check(&sections)
        .and(history::check_losses(&losses(log), &standstills(log), nanos(LOSS_BOUND)))
        .and(history::check_writes(&writes(log)))
        .and(progress(log, promise))
        .and(leftovers::check(log, promise))
        .excusing(&breaches);
    let mut wrong: Vec<String> =
        verdict.violations().iter().map(|violation| relative(violation, log.began_at)).collect();
    wrong.extend(log.troubles.iter().cloned());
    Judgement {
        wrong,
        violations: verdict.violations().to_vec(),
        excused: verdict.excused().to_vec(),
        counts: counts(log),
        availability: Availability::of(log),
        latency: Latency::of(log),
        recoveries: recoveries(log),
    }
}

impl Judgement {
    pub(super) fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Times since the run began are easier to read than times since boot.
pub(super) fn relative(violation: &Violation, began_at: u64) -> String {
    let at = |time: u64| time.saturating_sub(began_at);
    let section = |section: &Section| Section {
        requested_at: at(section.requested_at),
        acquired_at: at(section.acquired_at),
        deadline: at(section.deadline),
        ended_at: section.ended_at.map(at),
        ..section.clone()
    };
    let loss = |loss: &Loss| Loss {
        deadline: at(loss.deadline),
        told_at: at(loss.told_at),
        valid_again_at: loss.valid_again_at.map(at),
        ..loss.clone()
    };
    let violation = match violation.clone() {
        Violation::Misrecorded { section: one } => Violation::Misrecorded { section: section(&one) },
        Violation::Overlap { earlier, later } => {
            Violation::Overlap { earlier: section(&earlier), later: section(&later) }
        }
        Violation::TokenReused { first, second } => {
            Violation::TokenReused { first: section(&first), second: section(&second) }
        }
        Violation::TokenNotGrown { earlier, later, order } => {
            Violation::TokenNotGrown { earlier: section(&earlier), later: section(&later), order }
        }
        Violation::Stuck { waiter, since, bound } => {
            let Waiter { requested_at, left_at, client, resource } = waiter;
            let waiter = Waiter { client, resource, requested_at: at(requested_at), left_at: at(left_at) };
            Violation::Stuck { waiter, since: at(since), bound }
        }
        Violation::LossLate { loss: one, due, bound } => {
            Violation::LossLate { loss: loss(&one), due: at(due), bound }
        }
        Violation::Revived { loss: one } => Violation::Revived { loss: loss(&one) },
        // Without times.
        other @ (Violation::KeyLeft { .. } | Violation::StaleWrite { .. } | _) => other,
    };
    to_microseconds(&violation.to_string())
}

/// The checker writes nanoseconds. Nobody reads them, and clients are not that exact.
fn to_microseconds(text: &str) -> String {
    const NANOS: usize = 9;
    let mut short = String::new();
    let mut rest = text;
    while let Some(point) = rest.find('.') {
        let digits = rest[point + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let kept = if digits == NANOS { NANOS - 3 } else { digits };
        short.push_str(&rest[..=point + kept]);
        rest = &rest[point + 1 + digits..];
    }
    short.push_str(rest);
    short
}

fn client_name(client: usize) -> String {
    format!("client {client}")
}

/// What the clients held, as the checker takes it.
fn sections(log: &Log) -> Vec<Section> {
    let mut sections = Vec::new();
    for (client, log) in log.clients.iter().enumerate() {
        sections.extend(log.visits.iter().map(|visit| Section {
            client: client_name(client),
            resource: resource_name(visit.resource),
            sharing: Sharing::Exclusive,
            requested_at: visit.requested_at,
            acquired_at: visit.acquired_at,
            deadline: visit.deadline,
            ended_at: visit.ended_at(),
            // 0 stands for a lock without fencing.
            fencing_token: Some(visit.fencing_token).filter(|token| *token > 0),
        }));
    }
    sections
}

/// The losses, and the releases of leases that were over.
fn losses(log: &Log) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (client, log) in log.clients.iter().enumerate() {
        for visit in &log.visits {
            let told_at = match (visit.valid_again_at, &visit.end) {
                // The guard itself has said that it was over.
                (Some(again), _) => visit.over_at.unwrap_or(again),
                (None, End::Open) => continue,
                (None, End::Released { at }) if *at <= visit.deadline => continue,
                (None, End::Released { at } | End::Lost { at, .. }) => *at,
            };
            losses.push(Loss {
                client: client_name(client),
                resource: resource_name(visit.resource),
                deadline: visit.deadline,
                told_at,
                valid_again_at: visit.valid_again_at,
            });
        }
    }
    losses
}

fn standstills(log: &Log) -> Vec<Standstill> {
    client_hits(log)
        .map(|(client, hit)| Standstill {
            client: client_name(client),
            from: hit.at,
            until: hit.healed_at.unwrap_or(log.ended_at),
        })
        .collect()
}

fn writes(log: &Log) -> Vec<Write> {
    let writes = log.writes.iter().map(|write| Write {
        client: client_name(write.client),
        resource: resource_name(write.resource),
        fencing_token: write.fencing_token,
        at: write.at,
        answer: match write.answer {
            Answer::Accepted => Stored::Accepted,
            Answer::Stale => Stored::Refused,
        },
    });
    writes.collect()
}

/// In each stretch of time in which a client could reach a quorum, somebody has to win what it waits for.
fn progress(log: &Log, promise: &Promise) -> Verdict {
    let all = sections(log);
    let mut verdict = history::check(&[]);
    for (client, client_log) in log.clients.iter().enumerate() {
        // A wait in vain goes on with the next one, until the last.
        let cut_short = client_log.waits.iter().filter(|wait| wait.outcome == Outcome::CutShort);
        let in_vain = cut_short.map(|wait| Waiter {
            client: client_name(client),
            resource: resource_name(wait.resource),
            requested_at: wait.wanted_at,
            left_at: wait.until,
        });
        let won = client_log.visits.iter().map(|visit| Waiter {
            client: client_name(client),
            resource: resource_name(visit.resource),
            requested_at: visit.wanted_at,
            left_at: visit.acquired_at,
        });
        let is_long = |waiter: &Waiter| waiter.left_at - waiter.requested_at > nanos(promise.bound);
        let waiters: Vec<Waiter> = in_vain.chain(won).filter(is_long).collect();
        if waiters.is_empty() {
            continue;
        }
        for well in promise.well(log, client) {
            let found = history::check_progress_of(&waiters, &all, well, nanos(promise.bound));
            verdict = verdict.and(found);
        }
    }
    verdict
}

fn counts(log: &Log) -> Counts {
    let visits = || log.clients.iter().flat_map(|client| &client.visits);
    let answered = |answer: Answer| log.writes.iter().filter(move |write| write.answer == answer);
    Counts {
        sections: visits().count(),
        renewals: visits().map(|visit| visit.renewals).sum(),
        losses: visits().filter(|visit| matches!(visit.end, End::Lost { .. })).count(),
        misses: log
            .clients
            .iter()
            .flat_map(|client| &client.waits)
            .filter(|wait| wait.outcome != Outcome::CutShort)
            .count(),
        unconfirmed_releases: log.clients.iter().map(|client| client.unconfirmed).sum(),
        faults: log.hits.len(),
        writes: answered(Answer::Accepted).count(),
        stale_writes: answered(Answer::Stale).count(),
        late_writes: answered(Answer::Accepted).filter(|write| write.lease == Lease::Over).count(),
    }
}

fn recoveries(log: &Log) -> Vec<Recovery> {
    let mut grants: Vec<u64> =
        log.clients.iter().flat_map(|client| &client.visits).map(|visit| visit.acquired_at).collect();
    grants.sort_unstable();
    let after = |time: u64| {
        let next = grants.get(grants.partition_point(|at| *at <= time))?;
        Some(Duration::from_nanos(next - time))
    };
    let recovery = |hit: &super::log::Hit| Recovery {
        after_fault: after(hit.applied_at),
        after_healing: hit.healed_at.and_then(after),
    };
    log.hits.iter().map(recovery).collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
