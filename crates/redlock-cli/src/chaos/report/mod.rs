//! The reports on a run: a text, a JSON object, and a page with a picture.

mod chart;
mod json;
mod lanes;
mod page;
mod scale;
mod text;
mod timeline;

use std::fs;
use std::io;
use std::path::Path;

use super::Run;
use super::judge::Judgement;
use super::log::Log;

/// Everything that goes into a report.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) run: &'a Run,
    pub(super) log: &'a Log,
    pub(super) judgement: &'a Judgement,
}

impl Facts<'_> {
    /// The report for a terminal.
    pub(super) fn text(self) -> String {
        text::of(self)
    }

    /// The contents of report.json.
    pub(super) fn json(self) -> serde_json::Value {
        json::of(self)
    }

    /// Writes report.html and report.json.
    pub(super) fn write(self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join("report.json"), format!("{:#}\n", self.json()))?;
        fs::write(directory.join("report.html"), page::of(self))
    }

    /// Seconds from the beginning of the run to `time`.
    fn seconds(self, time: u64) -> f64 {
        let since = i128::from(time) - i128::from(self.log.began_at);
        since as f64 / 1e9
    }
}
