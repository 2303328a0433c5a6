//! report.json. docs/chaos.md describes its fields. Times are seconds since all clients were ready.

use redlock_testing::history::Violation;
use serde_json::{Map, Value, json};

use super::Facts;
use crate::chaos::arena::{describe, victim};
use crate::chaos::event::resource_name;
use crate::chaos::judge::{Counts, Finding, relative};
use crate::chaos::plan::Act;

/// Raised when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

pub(super) fn of(facts: Facts<'_>) -> Value {
    let Facts { run, log, judgement } = facts;
    let Counts {
        sections,
        renewals,
        losses,
        misses,
        unconfirmed_releases,
        faults,
        writes,
        stale_writes,
        late_writes,
    } = judgement.counts;
    let availability = &judgement.availability;
    let gaps = availability.gaps.iter().map(|gap| {
        json!({
            "resource": resource_name(gap.resource),
            "from": round(facts.seconds(gap.from)),
            "until": round(facts.seconds(gap.until)),
        })
    });
    let denied = judgement.denied.iter().map(|denied| {
        json!({
            "client": denied.client,
            "resource": resource_name(denied.resource),
            "from": round(facts.seconds(denied.from)),
            "until": round(facts.seconds(denied.until)),
            "why": denied.why,
        })
    });
    json!({
        "schema": SCHEMA,
        "verdict": match judgement.finding() {
            Finding::Clean => "clean",
            Finding::Inconclusive => "inconclusive",
            Finding::Violated => "violated",
        },
        "untested": judgement.untested,
        "wrong": judgement.wrong,
        "violations": violations(facts, &judgement.violations),
        "excused": violations(facts, &judgement.excused),
        "scenario": run.scenario.name,
        "about": run.scenario.about,
        "without": run.scenario.without,
        "seed": run.seed,
        "command": run.command(),
        "version": env!("CARGO_PKG_VERSION"),
        "nodes": run.node_names(),
        "clients": log.clients.len(),
        "seconds": round(facts.seconds(log.ended_at)),
        "settings": run.settings_shown().into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
        "promise": {
            "quorum": run.promise.quorum,
            "ttl": run.promise.ttl.as_secs_f64(),
            "drift": run.promise.drift.as_secs_f64(),
            "progress_within": run.promise.bound.as_secs_f64(),
        },
        "counts": {
            "sections": sections,
            "renewals": renewals,
            "losses": losses,
            "misses": misses,
            "unconfirmed_releases": unconfirmed_releases,
            "faults": faults,
            "writes": writes,
            "stale_writes": stale_writes,
            "late_writes": late_writes,
        },
        "availability": {
            "share": availability.share,
            "longest_gap": round(availability.longest_gap().as_secs_f64()),
            "gaps": gaps.collect::<Vec<_>>(),
            "denied": denied.collect::<Vec<_>>(),
        },
        "latency": {
            "p50": judgement.latency.percentile(50).as_secs_f64(),
            "p90": judgement.latency.percentile(90).as_secs_f64(),
            "p99": judgement.latency.percentile(99).as_secs_f64(),
            "max": judgement.latency.percentile(100).as_secs_f64(),
        },
        "faults": faults_of(facts),
    })
}

fn violations(facts: Facts<'_>, violations: &[Violation]) -> Vec<Value> {
    let value = |violation: &Violation| json!({ "kind": kind(violation), "text": relative(violation, facts.log.began_at) });
    violations.iter().map(value).collect()
}

/// The kind of a violation, as one word for programs.
fn kind(violation: &Violation) -> &'static str {
    match violation {
        Violation::Misrecorded { .. } => "misrecorded",
        Violation::Overlap { .. } => "overlap",
        Violation::TooMany { .. } => "too_many",
        Violation::TokenReused { .. } => "token_reused",
        Violation::TokenNotGrown { .. } => "token_not_grown",
        Violation::Stuck { .. } => "stuck",
        Violation::KeyLeft { .. } => "key_left",
        Violation::LossLate { .. } => "loss_late",
        Violation::Revived { .. } => "revived",
        Violation::StaleWrite { .. } => "stale_write",
        // The enum may grow.
        _ => "other",
    }
}

fn faults_of(facts: Facts<'_>) -> Vec<Value> {
    let Facts { run, log, judgement } = facts;
    let hits = log.hits.iter().zip(&judgement.recoveries);
    hits.map(|(hit, recovery)| {
        let (node, client, breaks) = match &hit.act {
            Act::Node { node, nemesis } => {
                (Some(*node), None, run.promise.broken_by(nemesis).map(|assumption| assumption.to_string()))
            }
            Act::Client { client, .. } => (None, Some(*client), None),
        };
        json!({
            "what": describe(log, &hit.act, hit.name),
            "nemesis": hit.name,
            "name": victim(log, &hit.act),
            "node": node,
            "client": client,
            "at": round(facts.seconds(hit.at)),
            "applied_at": round(facts.seconds(hit.applied_at)),
            "healed_at": hit.healed_at.map(|at| round(facts.seconds(at))),
            "breaks": breaks,
            "next_lock_after": recovery.after_fault.map(|time| round(time.as_secs_f64())),
            "next_lock_after_healing": recovery.after_healing.map(|time| round(time.as_secs_f64())),
        })
    })
    .collect()
}

/// Rounds to microseconds. Further digits would be noise.
fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
