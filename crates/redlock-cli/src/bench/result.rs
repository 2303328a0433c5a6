//! The measurements, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Keys;
use super::load::{Measured, Tally};
use crate::output::{Medium, Table, Tone, millis, short};

/// For each percentile: its name in text, its name in JSON, and the share of all values that are not above it.
const PERCENTILES: [(&str, &str, f64); 5] = [
    ("MEDIAN", "median_ms", 0.5),
    ("P90", "p90_ms", 0.9),
    ("P99", "p99_ms", 0.99),
    ("P99.9", "p99_9_ms", 0.999),
    ("MAX", "max_ms", 1.0),
];

/// The parameters of the measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) needed: usize,
    pub(super) tasks: usize,
    pub(super) keys: Keys,
}

pub(super) fn as_text(measured: &Measured, plan: Plan, medium: Medium) -> String {
    let Measured { tally, elapsed } = measured;
    let mut header = vec!["STEP"];
    header.extend(PERCENTILES.map(|(name, _, _)| name));
    let mut table = Table::new(&header);
    for (step, histogram) in [("lock", &tally.lock), ("release", &tally.release)] {
        let mut row = vec![(step.to_owned(), Tone::Plain)];
        row.extend(PERCENTILES.map(|(_, _, share)| (short(at(histogram, share)), Tone::Plain)));
        table.row(row);
    }
    let mut text = table.render(medium);
    let Plan { nodes, needed, tasks, keys } = plan;
    let whose = match (tasks, keys) {
        (1, _) => "a single task".to_owned(),
        (_, Keys::Own) => format!("{tasks} tasks with a key each"),
        (_, Keys::Same) => format!("{tasks} tasks with one key"),
    };
    let told = format!(
        "{:.0} locks a second: {} in {} by {whose}, on {nodes} nodes of which {needed} have to agree",
        per_second(measured),
        tally.lock.len(),
        short(*elapsed)
    );
    let _ = writeln!(text, "\n{}", medium.fill("", &told));
    let failed: Vec<_> = failures(tally)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {}", what.replace('_', " ")))
        .collect();
    if !failed.is_empty() {
        let _ = writeln!(text, "{}", medium.paragraph("failed", Tone::Bad, &failed.join(", ")));
    }
    text
}

pub(super) fn as_json(measured: &Measured, plan: Plan) -> Value {
    let Measured { tally, elapsed } = measured;
    let Plan { nodes, needed, tasks, keys } = plan;
    let keys = match keys {
        Keys::Own => "own",
        Keys::Same => "same",
    };
    let failures: serde_json::Map<_, _> =
        failures(tally).into_iter().map(|(what, count)| (what.to_owned(), count.into())).collect();
    json!({
        "quorum": { "nodes": nodes, "needed": needed },
        "tasks": tasks,
        "keys": keys,
        "elapsed_ms": millis(*elapsed),
        "locks": tally.lock.len(),
        "locks_per_second": per_second(measured),
        "lock": percentiles(&tally.lock),
        "release": percentiles(&tally.release),
        "failures": failures,
    })
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let values = PERCENTILES.map(|(_, name, share)| (name.to_owned(), millis(at(histogram, share)).into()));
    values.into_iter().collect::<serde_json::Map<_, _>>().into()
}

fn at(histogram: &Histogram<u64>, share: f64) -> Duration {
    Duration::from_nanos(histogram.value_at_quantile(share))
}

fn failures(tally: &Tally) -> [(&'static str, u64); 5] {
    let Tally { lock: _, release: _, contended, no_quorum, too_late, other, unreleased } = tally;
    [
        ("contended", *contended),
        ("no_quorum", *no_quorum),
        ("too_late", *too_late),
        ("other", *other),
        ("releases_unconfirmed", *unreleased),
    ]
}

fn per_second(measured: &Measured) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number to look at")]
    let locks = measured.tally.lock.len() as f64;
    locks / measured.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}
