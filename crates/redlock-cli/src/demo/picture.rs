//! One frame of the live picture as lines of styled text. Pure, so that it can be tested at any width.

use std::collections::BTreeSet;
use std::time::Duration;

use super::view::{Condition, Doing, Fault, Node, SLOT, View};

/// Heights of a sparkline's bars.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Number of bars in the sparkline: the last five seconds.
const SPARKS: usize = 20;
/// Number of slots behind the rate beside the sparkline: the last second.
const RATE_SLOTS: usize = 4;
/// Cells of the progress bar, where there is room.
const BAR_CELLS: usize = 40;
/// Width of the column of labels.
const LABEL: usize = 10;

/// The meaning of a text, independent of its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Title,
    Faint,
    Good,
    Bad,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) tone: Tone,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<Span>);

/// Returns at most `height` lines of at most `width` characters, each one cell wide.
pub(super) fn frame(view: &View, elapsed: Duration, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![title(view, elapsed), Line::default()];
    let others = 7;
    // If not all nodes fit, the first ones are shown.
    let shown = height.saturating_sub(others).max(1);
    lines.extend(
        view.nodes.iter().take(shown).enumerate().map(|(number, node)| node_line(number, node, view)),
    );
    lines.push(Line::default());
    lines.push(workers(view));
    lines.push(speed(view));
    lines.push(progress(view, width));
    lines.push(last_fault(view));
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn title(view: &View, elapsed: Duration) -> Line {
    let text = format!(
        "   {} nodes, {} worker processes, {:.1} s",
        view.nodes.len(),
        view.workers.len(),
        elapsed.as_secs_f64()
    );
    Line::default().with("redlock demo", Tone::Title).with(text, Tone::Faint)
}

fn node_line(number: usize, node: &Node, view: &View) -> Line {
    let (mark, state, tone) = match node.condition {
        Condition::Up => ("●", "up", Tone::Good),
        Condition::Killed => ("✗", "killed", Tone::Bad),
        Condition::Paused => ("‖", "paused", Tone::Warning),
    };
    let line = Line::default()
        .with(format!("{:<LABEL$}", format!("  node {number}")), Tone::Plain)
        .with(format!("{mark} {state:<8}"), tone);
    match seen(node, view.workers.len()) {
        Some(seen) => line.with(seen, Tone::Warning),
        None => line.with(node.name.as_str(), Tone::Faint),
    }
}

/// The reports of the workers' clients about a node; `None` while all are connected.
fn seen(node: &Node, workers: usize) -> Option<String> {
    let reasons: BTreeSet<&str> = node.lost_by.values().map(String::as_str).collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let lost = node.lost_by.len();
    (lost > 0).then(|| format!("{lost} of {workers} workers: {}", reasons.join(", ")))
}

fn workers(view: &View) -> Line {
    let mut line = Line::default().with(format!("{:<LABEL$}", "  lock"), Tone::Plain);
    line = line.with("[", Tone::Faint);
    for doing in &view.workers {
        line = match doing {
            Doing::Starting => line.with(" ", Tone::Faint),
            Doing::Waiting => line.with("·", Tone::Faint),
            Doing::Holding => line.with("■", Tone::Good),
        };
    }
    line = line.with("] ", Tone::Faint);
    let holders: Vec<String> = view
        .workers
        .iter()
        .enumerate()
        .filter(|(_, doing)| **doing == Doing::Holding)
        .map(|(number, _)| number.to_string())
        .collect();
    match holders.as_slice() {
        [] => line.with("nobody holds it", Tone::Faint),
        [one] => line.with(format!("worker {one} holds it"), Tone::Plain),
        many => line.with(format!("workers {} hold it", many.join(", ")), Tone::Bad),
    }
}

fn speed(view: &View) -> Line {
    // The last slot is incomplete.
    let full = &view.rate[..view.rate.len().saturating_sub(1)];
    let most = full.iter().copied().max().unwrap_or(0).max(1);
    let sparks: String = full[full.len().saturating_sub(SPARKS)..]
        .iter()
        .map(|count| BARS[(count * BARS.len() / most).clamp(1, BARS.len()) - 1])
        .collect();
    let last = &full[full.len().saturating_sub(RATE_SLOTS)..];
    let seconds = SLOT.as_secs_f64() * last.len().max(1) as f64;
    let rate = last.iter().sum::<usize>() as f64 / seconds;
    Line::default()
        .with(format!("{:<LABEL$}", "  speed"), Tone::Plain)
        .with(format!("{sparks:>SPARKS$}"), Tone::Good)
        .with(format!("  {rate:.0} sections/s"), Tone::Plain)
}

fn progress(view: &View, width: usize) -> Line {
    let count = format!(" {} of {} sections", view.done, view.wanted);
    let cells = BAR_CELLS.min(width.saturating_sub(LABEL + count.chars().count()));
    let full = (cells * view.done / view.wanted.max(1)).min(cells);
    Line::default()
        .with(format!("{:<LABEL$}", "  done"), Tone::Plain)
        .with("█".repeat(full), Tone::Good)
        .with("░".repeat(cells - full), Tone::Faint)
        .with(count, Tone::Plain)
}

fn last_fault(view: &View) -> Line {
    let label = Line::default().with(format!("{:<LABEL$}", "  last"), Tone::Plain);
    match view.faults.last() {
        Some(fault) => label.with(describe(fault), Tone::Plain),
        None => label.with(format!("waiting for {}", view.awaited), Tone::Faint),
    }
}

/// A fault as a line of text.
pub(super) fn describe(fault: &Fault) -> String {
    let Fault { node, what, at } = fault;
    format!("{}  node {node} {}", seconds(*at), what.as_done())
}

pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

impl Line {
    fn with(mut self, text: impl Into<String>, tone: Tone) -> Self {
        self.0.push(Span { text: text.into(), tone });
        self
    }

    fn cut(self, width: usize) -> Self {
        let mut left = width;
        let cut = |span: Span| {
            let text: String = span.text.chars().take(left).collect();
            left -= text.chars().count();
            Span { text, tone: span.tone }
        };
        Self(self.0.into_iter().map(cut).collect())
    }
}

#[cfg(test)]
mod tests {
    use redlock_testing::{Data, Nemesis};

    use super::*;
    use crate::chaos::event::What;
    use crate::demo::view::tests::{acquire, frame as given, hit, log, say};
    use crate::lost::Lost;

    fn busy() -> View {
        let mut log = log(8);
        (0..8).for_each(|worker| say(&mut log, worker, 0, What::Ready));
        for (read, at) in (0..50).zip((0..).step_by(10)) {
            acquire(&mut log, 1, at, at + 900);
            say(&mut log, 1, at + 5, What::Counted { read });
            say(&mut log, 1, at + 6, What::Released);
        }
        acquire(&mut log, 5, 1000, 2000);
        hit(&mut log, 2, Nemesis::Kill { data: Data::Kept }, 1_234_000_000, None);
        say(&mut log, 1, 1300, What::Nodes { lost: vec![Lost { node: 2, reason: "unreachable".into() }] });
        View::of(&log, &given(100))
    }

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.0.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn it_tells_who_holds_the_lock_and_what_happened_to_whom() {
        let text = text(&frame(&busy(), Duration::from_secs(2), 100, 24)).join("\n");
        for wanted in [
            "node 2  ✗ killed",
            "1 of 8 workers: unreachable",
            "[·····■··] worker 5 holds it",
            "50 of 100 sections",
            "1.23 s  node 2 killed",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in:\n{text}");
        }
    }

    #[test]
    fn it_fits_into_every_terminal() {
        for (width, height) in [(0, 0), (1, 1), (20, 5), (59, 12), (300, 80)] {
            for view in [busy(), View::of(&log(1), &given(1))] {
                let lines = text(&frame(&view, Duration::ZERO, width, height));
                assert!(lines.len() <= height, "{lines:#?}");
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
            }
        }
    }
}
