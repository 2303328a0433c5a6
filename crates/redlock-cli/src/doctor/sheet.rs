//! The result, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use redlock_quorum::{NodeFacts, Persistence};
use serde_json::{Value, json};

use super::examined::{Examined, Measured, State};
use super::finding::{Finding, Severity};
use super::{Health, Quorum};
use crate::output::{Medium, Table, Tone, millis, short};

/// Digits of a run id that are enough to tell two apart.
const RUN_ID_CHARS: usize = 8;
const HEADER: [&str; 13] = [
    "NODE", "STATE", "ROLE", "VERSION", "RUN ID", "UPTIME", "DURABLE", "EVICTION", "CLOCK", "RATE", "MEDIAN",
    "P99", "CLIENTS",
];
const UNKNOWN: &str = "-";

pub(super) fn as_text(
    nodes: &[Examined],
    findings: &[Finding],
    quorum: Quorum,
    health: Health,
    medium: Medium,
) -> String {
    let mut table = Table::new(&HEADER);
    nodes.iter().for_each(|node| table.row(row(node)));
    let mut text = table.render(medium);
    text.push('\n');
    for (i, finding) in findings.iter().enumerate() {
        let (word, tone) = match finding.severity {
            Severity::Problem => ("problem", Tone::Bad),
            Severity::Note => ("note", Tone::Doubtful),
        };
        let subject = if finding.nodes.is_empty() { String::new() } else { finding.nodes.join(", ") + ": " };
        let _ = writeln!(text, "{}", medium.paragraph(word, tone, &format!("{subject}{}", finding.what)));
        // Several findings in a row may have the same advice.
        if findings.get(i + 1).is_none_or(|next| next.advice != finding.advice) {
            let _ = writeln!(text, "{}", medium.fill("    ", &finding.advice));
        }
    }
    if !findings.is_empty() {
        text.push('\n');
    }
    let (word, tone) = match health {
        Health::Healthy => ("healthy", Tone::Good),
        Health::Degraded => ("degraded", Tone::Doubtful),
        Health::NoQuorum => ("no quorum", Tone::Bad),
    };
    let _ = writeln!(text, "{}", medium.paragraph(word, tone, &verdict(nodes, quorum)));
    text
}

/// The verdict: whether locks can be acquired, and how many more nodes may be lost.
fn verdict(nodes: &[Examined], quorum: Quorum) -> String {
    let Quorum { nodes: all, needed, voting, is_met, spare } = quorum;
    let vote = format!("{voting} of {all} nodes vote, {needed} have to agree");
    match spare {
        _ if !is_met => match recovery(nodes, needed.saturating_sub(voting).max(1)) {
            Some(left) => format!("{vote}; nobody can take a lock for another {}", short(left)),
            None => format!("{vote}; nobody can take a lock"),
        },
        0 => format!("{vote}; locks can be taken, but not if another node is lost"),
        1 => format!("{vote}; locks can be taken, also if another node is lost"),
        losses => format!("{vote}; locks can be taken, also if another {losses} nodes are lost"),
    }
}

/// How long until enough quarantines have ended to bring `missing` votes back; `None` if they never do.
fn recovery(nodes: &[Examined], missing: usize) -> Option<Duration> {
    let mut left: Vec<_> = nodes
        .iter()
        .filter_map(|node| match node.state() {
            State::Quarantined(left) => Some(left),
            State::Votes | State::Refused | State::Unreachable => None,
        })
        .collect();
    left.sort_unstable();
    left.get(missing - 1).copied()
}

fn row(node: &Examined) -> Vec<(String, Tone)> {
    let state = match node.state() {
        State::Votes => ("votes".to_owned(), Tone::Good),
        State::Quarantined(left) => (format!("quarantine {}", short(left)), Tone::Doubtful),
        State::Refused => ("refused".to_owned(), Tone::Bad),
        State::Unreachable => ("unreachable".to_owned(), Tone::Bad),
    };
    let mut row = vec![(node.name.clone(), Tone::Plain), state];
    let facts = node.facts.as_ref();
    let mut cell = |text: Option<String>| match text {
        Some(text) => row.push((text, Tone::Plain)),
        None => row.push((UNKNOWN.to_owned(), Tone::Faint)),
    };
    cell(facts.map(|facts| facts.role().to_owned()));
    cell(facts.map(|facts| format!("{} {}", facts.software(), facts.version())));
    cell(facts.map(|facts| facts.run_id().chars().take(RUN_ID_CHARS).collect()));
    cell(facts.map(|facts| humantime::format_duration(facts.uptime()).to_string()));
    cell(facts.map(durability));
    cell(facts.map(eviction));
    let measured = node.measured;
    cell(measured.map(|measured| offset(measured.clock_offset_micros)));
    cell(measured.map(|measured| match measured.clock_rate {
        Some(known) => rate(known.ppm, known.uncertainty_ppm),
        None => "not measured".to_owned(),
    }));
    cell(measured.map(|measured| short(measured.median)));
    cell(measured.map(|measured| short(measured.p99)));
    cell(measured.map(|measured| measured.clients.to_string()));
    row
}

fn durability(facts: &NodeFacts) -> String {
    match (facts.persistence(), facts.append_fsync()) {
        (Persistence::Durable, _) => "yes".to_owned(),
        (Persistence::NotTold, _) => "not told".to_owned(),
        (Persistence::Weak, Some("always")) => "not in rewrites".to_owned(),
        (Persistence::Weak, Some(other)) => other.to_owned(),
        (Persistence::Weak, None) => "no".to_owned(),
    }
}

fn eviction(facts: &NodeFacts) -> String {
    if facts.max_memory() == 0 { "no limit".to_owned() } else { facts.eviction_policy().to_owned() }
}

fn offset(micros: i64) -> String {
    let sign = if micros < 0 { '-' } else { '+' };
    format!("{sign}{}", short(Duration::from_micros(micros.unsigned_abs())))
}

fn rate(ppm: f64, uncertainty_ppm: f64) -> String {
    // Zero is added because a rounded -0.3 would be -0.
    format!("{:+.0} ± {:.0} ppm", ppm.round() + 0.0, uncertainty_ppm.ceil())
}

pub(super) fn as_json(nodes: &[Examined], findings: &[Finding], quorum: Quorum, health: Health) -> Value {
    let health = match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::NoQuorum => "no_quorum",
    };
    json!({
        "health": health,
        "quorum": {
            "nodes": quorum.nodes,
            "needed": quorum.needed,
            "voting": quorum.voting,
            "tolerated_failures": quorum.spare,
        },
        "nodes": nodes.iter().map(node_as_json).collect::<Vec<_>>(),
        "findings": findings.iter().map(finding_as_json).collect::<Vec<_>>(),
    })
}

fn node_as_json(node: &Examined) -> Value {
    let (state, quarantine) = match node.state() {
        State::Votes => ("votes", None),
        State::Quarantined(left) => ("quarantined", Some(millis(left))),
        State::Refused => ("refused", None),
        State::Unreachable => ("unreachable", None),
    };
    let Examined { name, id, failure, facts, others: _, measured } = node;
    let facts = facts.as_ref();
    json!({
        "name": name,
        "id": id,
        "state": state,
        "failure": failure.as_ref().map(ToString::to_string),
        "quarantine_ms": quarantine,
        "role": facts.map(NodeFacts::role),
        "software": facts.map(NodeFacts::software),
        "version": facts.map(NodeFacts::version),
        "run_id": facts.map(NodeFacts::run_id),
        "uptime_s": facts.map(|facts| facts.uptime().as_secs()),
        "durable": facts.and_then(|facts| match facts.persistence() {
            Persistence::Durable => Some(true),
            Persistence::Weak => Some(false),
            Persistence::NotTold => None,
        }),
        "appendfsync": facts.and_then(NodeFacts::append_fsync),
        "maxmemory": facts.map(NodeFacts::max_memory),
        "maxmemory_policy": facts.map(NodeFacts::eviction_policy),
        "measured": measured.map(|Measured { median, p99, clock_offset_micros, clock_rate, clients }| json!({
            "round_trip_median_ms": millis(median),
            "round_trip_p99_ms": millis(p99),
            "clock_offset_us": clock_offset_micros,
            "clock_rate_ppm": clock_rate.map(|rate| rate.ppm),
            "clock_rate_uncertainty_ppm": clock_rate.map(|rate| rate.uncertainty_ppm),
            "connected_clients": clients,
        })),
    })
}

fn finding_as_json(finding: &Finding) -> Value {
    let Finding { severity, nodes, what, advice } = finding;
    let severity = match severity {
        Severity::Problem => "problem",
        Severity::Note => "note",
    };
    json!({ "severity": severity, "nodes": nodes, "what": what, "advice": advice })
}

#[cfg(test)]
mod tests {
    use redlock_quorum::OtherClients;

    use super::*;

    #[test]
    fn a_rate_that_is_not_known_is_told_as_not_measured() {
        let measured = Measured {
            median: Duration::from_millis(1),
            p99: Duration::from_millis(2),
            clock_offset_micros: -4,
            clock_rate: None,
            clients: 1,
        };
        let node = |measured| Examined {
            name: "a".to_owned(),
            id: None,
            failure: None,
            facts: None,
            others: OtherClients::Unknown,
            measured,
        };
        let column = HEADER.iter().position(|name| *name == "RATE").unwrap();
        let cell = |node: &Examined| row(node)[column].0.clone();
        assert_eq!(cell(&node(Some(measured))), "not measured");
        assert_eq!(cell(&node(None)), UNKNOWN);
        let json = node_as_json(&node(Some(measured)));
        assert_eq!(json["measured"]["clock_rate_ppm"], Value::Null);
    }

    #[test]
    fn a_rate_has_a_sign_and_its_uncertainty_is_rounded_up() {
        let table =
            [(9000.4, 100.2, "+9000 ± 101 ppm"), (-0.4, 0.1, "+0 ± 1 ppm"), (-12.0, 3.0, "-12 ± 3 ppm")];
        for (ppm, uncertainty, expected) in table {
            assert_eq!(rate(ppm, uncertainty), expected);
        }
    }
}
