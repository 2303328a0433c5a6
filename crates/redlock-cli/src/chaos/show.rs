//! Shows the progress of a run: one line that is redrawn on a terminal, and a line for each fault.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::arena;
use super::log::Log;
use super::stage;
use crate::clock;
use crate::report::Report;

/// Time between two updates on a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two lines elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Clears the line right of the cursor.
const CLEAR: &str = "\x1b[K";

/// Shows the progress on stderr; stdout is for the verdict.
#[derive(Debug)]
pub(super) struct Show {
    style: Style,
    shown_at: u64,
    duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Quiet,
    Lines,
    Terminal,
}

impl Show {
    /// `duration` is the duration of the run.
    pub(super) fn new(report: Report, duration: Duration) -> Self {
        let style = match report {
            Report::Quiet => Style::Quiet,
            Report::Speaking if io::stderr().is_terminal() => Style::Terminal,
            Report::Speaking => Style::Lines,
        };
        Self { style, shown_at: 0, duration }
    }

    fn line(&mut self, text: &str, log: &Log) {
        let at = clock::since(log.began_at).as_secs_f64();
        match self.style {
            Style::Quiet => {}
            Style::Lines => say(&format!("{at:>6.1}  {text}\n")),
            Style::Terminal => say(&format!("\r{at:>6.1}  {text}{CLEAR}\n")),
        }
    }
}

impl stage::Show for Show {
    fn tick(&mut self, log: &Log) {
        // The verdict covers the time after the last fault.
        if log.began_at == 0 || log.healed_at > 0 {
            return;
        }
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
            clock::since(log.began_at).as_secs_f64(),
            self.duration.as_secs(),
            log.sections(),
            log.hits.len(),
        );
        match self.style {
            Style::Quiet => {}
            Style::Lines => say(&format!("{line}\n")),
            Style::Terminal => say(&format!("\r{line}{CLEAR}")),
        }
    }

    fn hit(&mut self, log: &Log, hit: usize) {
        let hit = &log.hits[hit];
        self.line(&arena::describe(log, &hit.act, hit.name), log);
    }

    fn healed(&mut self, log: &Log, hit: usize) {
        let hit = &log.hits[hit];
        self.line(&format!("{} healed ({})", arena::victim(log, &hit.act), hit.name), log);
    }

    fn end(&mut self, _: &Log) {
        if self.style == Style::Terminal {
            say(&format!("\r{CLEAR}"));
        }
    }
}

fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    // With stderr closed nothing is shown.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
