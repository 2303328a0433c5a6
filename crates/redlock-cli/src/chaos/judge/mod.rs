//! The verdict on a run: a pure function of its log.

mod availability;
mod denied;
mod latency;
mod leftovers;
mod promise;
mod tested;
#[cfg(test)]
mod tests;

use std::time::Duration;

use redlock_testing::history::{
    self, Answer as Stored, LossNotice, Section, Standstill, Verdict, Violation, Waiter, Write,
};

pub(crate) use self::availability::Availability;
#[cfg(test)]
use self::availability::Gap;
pub(crate) use self::denied::Denied;
pub(crate) use self::latency::{Latency, percentile};
pub(crate) use self::promise::Promise;
use self::promise::client_hits;
pub(crate) use self::tested::Expected;
use super::event::{Answer, Sharing, resource_name};
use super::log::{ClientLog, End, Lease, Log, Outcome, Visit};

/// How late after the deadline a loss may be announced. The library's timer takes milliseconds; the rest allows for a
/// machine with more processes than processors.
const LOSS_BOUND: Duration = Duration::from_secs(1);

/// The complete verdict on a run.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Each failure as a sentence without a full stop; empty when the run was clean.
    pub(crate) wrong: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    /// Violations that are excused, because a fault broke an assumption.
    pub(crate) excused: Vec<Violation>,
    /// Each planned part of the run that did not take place, as a sentence without a full stop.
    pub(crate) untested: Vec<String>,
    /// The clients that could not acquire a lock, the longest wait first.
    pub(crate) denied: Vec<Denied>,
    pub(crate) counts: Counts,
    pub(crate) availability: Availability,
    pub(crate) latency: Latency,
    /// For each fault: the time until the next acquired lock, after its start and after its end.
    pub(crate) recoveries: Vec<Recovery>,
}

/// The result of the judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Everything was tested, and nothing was wrong.
    Clean,
    /// Nothing was wrong, but not everything was tested.
    Inconclusive,
    Violated,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Number of holds.
    pub(crate) sections: usize,
    pub(crate) renewals: usize,
    pub(crate) losses: usize,
    /// Waits that ended without the lock.
    pub(crate) misses: usize,
    pub(crate) unconfirmed_releases: usize,
    pub(crate) faults: usize,
    pub(crate) writes: usize,
    /// Writes that the store refused because of their fencing token.
    pub(crate) stale_writes: usize,
    /// Writes that the store accepted although the lease was over, because no later holder had written yet.
    pub(crate) late_writes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovery {
    pub(crate) after_fault: Option<Duration>,
    pub(crate) after_healing: Option<Duration>,
}

pub(crate) fn judge(log: &Log, promise: &Promise, expected: &Expected) -> Judgement {
    let sections = sections(log);
    let breaches = promise.breaches(log);
    let verdict = history::check(&sections)
        .and(check_slots(log))
        .and(history::check_losses(&losses(log), &standstills(log), nanos(LOSS_BOUND)))
        .and(history::check_writes(&writes(log)))
        .and(progress(log, promise))
        .and(leftovers::check(log, promise))
        .excusing(&breaches);
    let mut wrong: Vec<String> =
        verdict.violations().iter().map(|violation| relative(violation, log.began_at)).collect();
    wrong.extend(elders(log));
    wrong.extend(log.troubles.iter().cloned());
    let availability = Availability::of(log);
    Judgement {
        wrong,
        violations: verdict.violations().to_vec(),
        excused: verdict.excused().to_vec(),
        counts: counts(log),
        untested: tested::untested(log, expected),
        denied: denied::of(log, &availability.gaps),
        availability,
        latency: Latency::of(log),
        recoveries: recoveries(log),
    }
}

impl Judgement {
    pub(crate) fn finding(&self) -> Finding {
        match (self.wrong.is_empty(), self.untested.is_empty()) {
            (false, _) => Finding::Violated,
            (true, false) => Finding::Inconclusive,
            (true, true) => Finding::Clean,
        }
    }
}

/// Replaces times since boot by times since the run began, which are easier to read.
pub(crate) fn relative(violation: &Violation, began_at: u64) -> String {
    let at = |time: u64| time.saturating_sub(began_at);
    let section = |section: &Section| Section {
        requested_at: at(section.requested_at),
        acquired_at: at(section.acquired_at),
        deadline: at(section.deadline),
        ended_at: section.ended_at.map(at),
        ..section.clone()
    };
    let loss = |loss: &LossNotice| LossNotice {
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
        Violation::TooMany { permits, holders, later } => {
            let holders = holders.iter().map(section).collect();
            Violation::TooMany { permits, holders, later: section(&later) }
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
        // Violations without times.
        other @ (Violation::KeyLeft { .. } | Violation::StaleWrite { .. } | _) => other,
    };
    to_microseconds(&violation.to_string())
}

/// Shortens the checker's nanoseconds to microseconds. Clients are not more exact than that.
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

/// The clients' holds in the checker's format.
fn sections(log: &Log) -> Vec<Section> {
    visits(log).map(|(client, visit)| section(client, visit)).collect()
}

fn visits(log: &Log) -> impl Iterator<Item = (usize, &Visit)> {
    log.clients
        .iter()
        .enumerate()
        .flat_map(|(client, log)| log.visits.iter().map(move |visit| (client, visit)))
}

fn section(client: usize, visit: &Visit) -> Section {
    Section {
        client: client_name(client),
        resource: resource_name(visit.resource),
        sharing: visit.sharing.into(),
        requested_at: visit.requested_at,
        acquired_at: visit.acquired_at,
        deadline: visit.deadline,
        ended_at: visit.ended_at(),
        // 0 stands for a lock without fencing.
        fencing_token: Some(visit.fencing_token).filter(|token| *token > 0),
    }
}

/// Checks that each slot had one holder at a time, and that there were never more holders than slots.
fn check_slots(log: &Log) -> Verdict {
    let (mut all, mut each, mut count) = (Vec::new(), Vec::new(), 0);
    for (client, visit) in visits(log) {
        if let (Sharing::Slots(slots), Some(slot)) = (visit.sharing, visit.slot) {
            count = slots;
            let section = section(client, visit);
            let resource = format!("slot {slot} of {}", section.resource);
            let sharing = history::Sharing::Exclusive;
            each.push(Section { resource, sharing, fencing_token: None, ..section.clone() });
            all.push(section);
        }
    }
    history::check(&each).and(history::check_permits(&all, count))
}

/// The leaders that a client saw after leaders with a higher term, a sentence each.
fn elders(log: &Log) -> impl Iterator<Item = String> {
    let pairs =
        |log: &'_ ClientLog| log.leaders.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
    log.clients.iter().enumerate().flat_map(move |(client, seen)| {
        let back = pairs(seen)
            .into_iter()
            .filter(|((life, _, before), (next, _, term))| life == next && term < before);
        back.map(move |((_, _, before), (_, at, term))| {
            let at = Duration::from_nanos(at.saturating_sub(log.began_at)).as_secs_f64();
            format!("client {client} saw at {at:.3} s a leader in term {term} after one in term {before}")
        })
    })
}

/// The announced losses, and the releases of leases that were over.
fn losses(log: &Log) -> Vec<LossNotice> {
    let mut losses = Vec::new();
    for (client, log) in log.clients.iter().enumerate() {
        for visit in &log.visits {
            let told_at = match (visit.valid_again_at, &visit.end) {
                // The guard had reported the end of the lease before the lease was valid again.
                (Some(again), _) => visit.over_at.unwrap_or(again),
                (None, End::Open) => continue,
                (None, End::Released { at }) if *at <= visit.deadline => continue,
                (None, End::Released { at } | End::Lost { at, .. }) => *at,
            };
            losses.push(LossNotice {
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

/// Checks that in each period in which a client could reach a quorum, some client acquires the lock that it waits for.
fn progress(log: &Log, promise: &Promise) -> Verdict {
    let all = sections(log);
    let mut verdict = history::check(&[]);
    if !log.cut_short.is_empty() {
        // Nobody knows whether a quorum could be reached.
        return verdict;
    }
    for (client, client_log) in log.clients.iter().enumerate() {
        // A client asks again after a failed wait, so that its successive waits count as one.
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
    let visits = || log.clients.iter().flat_map(|client| &client.visits).filter(|visit| visit.place == 0);
    let answered = |answer: Answer| log.writes.iter().filter(move |write| write.answer == answer);
    Counts {
        sections: visits().count(),
        renewals: visits().map(|visit| visit.renewals).sum(),
        losses: visits().filter(|visit| matches!(visit.end, End::Lost { .. })).count(),
        misses: log
            .clients
            .iter()
            .flat_map(|client| &client.waits)
            .filter(|wait| wait.place == 0 && wait.outcome != Outcome::CutShort)
            .count(),
        unconfirmed_releases: log.clients.iter().map(|client| client.unconfirmed.len()).sum(),
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
