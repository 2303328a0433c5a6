//! The measured figures and their bars.

use std::fmt::{self, Display};

use redlock_quorum::testing::history::Verdict;

/// The report: prints each line, and counts missed bars.
#[derive(Default)]
pub(crate) struct Report {
    missed: usize,
}

/// The bound of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Report {
    pub(crate) fn heading(text: &impl Display) {
        println!("\n{text}");
    }

    /// Prints a figure without a bar.
    pub(crate) fn note(what: &str, value: &impl Display) {
        println!("  {what:<58} {value:>14}");
    }

    pub(crate) fn figure(&mut self, what: &str, value: f64, unit: &str, bar: Bar) {
        let met = match bar {
            Bar::AtLeast(bar) => value >= bar,
            Bar::AtMost(bar) => value <= bar,
            Bar::Below(bar) => value < bar,
        };
        let text = format!("{value:.2} {unit}");
        println!("  {what:<58} {text:>14}   {bar} {unit}: {}", self.mark(met));
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict) {
        let mark = self.mark(verdict.is_ok());
        println!("  {:<58} {mark}", verdict.to_string());
    }

    pub(crate) fn holds(&mut self, what: &str, holds: bool) {
        let mark = self.mark(holds);
        println!("  {what:<58} {mark}");
    }

    pub(crate) fn passes(&self) -> bool {
        self.missed == 0
    }

    fn mark(&mut self, met: bool) -> &'static str {
        self.missed += usize::from(!met);
        if met { "ok" } else { "MISSED" }
    }
}

impl Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, "at least {bar:.2}"),
            Self::AtMost(bar) => write!(f, "at most {bar:.2}"),
            Self::Below(bar) => write!(f, "below {bar:.2}"),
        }
    }
}
