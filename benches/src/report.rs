//! Turns records into rows and bars, and these into Markdown and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bars::{Bar, bars};
use crate::plan::{Condition, Record, RuntimeName, Section, SideName};

/// What a reader has to know of a run.
pub(crate) struct Setting {
    pub(crate) machine: String,
    pub(crate) server: String,
    pub(crate) command: String,
    pub(crate) seed: u64,
}

pub(crate) struct Report {
    setting: Setting,
    sections: Vec<(&'static str, &'static str, Vec<Row>)>,
    bars: Vec<Bar>,
    /// What `make counts` has recorded.
    counts: Value,
}

/// Medians over the batches of one condition and side.
pub(crate) struct Row {
    pub(crate) condition: Condition,
    pub(crate) side: SideName,
    batches: usize,
    cycles: usize,
    failed: usize,
    p50: f64,
    p99: f64,
    pub(crate) rate: f64,
    /// None where the proxies of slow links run in this process.
    pub(crate) cpu: Option<f64>,
    pub(crate) p50_to_floor: Option<f64>,
    pub(crate) rate_to_floor: Option<f64>,
    pub(crate) cpu_to_floor: Option<f64>,
}

pub(crate) type Figure = fn(&Record) -> f64;

pub(crate) const P50: Figure = |record| record.sample.p50.as_secs_f64();
pub(crate) const P99: Figure = |record| record.sample.p99.as_secs_f64();
pub(crate) const RATE: Figure = |record| record.sample.cycles_per_second;
pub(crate) const CPU: Figure = |record| record.sample.cpu.as_secs_f64();

impl Report {
    pub(crate) fn new(setting: Setting, sections: &[Section], records: &[Record], counts: Value) -> Self {
        let of_section = |section: &Section| {
            let records: Vec<&Record> =
                records.iter().filter(|record| record.section == section.name).collect();
            (section.name, section.title, rows(&records))
        };
        let sections = sections.iter().map(of_section).collect();
        Self { setting, sections, bars: bars(records), counts }
    }

    pub(crate) fn passes(&self) -> bool {
        self.bars.iter().all(Bar::is_met)
    }

    /// The rows of a section; empty if it was not measured.
    pub(crate) fn rows(&self, section: &str) -> &[Row] {
        self.sections.iter().find(|(name, ..)| *name == section).map_or(&[], |(.., rows)| rows)
    }

    pub(crate) fn markdown(&self, plots: &[&str]) -> String {
        let Setting { machine, server, command, seed } = &self.setting;
        let mut text = format!(
            "# Results\n\nThe program wrote this file; README.md says what the figures mean.\n\n- machine: {machine}\n- \
             servers: {server}, on the same machine, volatile\n- command: `{command}`, seed {seed}\n"
        );
        for plot in plots {
            let _ = write!(text, "\n![{plot}]({plot}.svg)\n");
        }
        for (_, title, rows) in self.sections.iter().filter(|(.., rows)| !rows.is_empty()) {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            let _ = write!(text, "\n## {title}\n\n{}", table(&Row::HEAD, &cells));
        }
        let bars: Vec<_> = self.bars.iter().map(Bar::cells).collect();
        let _ = write!(text, "\n## Bars\n\n{}", table(&["", "ratio", "bar", ""], &bars));
        let _ = write!(text, "\n## Counts for each cycle\n\nFrom `make counts`.\n\n{}", self.counts_table());
        text
    }

    fn counts_table(&self) -> String {
        let Some(sides) = self.counts.as_object() else { return String::new() };
        let cell = |counts: &Value, name: &str| counts[name].as_f64().map_or("-".into(), |n| n.to_string());
        let rows: Vec<_> = sides
            .iter()
            .map(|(side, counts)| {
                let [instructions, allocations, bytes] =
                    ["instructions", "allocations", "bytes allocated"].map(|name| cell(counts, name));
                vec![side.clone(), instructions, allocations, bytes]
            })
            .collect();
        table(&["side", "instructions", "allocations", "bytes allocated"], &rows)
    }

    pub(crate) fn json(&self) -> Value {
        let Setting { machine, server, command, seed } = &self.setting;
        let section = |(name, _, rows): &(&str, &str, Vec<Row>)| {
            ((*name).to_owned(), rows.iter().map(Row::json).collect::<Vec<_>>().into())
        };
        let sections: serde_json::Map<String, Value> = self.sections.iter().map(section).collect();
        let bars: Vec<_> = self.bars.iter().map(Bar::json).collect();
        json!({
            "machine": machine, "server": server, "command": command, "seed": seed,
            "sections": sections, "bars": bars, "counts": self.counts, "pass": self.passes(),
        })
    }
}

impl Row {
    const HEAD: [&str; 14] = [
        "runtime",
        "n",
        "link",
        "nodes",
        "tasks",
        "side",
        "p50",
        "p99",
        "cycles/s",
        "CPU",
        "p50/floor",
        "rate/floor",
        "CPU/floor",
        "failed",
    ];

    fn cells(&self) -> Vec<String> {
        let Condition { runtime, tasks, nodes, round_trip, fault } = &self.condition;
        let link = if round_trip.is_zero() { "local".to_owned() } else { format!("{round_trip:?}") };
        vec![
            runtime.to_string(),
            nodes.to_string(),
            link,
            fault.to_string(),
            tasks.to_string(),
            self.side.to_string(),
            duration(self.p50),
            duration(self.p99),
            format!("{:.0}", self.rate),
            self.cpu.map_or("-".into(), duration),
            ratio(self.p50_to_floor),
            ratio(self.rate_to_floor),
            ratio(self.cpu_to_floor),
            self.failed.to_string(),
        ]
    }

    fn json(&self) -> Value {
        let Condition { runtime, tasks, nodes, round_trip, fault } = &self.condition;
        let Self { batches, cycles, failed, p50, p99, rate, cpu, .. } = self;
        json!({
            "runtime": runtime.to_string(), "tasks": tasks, "n": nodes, "nodes": fault.to_string(),
            "round_trip_ms": round_trip.as_secs_f64() * 1e3, "side": self.side.to_string(),
            "batches": batches, "cycles": cycles, "failed": failed,
            "p50_us": p50 * 1e6, "p99_us": p99 * 1e6, "cycles_per_second": rate,
            "cpu_us": cpu.map(|cpu| cpu * 1e6), "p50_to_floor": self.p50_to_floor,
            "rate_to_floor": self.rate_to_floor, "cpu_to_floor": self.cpu_to_floor,
        })
    }
}

/// The rows of one section, in the order of its first round.
fn rows(records: &[&Record]) -> Vec<Row> {
    let mut cells: Vec<(Condition, SideName)> = Vec::new();
    for record in records {
        let cell = (record.condition, record.side);
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    let order = |(condition, side): &(Condition, SideName)| {
        let Condition { runtime, tasks, nodes, round_trip, fault } = condition;
        let side = match side {
            SideName::Ours(variant) => *variant as usize,
            SideName::Floor => 97,
            SideName::Rslock => 98,
            SideName::Redlock2 => 99,
        };
        let is_current = matches!(runtime, RuntimeName::CurrentThread);
        (is_current, *nodes, *round_trip, fault.to_string(), *tasks, side)
    };
    // "healthy" comes behind "1 hung" in the alphabet.
    cells.sort_by_key(|cell| (cell.0.fault.nodes() > 0, order(cell)));
    cells.into_iter().filter_map(|cell| row(records, cell)).collect()
}

fn row(records: &[&Record], cell: (Condition, SideName)) -> Option<Row> {
    let (condition, side) = cell;
    let of: Vec<&Record> =
        records.iter().copied().filter(|record| (record.condition, record.side) == cell).collect();
    let over = |figure: Figure| median(of.iter().map(|record| figure(record)).collect());
    let floor = (condition, SideName::Floor);
    let to_floor = |figure| if cell == floor { None } else { paired(records, cell, floor, figure) };
    let is_local = condition.round_trip.is_zero();
    Some(Row {
        condition,
        side,
        batches: of.len(),
        cycles: of.iter().map(|record| record.sample.cycles).sum(),
        failed: of.iter().map(|record| record.sample.failed).sum(),
        p50: over(P50)?,
        p99: over(P99)?,
        rate: over(RATE)?,
        cpu: over(CPU).filter(|_| is_local),
        p50_to_floor: to_floor(P50),
        rate_to_floor: to_floor(RATE),
        cpu_to_floor: to_floor(CPU).filter(|_| is_local),
    })
}

/// The median of the ratios of two cells of one section, taken round by round.
pub(crate) fn paired(
    records: &[&Record],
    cell: (Condition, SideName),
    other: (Condition, SideName),
    figure: Figure,
) -> Option<f64> {
    let of = |cell| move |record: &&&Record| (record.condition, record.side) == cell;
    let ratio = |record: &&Record| {
        let other = records.iter().filter(of(other)).find(|other| other.round == record.round)?;
        Some(figure(record) / figure(other))
    };
    median(records.iter().filter(of(cell)).filter_map(ratio).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A Markdown table, padded for those who read it as text.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |")).collect();
        format!("|{cells}\n")
    };
    let rule: String = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let body: String = rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect();
    format!("{}|{rule}\n{body}", line(&mut head.iter().copied()))
}

fn duration(seconds: f64) -> String {
    let duration = Duration::from_secs_f64(seconds);
    if duration < Duration::from_millis(10) {
        format!("{:.0} us", seconds * 1e6)
    } else {
        format!("{:.0} ms", seconds * 1e3)
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}
