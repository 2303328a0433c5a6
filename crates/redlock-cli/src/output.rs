//! Results on stdout: coloured tables on a terminal, tab-separated lines elsewhere, JSON on request.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use crossterm::style::Stylize as _;
use crossterm::terminal;

pub(crate) use crate::durations::{millis, setting, short};
use crate::failure::Failure;

/// Width of a terminal that does not report one.
const WIDTH: usize = 80;
/// Blanks between two columns.
const GAP: usize = 2;
/// Indentation of continued lines.
const INDENT: usize = 4;

/// The kind of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Terminal {
        width: usize,
    },
    /// A file or another program: no decoration.
    Pipe,
}

/// The meaning of a piece of text, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// Unimportant as long as all is well.
    Faint,
    Strong,
    Good,
    Doubtful,
    Bad,
}

impl Medium {
    pub(crate) fn of_stdout() -> Self {
        Self::of(&io::stdout())
    }

    pub(crate) fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        if !stream.is_terminal() {
            return Self::Pipe;
        }
        Self::Terminal { width: width(terminal::size().map_or(0, |(columns, _)| columns)) }
    }

    pub(crate) fn paint(self, text: &str, tone: Tone) -> String {
        match (self, tone) {
            (Self::Pipe, _) | (Self::Terminal { .. }, Tone::Plain) => text.to_owned(),
            (Self::Terminal { .. }, Tone::Faint) => text.dim().to_string(),
            (Self::Terminal { .. }, Tone::Strong) => text.bold().to_string(),
            (Self::Terminal { .. }, Tone::Good) => text.green().to_string(),
            (Self::Terminal { .. }, Tone::Doubtful) => text.yellow().to_string(),
            (Self::Terminal { .. }, Tone::Bad) => text.red().to_string(),
        }
    }

    /// A paragraph of wrapped lines behind a coloured `word`.
    pub(crate) fn paragraph(self, word: &str, tone: Tone, text: &str) -> String {
        let filled = self.fill(&format!("{word}: "), text);
        let rest = filled.strip_prefix(word).unwrap_or_default();
        format!("{}{rest}", self.paint(word, tone))
    }

    /// Text of several lines, each with its own indentation, the first behind `head`.
    pub(crate) fn lines(self, head: &str, text: &str) -> String {
        let filled = text.lines().enumerate().map(|(i, line)| {
            let unindented = line.trim_start();
            let indent = &line[..line.len() - unindented.len()];
            self.fill(if i == 0 { head } else { indent }, unindented)
        });
        filled.collect::<Vec<_>>().join("\n")
    }

    /// Text wrapped to the width, the first line behind `head` and all others indented.
    pub(crate) fn fill(self, head: &str, text: &str) -> String {
        let Self::Terminal { width } = self else { return format!("{head}{text}") };
        let (mut filled, mut column) = (head.to_owned(), head.chars().count());
        for (i, word) in text.split(' ').enumerate() {
            let length = word.chars().count();
            if i > 0 && column + 1 + length > width {
                let _ = write!(filled, "\n{:INDENT$}", "");
                column = INDENT;
            } else if i > 0 {
                filled.push(' ');
                column += 1;
            }
            filled.push_str(word);
            column += length;
        }
        filled
    }
}

/// A terminal whose size was never set reports 0, as under `script` or `docker run -t` without a client.
fn width(columns: u16) -> usize {
    if columns == 0 { WIDTH } else { usize::from(columns) }
}

/// Prints a result. A reader that closes the pipe early is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Failure::System { action: "print the result", source }),
    }
}

/// Prints one JSON value, indented because people read it as well.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// A table with a header.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    /// Renders the table. Where the table is wider than the terminal, the remaining columns follow below, with the
    /// first column repeated.
    pub(crate) fn render(&self, medium: Medium) -> String {
        let Medium::Terminal { width } = medium else { return self.as_lines() };
        let widths: Vec<usize> = (0..self.header.len()).map(|column| self.width(column)).collect();
        let blocks = blocks(&widths, width);
        // As few blocks as possible, all about equally wide.
        let narrowest = (1..width).find(|narrower| self::blocks(&widths, *narrower).len() == blocks.len());
        let blocks = narrowest.map_or(blocks, |narrower| self::blocks(&widths, narrower));
        let mut text = String::new();
        for (i, columns) in blocks.iter().enumerate() {
            if i > 0 {
                text.push('\n');
            }
            self.write_block(&mut text, medium, columns, &widths);
        }
        text
    }

    fn write_block(&self, text: &mut String, medium: Medium, columns: &[usize], widths: &[usize]) {
        let header: Vec<_> = self.header.iter().map(|name| ((*name).to_owned(), Tone::Strong)).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            for (i, column) in columns.iter().enumerate() {
                let (cell, tone) = &row[*column];
                text.push_str(&medium.paint(cell, *tone));
                if i + 1 < columns.len() {
                    let padding = widths[*column] - cell.chars().count() + GAP;
                    let _ = write!(text, "{:padding$}", "");
                }
            }
            text.push('\n');
        }
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].0.as_str());
        cells.chain([self.header[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// Tab-separated, for `cut` and `awk`.
    fn as_lines(&self) -> String {
        let mut text = self.header.join("\t") + "\n";
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|(cell, _)| cell.replace(['\t', '\n'], " ")).collect();
            let _ = writeln!(text, "{}", cells.join("\t"));
        }
        text
    }
}

/// The columns of each block. Every block begins with the first column.
fn blocks(widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let first = widths.first().copied().unwrap_or(0);
    let (mut blocks, mut used) = (vec![vec![0]], first);
    for (column, needed) in widths.iter().enumerate().skip(1) {
        let is_empty = blocks.last().is_none_or(|block| block.len() == 1);
        if !is_empty && used + GAP + needed > width {
            blocks.push(vec![0]);
            used = first;
        }
        used += GAP + needed;
        if let Some(block) = blocks.last_mut() {
            block.push(column);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn table() -> Table {
        let mut table = Table::new(&["NODE", "ROLE", "CLOCK"]);
        for node in ["a:1", "bbbbb:22"] {
            let cells = [node, "master", "+1 ms"].map(|cell| (cell.to_owned(), Tone::Plain));
            table.row(cells.to_vec());
        }
        table
    }

    /// Removes the colours from a text.
    fn bare(text: &str) -> String {
        let mut bare = String::new();
        let mut parts = text.split("\u{1b}[");
        bare.push_str(parts.next().unwrap_or_default());
        parts.for_each(|part| bare.push_str(part.split_once('m').map_or("", |(_, rest)| rest)));
        bare
    }

    #[test]
    fn a_table_is_aligned_on_a_terminal_and_tab_separated_elsewhere() {
        let wide = table().render(Medium::Terminal { width: 80 });
        assert_eq!(
            bare(&wide),
            "NODE      ROLE    CLOCK\na:1       master  +1 ms\nbbbbb:22  master  +1 ms\n"
        );
        assert!(wide.contains('\u{1b}'), "with a header that stands out");
        assert_eq!(
            table().render(Medium::Pipe),
            "NODE\tROLE\tCLOCK\na:1\tmaster\t+1 ms\nbbbbb:22\tmaster\t+1 ms\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_goes_on_below() {
        let narrow = bare(&table().render(Medium::Terminal { width: 20 }));
        let expected = "NODE      ROLE\na:1       master\nbbbbb:22  master\n\n\
                        NODE      CLOCK\na:1       +1 ms\nbbbbb:22  +1 ms\n";
        assert_eq!(narrow, expected);
        // On a terminal narrower than any column everything is still shown.
        assert_eq!(bare(&table().render(Medium::Terminal { width: 1 })), expected);
    }

    #[test]
    fn a_terminal_without_a_size_has_a_usual_one() {
        assert_eq!((width(0), width(1), width(132)), (80, 1, 132));
    }

    #[test]
    fn text_is_filled_on_a_terminal_alone() {
        let filled = Medium::Terminal { width: 14 }.fill("- ", "one two three four");
        assert_eq!(filled, "- one two\n    three four");
        assert_eq!(Medium::Pipe.fill("- ", "one two three four"), "- one two three four");
        let lines = Medium::Terminal { width: 14 }.lines("it: ", "one two three\n  four five six\nseven");
        assert_eq!(lines, "it: one two\n    three\n  four five\n    six\nseven");
        assert_eq!(Medium::Pipe.lines("it: ", "one\n  two"), "it: one\n  two");
    }

    #[test]
    fn durations_have_a_unit_that_suits_them() {
        let table = [
            (Duration::from_nanos(180_400), "180 µs"),
            (Duration::from_micros(1_234), "1.23 ms"),
            (Duration::from_micros(12_340), "12.3 ms"),
            (Duration::from_micros(123_400), "123 ms"),
            (Duration::from_millis(18_240), "18.2 s"),
            (Duration::from_millis(3_723_900), "1h 2m 3s"),
        ];
        for (duration, text) in table {
            assert_eq!(short(duration), text);
        }
    }
}
