//! Compares the settings with the measurements, and with the settings of other clients. Pure.

use std::time::Duration;

use redlock_quorum::Settings;

use super::examined::{Examined, Measured};
use super::finding::{Finding, Severity, note, problem};
use crate::output::{setting, short};

/// A vote takes at most one round trip and the server's own time. Four times the slowest round trip of a short probe
/// leaves room for worse moments.
const ROUND_TRIPS_IN_NODE_TIMEOUT: u32 = 4;
/// Acquiring takes a round trip or two, and each renewal takes one. A lease should last much longer than that.
const ROUND_TRIPS_IN_TTL: u32 = 100;

/// The settings that the findings depend on.
pub(super) struct Bounds {
    nodes: usize,
    ttl: Duration,
    max_ttl: Duration,
    longest_max_ttl: Duration,
    clock_drift: Duration,
    max_clock_skew: Duration,
    node_timeout: Duration,
    quarantine: Duration,
    has_clock_guard: bool,
}

impl Bounds {
    pub(super) fn new(settings: &Settings, longest_max_ttl: Duration) -> Self {
        Self {
            nodes: settings.nodes(),
            ttl: settings.ttl(),
            max_ttl: settings.max_ttl(),
            longest_max_ttl,
            clock_drift: settings.clock_drift(),
            max_clock_skew: settings.max_clock_skew(),
            node_timeout: settings.node_timeout(),
            quarantine: settings.quarantine(),
            has_clock_guard: !settings
                .effective()
                .any(|(setting, value, _)| setting.name() == "dangerous_no_clock_guard" && value == "true"),
        }
    }

    pub(super) fn findings(&self, nodes: &[Examined]) -> Vec<Finding> {
        let mut findings = clocks(nodes, self);
        findings.extend(guard(self));
        findings.extend(clock_guard(self));
        findings.extend(slow(nodes, self));
        findings.extend(longer_max_ttl(self));
        findings.extend(number_of_nodes(self));
        findings
    }
}

fn clocks(nodes: &[Examined], bounds: &Bounds) -> Vec<Finding> {
    let mut offsets: Vec<i64> =
        nodes.iter().filter_map(|node| Some(node.measured?.clock_offset_micros)).collect();
    offsets.sort_unstable();
    let Some(median) = offsets.get(offsets.len() / 2).copied() else { return Vec::new() };
    let mut findings = Vec::new();
    let ours = Duration::from_micros(median.unsigned_abs());
    if ours > bounds.max_clock_skew {
        let side = if median > 0 { "behind" } else { "ahead of" };
        findings.push(problem(
            Vec::new(),
            format!(
                "this machine's clock is {} {side} the nodes', more than max_clock_skew of {}: it gets no fencing \
                 tokens, and so no locks",
                short(ours),
                setting(bounds.max_clock_skew)
            ),
            "Correct this machine's clock.",
        ));
    }
    for node in nodes {
        let Some(Measured { clock_offset_micros, median: round_trip, .. }) = node.measured else { continue };
        let away = clock_offset_micros.saturating_sub(median);
        let apart = Duration::from_micros(away.unsigned_abs());
        // Both the offset and the median are known only to half a round trip.
        if apart <= bounds.clock_drift + round_trip {
            continue;
        }
        let side = if away > 0 { "ahead of" } else { "behind" };
        findings.push(problem(
            vec![node.name.clone()],
            format!(
                "its clock is {} {side} the other nodes'; a correction in one step would end leases early or late by \
                 that, and the drift of {} does not cover it",
                short(apart),
                short(bounds.clock_drift)
            ),
            "Slew its clock instead of stepping it, and use NTP; a clock_drift_floor above the difference covers a step, \
             but shortens every lease by as much.",
        ));
    }
    findings
}

fn guard(bounds: &Bounds) -> Option<Finding> {
    bounds.quarantine.is_zero().then(|| {
        note(
            Vec::new(),
            "dangerous_no_restart_guard is set: nodes that forgot their locks in a restart vote at once".to_owned(),
            "Remove it, unless your nodes keep every write or are kept away after a crash for longer than max_ttl.",
        )
    })
}

fn clock_guard(bounds: &Bounds) -> Option<Finding> {
    (!bounds.has_clock_guard).then(|| {
        note(
            Vec::new(),
            "dangerous_no_clock_guard is set: nodes whose clocks were stepped while locks were held vote at once".to_owned(),
            "Remove it, unless the clocks of your nodes are never stepped.",
        )
    })
}

fn slow(nodes: &[Examined], bounds: &Bounds) -> Vec<Finding> {
    let measured = nodes.iter().filter(|node| node.votes()).filter_map(|node| Some((node, node.measured?)));
    let Some((slowest, Measured { p99, .. })) = measured.max_by_key(|(_, measured)| measured.p99) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let wanted = p99 * ROUND_TRIPS_IN_NODE_TIMEOUT;
    if wanted > bounds.node_timeout {
        let severity = if p99 < bounds.node_timeout { Severity::Note } else { Severity::Problem };
        findings.push(Finding {
            severity,
            nodes: vec![slowest.name.clone()],
            what: format!(
                "a round trip takes {} at times, and node_timeout is {}: votes that take longer are lost",
                short(p99),
                setting(bounds.node_timeout)
            ),
            advice: format!("Set node_timeout to {} or more.", setting(rounded_up(wanted))),
        });
    }
    let wanted = p99 * ROUND_TRIPS_IN_TTL;
    if wanted > bounds.ttl {
        findings.push(note(
            vec![slowest.name.clone()],
            format!(
                "a round trip takes {} at times, and ttl is {}: much of each lease is spent on acquiring and renewing it",
                short(p99),
                setting(bounds.ttl)
            ),
            format!("Set ttl to {} or more.", setting(rounded_up(wanted))),
        ));
    }
    findings
}

/// Rounds up to two significant digits of milliseconds, as a person would write the value.
fn rounded_up(duration: Duration) -> Duration {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    let mut step = 1;
    while millis / step >= 100 {
        step *= 10;
    }
    Duration::from_millis(millis.div_ceil(step).saturating_mul(step))
}

fn longer_max_ttl(bounds: &Bounds) -> Option<Finding> {
    let Bounds { max_ttl, longest_max_ttl, .. } = bounds;
    (longest_max_ttl > max_ttl).then(|| {
        note(
            Vec::new(),
            format!(
                "another client has a max_ttl of {}, yours is {}: the longest one decides how long a node that may have \
                 forgotten locks is in quarantine",
                setting(*longest_max_ttl),
                setting(*max_ttl)
            ),
            "Give all clients the same. When no client has the longer one any more, the nodes forget it by themselves once \
             its longest lease would have expired; at once by: redlock nodes forget.",
        )
    })
}

fn number_of_nodes(bounds: &Bounds) -> Option<Finding> {
    match bounds.nodes {
        1 => Some(note(
            Vec::new(),
            "a single node is a single point of failure".to_owned(),
            "Use 3 nodes to survive the loss of one, 5 to survive that of two.",
        )),
        even if even.is_multiple_of(2) => Some(note(
            Vec::new(),
            format!("{even} nodes survive no more losses than {} do", even - 1),
            format!("Use {} nodes, or {}.", even - 1, even + 1),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redlock_quorum::OtherClients;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const BOUNDS: Bounds = Bounds {
        nodes: 3,
        ttl: Duration::from_secs(10),
        max_ttl: Duration::from_secs(20),
        longest_max_ttl: Duration::from_secs(20),
        clock_drift: Duration::from_millis(102),
        max_clock_skew: MINUTE,
        node_timeout: Duration::from_millis(250),
        quarantine: Duration::from_secs(22),
        has_clock_guard: true,
    };

    /// A node that votes.
    fn node(name: &str, clock_offset_millis: i64, p99: Duration) -> Examined {
        let clock_offset_micros = clock_offset_millis * 1000;
        let measured = Measured {
            median: Duration::from_millis(1),
            p99,
            clock_offset_micros,
            clock_rate: None,
            clients: 1,
        };
        Examined {
            name: name.to_owned(),
            id: Some(format!("id-{name}")),
            failure: None,
            facts: None,
            others: OtherClients::Same,
            measured: Some(measured),
        }
    }

    fn told(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|finding| format!("{:?} {:?} {}", finding.severity, finding.nodes, finding.what))
            .collect()
    }

    #[test]
    fn a_clock_that_a_step_would_set_right_at_a_lease_s_cost_is_a_problem() {
        let judge = |offsets: [i64; 3]| {
            let names = ["a", "b", "c"].into_iter().zip(offsets);
            let nodes: Vec<_> =
                names.map(|(name, offset)| node(name, offset, Duration::from_millis(1))).collect();
            told(&clocks(&nodes, &BOUNDS))
        };
        assert_eq!(judge([0, 5, -90]), Vec::<String>::new());
        let [one] = &judge([0, 5, -1500])[..] else { panic!() };
        assert!(one.starts_with("Problem [\"c\"] its clock is 1.5 s behind the other nodes'"), "{one}");
        assert!(one.contains("the drift of 102 ms does not cover it"), "{one}");
        assert!(judge([0, 104, 0])[0].contains("ahead of the other nodes'"));
        // All nodes agree, so this machine's clock is wrong. The difference costs nothing until tokens are refused.
        assert_eq!(judge([30_000, 30_005, 29_990]), Vec::<String>::new());
        let [one] = &judge([-61_000; 3])[..] else { panic!() };
        assert!(one.starts_with("Problem [] this machine's clock is 1m 1s ahead of the nodes'"), "{one}");
    }

    #[test]
    fn round_trips_are_held_against_node_timeout_and_ttl() {
        type Said = Vec<(Severity, Vec<String>, String)>;
        let judge = |p99| -> Said {
            let nodes = [node("a", 0, Duration::from_millis(1)), node("b", 0, Duration::from_millis(p99))];
            slow(&nodes, &BOUNDS)
                .into_iter()
                .map(|finding| (finding.severity, finding.nodes, finding.advice))
                .collect()
        };
        let b = || vec!["b".to_owned()];
        let expected: Vec<(u64, Said)> = vec![
            (62, vec![]),
            (63, vec![(Severity::Note, b(), "Set node_timeout to 260ms or more.".into())]),
            (
                260,
                vec![
                    (Severity::Problem, b(), "Set node_timeout to 1s 100ms or more.".into()),
                    (Severity::Note, b(), "Set ttl to 27s or more.".into()),
                ],
            ),
        ];
        for (p99, findings) in expected {
            assert_eq!(judge(p99), findings, "{p99}");
        }
    }

    #[test]
    fn an_even_or_lonely_number_of_nodes_is_noted() {
        let judge = |nodes| number_of_nodes(&Bounds { nodes, ..BOUNDS }).map(|finding| finding.advice);
        assert!(judge(1).is_some_and(|advice| advice.contains("Use 3")));
        assert_eq!(judge(4).as_deref(), Some("Use 3 nodes, or 5."));
        assert_eq!(judge(5), None);
    }
}
