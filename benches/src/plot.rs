//! Line charts as SVG.

use std::fmt::Write as _;

use crate::plan::{RuntimeName, SideName};
use crate::report::{Report, Row};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left of the chart, above it, right of it (for the names of the lines), and below it.
const MARGINS: [f64; 4] = [70.0, 40.0, 170.0, 50.0];
const COLOURS: [&str; 6] = ["#0072b2", "#56b4e9", "#000000", "#d55e00", "#cc79a7", "#009e73"];

/// A chart: its file's name without the ending, and its text.
pub(crate) type Plot = (&'static str, String);

/// The charts of all sections that were measured.
pub(crate) fn plots(report: &Report) -> Vec<Plot> {
    let tasks = |runtime: RuntimeName| move |row: &&Row| row.condition.runtime == runtime;
    let of_tasks = |runtime| report.rows("tasks").iter().filter(tasks(runtime)).collect::<Vec<_>>();
    let by_tasks = |row: &Row| row.condition.tasks;
    let few = |row: &&Row| row.condition.tasks == 1;
    let many = |row: &&Row| row.condition.tasks > 1;
    let nodes = report.rows("nodes").iter();
    let by_nodes = |row: &Row| row.condition.nodes;
    let charts = [
        ("rate-multi-thread", "Cycles per second by tasks, multi-thread", of_tasks(RuntimeName::MultiThread)),
        (
            "rate-current-thread",
            "Cycles per second by tasks, current-thread",
            of_tasks(RuntimeName::CurrentThread),
        ),
    ];
    let rates = charts.map(|(name, title, rows)| (name, chart(title, &rows, by_tasks, |row| Some(row.rate))));
    let cpu: Vec<&Row> = nodes.clone().filter(many).collect();
    let latency: Vec<&Row> = nodes.filter(few).collect();
    let nodes = [
        (
            "cpu-by-nodes",
            chart("CPU in us for each cycle by nodes, 64 tasks", &cpu, by_nodes, |row| Some(row.cpu? * 1e6)),
        ),
        ("p50-by-nodes", chart("p50 / floor by nodes, one task", &latency, by_nodes, |row| row.p50_to_floor)),
    ];
    rates.into_iter().chain(nodes).filter_map(|(name, chart)| Some((name, chart?))).collect()
}

/// A line for each side. The values of `x` are equally far apart.
fn chart(
    title: &str,
    rows: &[&Row],
    x: impl Fn(&Row) -> usize,
    y: impl Fn(&Row) -> Option<f64>,
) -> Option<String> {
    let mut ticks: Vec<usize> = rows.iter().map(|row| x(row)).collect();
    ticks.sort_unstable();
    ticks.dedup();
    let mut sides: Vec<SideName> = Vec::new();
    for row in rows.iter().filter(|row| y(row).is_some()) {
        if !sides.contains(&row.side) {
            sides.push(row.side);
        }
    }
    let top = nice(rows.iter().filter_map(|row| y(row)).max_by(f64::total_cmp)?);
    let [left, above, right, below] = MARGINS;
    #[expect(clippy::cast_precision_loss)]
    let step = (WIDTH - left - right) / (ticks.len().max(2) - 1) as f64;
    #[expect(clippy::cast_precision_loss)]
    let at_x = |tick: usize| left + step * ticks.iter().position(|known| *known == tick).unwrap_or(0) as f64;
    let at_y = |value: f64| HEIGHT - below - (HEIGHT - above - below) * value / top;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (value, y) = (top * part, at_y(top * part));
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{value}</text>",
            WIDTH - right,
            left - 8.0,
            y + 4.0
        );
    }
    for tick in &ticks {
        let (x, y) = (at_x(*tick), HEIGHT - below + 20.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{tick}</text>");
    }
    for (i, (side, colour)) in sides.iter().zip(COLOURS).enumerate() {
        let mut points: Vec<(usize, f64)> =
            rows.iter().filter(|row| row.side == *side).filter_map(|row| Some((x(row), y(row)?))).collect();
        points.sort_unstable_by_key(|(x, _)| *x);
        let line: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        #[expect(clippy::cast_precision_loss)]
        let label = above + 10.0 + 20.0 * i as f64;
        let x = WIDTH - right + 16.0;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{x}\" y=\"{label}\" fill=\"{colour}\">{side}</text>",
            line.join(" ")
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// The next of 1, 2, 4, 8, 10, 20, … from `value` on: its quarters are short numbers.
fn nice(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}
