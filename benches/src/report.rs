//! Turns records into a table, into JSON, and into a verdict.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::{Load, Nodes, Record, SideName};

/// The setting in which the records were measured.
pub(crate) struct Setting {
    pub(crate) runtime: String,
    pub(crate) tasks: usize,
    pub(crate) seed: u64,
    pub(crate) server: String,
}

pub(crate) struct Report {
    setting: Setting,
    rows: Vec<Row>,
    bars: Vec<Bar>,
}

/// A row of the table: medians over the batches of one cell.
struct Row {
    side: SideName,
    nodes: Nodes,
    load: Load,
    batches: usize,
    cycles: u64,
    p50: Duration,
    p99: Duration,
    cycles_per_second: f64,
    /// Medians of the rounds' ratios.
    p50_to_floor: Option<f64>,
    rate_to_floor: Option<f64>,
    p50_to_healthy: Option<f64>,
    rate_to_healthy: Option<f64>,
}

/// A ratio and the bound that it has to meet.
struct Bar {
    name: &'static str,
    ratio: f64,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.ratio <= most,
            Bound::AtLeast(least) => self.ratio >= least,
        }
    }
}

type Figure = fn(&Record) -> f64;
type Cell = (SideName, Nodes, Load);

const P50: Figure = |record| record.sample.p50.as_secs_f64();
const RATE: Figure = |record| record.sample.cycles_per_second;

impl Report {
    pub(crate) fn new(setting: Setting, records: &[Record]) -> Self {
        let rows = rows(records);
        Self { setting, rows, bars: bars(records) }
    }

    pub(crate) fn passes(&self) -> bool {
        self.bars.iter().all(Bar::is_met)
    }

    pub(crate) fn table(&self) -> String {
        let Setting { runtime, tasks, seed, server } = &self.setting;
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{args}");
        };
        line(format_args!("five local masters ({server}), volatile: nothing is written to disk"));
        line(format_args!(
            "runtime: {runtime}; seed {seed}; medians of batches; ratios of neighbouring batches"
        ));
        for (title, nodes, load) in [
            ("one task", Nodes::Healthy, Load::OneTask),
            ("one task, one node paused", Nodes::OnePaused, Load::OneTask),
            ("one task, first moments of the pause", Nodes::JustPaused, Load::OneTask),
            ("many tasks, each its own name", Nodes::Healthy, Load::ManyTasks),
            ("many tasks, one node paused", Nodes::OnePaused, Load::ManyTasks),
        ] {
            line(format_args!(""));
            let tasks = if load == Load::ManyTasks { format!(" ({tasks})") } else { String::new() };
            line(format_args!(
                "{:<42}{:>10}{:>10}{:>11}{:>11}{:>12}{:>9}",
                format!("{title}{tasks}"),
                "p50",
                "p99",
                "cycles/s",
                "p50/floor",
                "rate/floor",
                "batches"
            ));
            for row in self.rows.iter().filter(|row| (row.nodes, row.load) == (nodes, load)) {
                line(format_args!(
                    "  {:<40}{:>10}{:>10}{:>11.0}{:>11}{:>12}{:>9}",
                    name(row.side),
                    duration(row.p50),
                    duration(row.p99),
                    row.cycles_per_second,
                    ratio(row.p50_to_floor),
                    ratio(row.rate_to_floor),
                    row.batches
                ));
            }
        }
        line(format_args!(""));
        line(format_args!("{:<58}{:>8}   bar", "", "ratio"));
        for bar in &self.bars {
            let bound = match bar.bound {
                Bound::AtMost(most) => format!("at most {most}"),
                Bound::AtLeast(least) => format!("at least {least}"),
            };
            let verdict = if bar.is_met() { "pass" } else { "MISSED" };
            line(format_args!("{:<58}{:>8.2}   {bound:<14}{verdict}", bar.name, bar.ratio));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let Setting { runtime, tasks, seed, server } = &self.setting;
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let bars: Vec<_> = self.bars.iter().map(Bar::json).collect();
        json!({
            "runtime": runtime, "tasks": tasks, "seed": seed, "server": server, "durability": "volatile",
            "cells": rows, "bars": bars, "pass": self.passes(),
        })
    }
}

impl Row {
    fn json(&self) -> Value {
        let Self { side, nodes, load, batches, cycles, p50, p99, cycles_per_second, .. } = self;
        json!({
            "side": name(*side),
            "nodes": match nodes {
                Nodes::Healthy => "healthy",
                Nodes::JustPaused => "just paused",
                Nodes::OnePaused => "one paused",
            },
            "load": match load {
                Load::OneTask => "one task",
                Load::ManyTasks => "many tasks",
            },
            "batches": batches,
            "cycles": cycles,
            "p50_us": p50.as_secs_f64() * 1e6,
            "p99_us": p99.as_secs_f64() * 1e6,
            "cycles_per_second": cycles_per_second,
            "p50_to_floor": self.p50_to_floor,
            "rate_to_floor": self.rate_to_floor,
            "p50_to_healthy": self.p50_to_healthy,
            "rate_to_healthy": self.rate_to_healthy,
        })
    }
}

impl Bar {
    fn json(&self) -> Value {
        let (at_most, at_least) = match self.bound {
            Bound::AtMost(most) => (Some(most), None),
            Bound::AtLeast(least) => (None, Some(least)),
        };
        json!({
            "name": self.name, "ratio": self.ratio, "at_most": at_most, "at_least": at_least,
            "pass": self.is_met(),
        })
    }
}

fn rows(records: &[Record]) -> Vec<Row> {
    let mut rows = Vec::new();
    for load in [Load::OneTask, Load::ManyTasks] {
        for nodes in [Nodes::Healthy, Nodes::JustPaused, Nodes::OnePaused] {
            for side in SideName::ALL {
                rows.extend(row(records, (side, nodes, load)));
            }
        }
    }
    rows
}

fn row(records: &[Record], cell: Cell) -> Option<Row> {
    let (side, nodes, load) = cell;
    let of: Vec<_> = records.iter().filter(|record| cell_of(record) == cell).collect();
    let over = |figure: Figure| median(of.iter().map(|record| figure(record)).collect());
    let to = |figure, other| if other == cell { None } else { paired(records, cell, other, figure) };
    let (floor, healthy) = ((SideName::Floor, nodes, load), (side, Nodes::Healthy, load));
    Some(Row {
        side,
        nodes,
        load,
        batches: of.len(),
        cycles: of.iter().map(|record| record.sample.cycles).sum(),
        p50: Duration::from_secs_f64(over(P50)?),
        p99: Duration::from_secs_f64(over(|record| record.sample.p99.as_secs_f64())?),
        cycles_per_second: over(RATE)?,
        p50_to_floor: to(P50, floor),
        rate_to_floor: to(RATE, floor),
        p50_to_healthy: to(P50, healthy),
        rate_to_healthy: to(RATE, healthy),
    })
}

fn bars(records: &[Record]) -> Vec<Bar> {
    use Bound::{AtLeast, AtMost};
    use Load::{ManyTasks, OneTask};
    use Nodes::{Healthy, JustPaused, OnePaused};
    use SideName::{Fenced, Floor, Ours, Rslock};
    let of = |name, figure, cell, other, bound| {
        // Without a pair there is no ratio, and NaN meets no bar.
        let ratio = paired(records, cell, other, figure).unwrap_or(f64::NAN);
        Bar { name, ratio, bound }
    };
    let (one, many) = ((Ours, Healthy, OneTask), (Ours, Healthy, ManyTasks));
    vec![
        of("lock and release, p50: ours / floor", P50, one, (Floor, Healthy, OneTask), AtMost(1.25)),
        of("lock and release, p50: ours / rslock", P50, one, (Rslock, Healthy, OneTask), AtMost(1.0)),
        of("many tasks, cycles/s: ours / floor", RATE, many, (Floor, Healthy, ManyTasks), AtLeast(0.8)),
        of("many tasks, cycles/s: ours / rslock", RATE, many, (Rslock, Healthy, ManyTasks), AtLeast(1.0)),
        of(
            "with fencing tokens, p50: ours, fenced / ours",
            P50,
            (Fenced, Healthy, OneTask),
            one,
            AtMost(1.12),
        ),
        of("one node paused, p50: ours / ours healthy", P50, (Ours, OnePaused, OneTask), one, AtMost(1.3)),
        of(
            "first moments of the pause, p50: ours / ours healthy",
            P50,
            (Ours, JustPaused, OneTask),
            one,
            AtMost(1.3),
        ),
    ]
}

/// The median of the ratios of two cells, taken round by round.
fn paired(records: &[Record], cell: Cell, other: Cell, figure: Figure) -> Option<f64> {
    let find = |cell: Cell, round| {
        records.iter().find(|record| record.round == round && cell_of(record) == cell).map(figure)
    };
    let rounds = records.iter().filter(|record| cell_of(record) == cell).map(|record| record.round);
    median(rounds.filter_map(|round| Some(find(cell, round)? / find(other, round)?)).collect())
}

fn cell_of(record: &Record) -> Cell {
    (record.side, record.nodes, record.load)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn name(side: SideName) -> &'static str {
    match side {
        SideName::Ours => "ours",
        SideName::Fenced => "ours, fenced",
        SideName::Floor => "floor",
        SideName::Rslock => "rslock",
    }
}

fn duration(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 10_000.0 { format!("{micros:.0} us") } else { format!("{:.0} ms", micros / 1e3) }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}
