//! The bars: ratios, each with the bound that it has to meet.

use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::{Condition, DEFAULT, Fault, NO_FENCING, PLAIN, Record, RuntimeName, SideName, Since};
use crate::report::{CPU, Figure, P50, P99, RATE, paired};

pub(crate) struct Bar {
    name: String,
    /// None if the section was not measured.
    ratio: Option<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    pub(crate) fn is_met(&self) -> bool {
        match (self.ratio, self.bound) {
            (None, _) => false,
            (Some(ratio), Bound::AtMost(most)) => ratio <= most,
            (Some(ratio), Bound::AtLeast(least)) => ratio >= least,
        }
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let bound = match self.bound {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::AtLeast(least) => format!("at least {least}"),
        };
        let ratio = self.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let verdict = match (self.ratio, self.is_met()) {
            (None, _) => "not measured",
            (Some(_), true) => "met",
            (Some(_), false) => "MISSED",
        };
        vec![self.name.clone(), ratio, bound, verdict.into()]
    }

    pub(crate) fn json(&self) -> Value {
        let (at_most, at_least) = match self.bound {
            Bound::AtMost(most) => (Some(most), None),
            Bound::AtLeast(least) => (None, Some(least)),
        };
        json!({
            "name": self.name, "ratio": self.ratio, "at_most": at_most, "at_least": at_least,
            "met": self.is_met(),
        })
    }
}

pub(crate) fn bars(records: &[Record]) -> Vec<Bar> {
    use Bound::{AtLeast, AtMost};
    let measured = Measured(records);
    let mut bars = Vec::new();
    for runtime in [RuntimeName::MultiThread, RuntimeName::CurrentThread] {
        let at = |tasks| Condition { runtime, tasks, ..PLAIN };
        for (side, latency, rate) in [(DEFAULT, 1.10, 1.0), (NO_FENCING, 1.03, 1.2)] {
            let mut bar = |what: &str, figure, tasks, bound| {
                let (cell, floor) = ((at(tasks), side), (at(tasks), SideName::Floor));
                let name = format!("{what}: {side} / floor, {runtime}");
                bars.push(Bar { name, ratio: measured.ratio("tasks", cell, floor, figure), bound });
            };
            bar("one task, p50", P50, 1, AtMost(latency));
            bar("64 tasks, cycles/s", RATE, 64, AtLeast(rate));
            bar("64 tasks, CPU", CPU, 64, AtMost(1.0));
        }
        let ratio = measured.ratio("tasks", (at(4096), DEFAULT), (at(64), DEFAULT), RATE);
        let name = format!("cycles/s: 4096 tasks / 64 tasks, {runtime}");
        bars.push(Bar { name, ratio, bound: AtLeast(0.8) });
    }
    for peer in [SideName::Rslock, SideName::Redlock2] {
        let name = format!("cycles/s: ours / {peer}, the lowest of all rows");
        bars.push(Bar { name, ratio: measured.lowest(peer), bound: AtLeast(1.0) });
    }
    let one = Condition { tasks: 1, ..PLAIN };
    let hung = Condition { fault: Fault::Hung { nodes: 2, since: Since::Long }, ..one };
    for (what, figure, most) in [("p50", P50, 1.1), ("p99", P99, 1.5)] {
        let ratio = measured.ratio("faults", (hung, DEFAULT), (one, DEFAULT), figure);
        bars.push(Bar {
            name: format!("two nodes hung, {what}: ours / healthy"),
            ratio,
            bound: AtMost(most),
        });
    }
    let nine = (Condition { nodes: 9, ..PLAIN }, DEFAULT);
    let ratio = measured.ratio("nodes", nine, (PLAIN, DEFAULT), CPU);
    bars.push(Bar { name: "64 tasks, CPU: nine nodes / five".into(), ratio, bound: AtMost(2.0) });
    let far = Condition { round_trip: Duration::from_millis(20), ..one };
    let ratio = measured.ratio("links", (far, DEFAULT), (far, SideName::Floor), P50);
    bars.push(Bar { name: "links of 20 ms, p50: ours / floor".into(), ratio, bound: AtMost(1.05) });
    let ratio = measured.failed();
    bars.push(Bar { name: "cycles of ours that failed".into(), ratio, bound: AtMost(0.0) });
    bars
}

struct Measured<'a>(&'a [Record]);

impl Measured<'_> {
    fn ratio(
        &self,
        section: &str,
        cell: (Condition, SideName),
        other: (Condition, SideName),
        figure: Figure,
    ) -> Option<f64> {
        let of_section: Vec<&Record> = self.0.iter().filter(|record| record.section == section).collect();
        paired(&of_section, cell, other, figure)
    }

    /// The lowest ratio of our rate to a peer's, over all sections and conditions.
    fn lowest(&self, peer: SideName) -> Option<f64> {
        let of_peer = self.0.iter().filter(|record| record.side == peer);
        let mut cells: Vec<(&str, Condition)> =
            of_peer.map(|record| (record.section, record.condition)).collect();
        cells.dedup();
        let ratio = |(section, at): (&str, Condition)| self.ratio(section, (at, DEFAULT), (at, peer), RATE);
        cells.into_iter().filter_map(ratio).min_by(f64::total_cmp)
    }

    #[expect(clippy::cast_precision_loss)]
    fn failed(&self) -> Option<f64> {
        let ours = |record: &&Record| matches!(record.side, SideName::Ours(_));
        let failed = self.0.iter().filter(ours).map(|record| record.sample.failed).sum::<usize>();
        Some(failed as f64)
    }
}
