//! Tells how the run goes on: a line that is drawn over itself on a terminal, and a line for each fault.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::arena;
use super::log::Log;
use super::plan::{Act, Planned};
use crate::clock;
use crate::report::Report;

/// Between two looks of whoever watches a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Between two lines elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Clears what is right of the cursor.
const CLEAR: &str = "\x1b[K";

/// Everything goes to stderr; stdout is for the verdict.
#[derive(Debug)]
pub(super) struct Show {
    style: Style,
    shown_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Quiet,
    Lines,
    Terminal,
}

impl Show {
    pub(super) fn new(report: Report) -> Self {
        let style = match report {
            Report::Quiet => Style::Quiet,
            Report::Speaking if io::stderr().is_terminal() => Style::Terminal,
            Report::Speaking => Style::Lines,
        };
        Self { style, shown_at: 0 }
    }

    pub(super) fn tick(&mut self, log: &Log, elapsed: Duration, duration: Duration) {
        let interval = match self.style {
            Style::Quiet => return,
            Style::Lines => LINE_INTERVAL,
            Style::Terminal => REDRAW_INTERVAL,
        };
        if clock::since(self.shown_at) < interval {
            return;
        }
        self.shown_at = clock::now();
        let broken = log.hits.iter().filter(|hit| hit.healed_at.is_none()).count();
        let line = format!(
            "{:>6.1} of {} s  {} sections, {} faults, {broken} of them now",
            elapsed.as_secs_f64(),
            duration.as_secs(),
            log.sections(),
            log.hits.len(),
        );
        match self.style {
            Style::Quiet => {}
            Style::Lines => say(&format!("{line}\n")),
            Style::Terminal => say(&format!("\r{line}{CLEAR}")),
        }
    }

    pub(super) fn hit(&mut self, planned: &Planned, since: u64) {
        self.line(&arena::describe(&planned.act), since);
    }

    pub(super) fn healed(&mut self, act: &Act, since: u64) {
        let whom = match act {
            Act::Node { node, .. } => format!("node {node}"),
            Act::Client { client, .. } => format!("client {client}"),
        };
        self.line(&format!("{whom} healed"), since);
    }

    pub(super) fn end(&mut self) {
        if self.style == Style::Terminal {
            say(&format!("\r{CLEAR}"));
        }
    }

    fn line(&mut self, text: &str, since: u64) {
        let at = Duration::from_nanos(since).as_secs_f64();
        match self.style {
            Style::Quiet => {}
            Style::Lines => say(&format!("{at:>6.1}  {text}\n")),
            Style::Terminal => say(&format!("\r{at:>6.1}  {text}{CLEAR}\n")),
        }
    }
}

fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    // With stderr closed there is nobody to tell.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
