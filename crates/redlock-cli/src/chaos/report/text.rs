//! The verdict for a terminal.

use std::fmt::Write as _;

use super::Facts;
use crate::chaos::event::resource_name;
use crate::chaos::judge::{Counts, Denied, Finding, relative};

/// The number of failures that are shown; report.json has all.
const SHOWN: usize = 10;
/// The number of clients without a lock that are shown; report.json has all.
const DENIED_SHOWN: usize = 3;

pub(super) fn of(facts: Facts<'_>) -> String {
    let Facts { run, log, judgement } = facts;
    let Counts { sections, renewals, losses, misses, faults, writes, stale_writes, late_writes, .. } =
        judgement.counts;
    let latency = &judgement.latency;
    let mut text = format!(
        "{} on {} ({}), {}, {:.1} s, seed {}\n",
        run.scenario.name,
        counted(run.node_names().len(), "node"),
        run.kind.name(),
        counted(log.clients.len(), "client"),
        facts.seconds(log.ended_at),
        run.seed,
    );
    let _ = writeln!(
        text,
        "  {sections} sections, {renewals} renewals, {losses} losses, {misses} waits in vain, {faults} faults"
    );
    let _ = writeln!(
        text,
        "  locks were available {:.2} % of the time; the longest gap was {}",
        judgement.availability.share * 100.0,
        seconds(judgement.availability.longest_gap().as_secs_f64()),
    );
    let _ = writeln!(
        text,
        "  time to get a lock: {} median, {} for 99 %, {} at most",
        seconds(latency.percentile(50).as_secs_f64()),
        seconds(latency.percentile(99).as_secs_f64()),
        seconds(latency.percentile(100).as_secs_f64()),
    );
    let _ = writeln!(
        text,
        "  the store took {writes} writes ({late_writes} of them late, but before any other's) and refused \
         {stale_writes} for their fencing token"
    );
    if !judgement.excused.is_empty() {
        let _ = writeln!(
            text,
            "  {} violations of exclusion where an assumption was broken on purpose, the first:\n    {}",
            judgement.excused.len(),
            relative(&judgement.excused[0], log.began_at)
        );
    }
    if !judgement.denied.is_empty() {
        text.push_str("  clients that could not acquire a lock:\n");
        let lines: Vec<String> =
            judgement.denied.iter().map(|one| denied(one, facts.seconds(one.from))).collect();
        list(&mut text, "   ", &lines, DENIED_SHOWN);
    }
    match judgement.finding() {
        Finding::Clean => {
            text.push_str("CLEAN: everything that the lock promises was kept\n");
            return text;
        }
        Finding::Inconclusive => {
            text.push_str("INCONCLUSIVE: nothing is wrong, but not everything was tested\n");
            list(&mut text, " ", &judgement.untested, SHOWN);
            let _ = writeln!(text, "again: {}", run.command());
            return text;
        }
        Finding::Violated => {}
    }
    let is_wrong = if judgement.wrong.len() == 1 { "thing is" } else { "things are" };
    let _ = writeln!(text, "NOT CLEAN: {} {is_wrong} wrong", judgement.wrong.len());
    list(&mut text, " ", &judgement.wrong, SHOWN);
    if !judgement.untested.is_empty() {
        text.push_str("  not tested:\n");
        list(&mut text, "   ", &judgement.untested, SHOWN);
    }
    let _ = writeln!(text, "again: {}", run.command());
    text
}

fn list(text: &mut String, indent: &str, lines: &[String], most: usize) {
    for line in lines.iter().take(most) {
        let _ = writeln!(text, "{indent} - {line}");
    }
    if lines.len() > most {
        let _ = writeln!(text, "{indent} - and {} more", lines.len() - most);
    }
}

/// The client, the lock, the time and the reason.
fn denied(denied: &Denied, from: f64) -> String {
    format!(
        "client {} waited {} for {} from {from:.1} s on: {}",
        denied.client,
        seconds(denied.length().as_secs_f64()),
        resource_name(denied.resource),
        denied.why
    )
}

/// A duration with three significant digits.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 0.01 => format!("{:.2} ms", seconds * 1e3),
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

/// `1 client`, `2 clients`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
