//! Shows the progress of the demo: a picture that is redrawn in place on a terminal, lines of text elsewhere.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{cursor, queue, terminal};

use super::picture::{self, Line, Tone};
use super::view::{Frame, View};
use crate::chaos::log::Log;
use crate::chaos::stage;
use crate::clock;

/// Time between two lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// Size of a terminal that does not report one.
const SIZE: (u16, u16) = (80, 24);

/// Where progress and the verdict's text go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The width of the terminal; `None` if the stream is no terminal.
    pub(super) fn width(self) -> Option<usize> {
        self.is_terminal().then(|| usize::from(terminal::size().unwrap_or(SIZE).0))
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Show {
    stream: Stream,
    style: Style,
    shown_at: Option<u64>,
    frame: Frame,
}

#[derive(Debug)]
enum Style {
    /// Shows nothing.
    Quiet,
    Lines,
    Picture {
        paint: Paint,
        /// Number of lines of the frame above the cursor.
        drawn: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Colours,
    /// Without colours, because `NO_COLOR` is set.
    Plain,
}

impl Show {
    pub(super) fn quiet(frame: Frame) -> Self {
        Self { stream: Stream::Stderr, style: Style::Quiet, shown_at: None, frame }
    }

    /// Draws a picture if the stream is a capable terminal, otherwise lines.
    pub(super) fn on(stream: Stream, frame: Frame) -> Self {
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let style = if stream.is_terminal() && !is_dumb {
            let asked = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            Style::Picture { paint: if asked { Paint::Plain } else { Paint::Colours }, drawn: 0 }
        } else {
            Style::Lines
        };
        Self { stream, style, shown_at: None, frame }
    }

    /// Takes the addresses of the nodes once they have started.
    pub(super) fn handle_addresses(&mut self, addresses: Vec<String>) {
        self.frame.addresses = addresses;
    }

    fn restore(&mut self) {
        if let Style::Picture { drawn, .. } = &mut self.style
            && std::mem::take(drawn) > 0
        {
            let mut out = self.out();
            let _ = queue!(out, ResetColor, EndSynchronizedUpdate, cursor::Show);
            let _ = out.flush();
        }
    }

    fn out(&self) -> Box<dyn Write> {
        match self.stream {
            Stream::Stdout => Box::new(io::stdout().lock()),
            Stream::Stderr => Box::new(io::stderr().lock()),
        }
    }
}

impl stage::Show for Show {
    fn tick(&mut self, log: &Log) {
        let interval = match self.style {
            Style::Quiet => return,
            Style::Lines => LINE_INTERVAL,
            Style::Picture { .. } => FRAME_INTERVAL,
        };
        if self.shown_at.is_some_and(|shown_at| clock::since(shown_at) < interval) {
            return;
        }
        self.shown_at = Some(clock::now());
        let view = View::of(log, &self.frame);
        let elapsed = clock::since(self.frame.began_at);
        let mut out = self.out();
        // A closed stream must not end the demo.
        let _ = match &mut self.style {
            Style::Quiet => Ok(()),
            Style::Lines => write_line(&mut out, &view, elapsed),
            Style::Picture { paint, drawn } => {
                let (width, height) = terminal::size().unwrap_or(SIZE);
                // The last column and line stay free, because writing there would scroll.
                let (columns, rows) =
                    (usize::from(width).saturating_sub(1), usize::from(height).saturating_sub(1));
                let lines = picture::frame(&view, elapsed, columns, rows);
                draw(&mut out, &lines, *paint, drawn)
            }
        };
    }

    fn hit(&mut self, log: &Log, _: usize) {
        match self.style {
            Style::Quiet => {}
            Style::Lines => {
                let view = View::of(log, &self.frame);
                view.faults
                    .last()
                    .into_iter()
                    .for_each(|fault| drop(writeln!(self.out(), "{}", picture::describe(fault))));
            }
            Style::Picture { .. } => self.shown_at = None,
        }
    }

    fn healed(&mut self, log: &Log, hit: usize) {
        self.hit(log, hit);
    }

    /// Draws the last picture, and restores the terminal.
    fn end(&mut self, log: &Log) {
        if let Style::Picture { .. } = self.style {
            self.shown_at = None;
            self.tick(log);
        }
        self.restore();
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.restore();
    }
}

fn write_line(out: &mut impl Write, view: &View, elapsed: Duration) -> io::Result<()> {
    let at = picture::seconds(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    if view.are_all_ready() {
        writeln!(out, "{at}  {} of {} sections", view.done, view.wanted)
    } else {
        writeln!(out, "{at}  waiting for {}", view.awaited)
    }
}

/// Draws over the previous frame. The cursor stays below the last line, so that anything printed next, even by a panic,
/// stands under the picture.
fn draw(out: &mut impl Write, lines: &[Line], paint: Paint, drawn: &mut u16) -> io::Result<()> {
    queue!(out, BeginSynchronizedUpdate, cursor::Hide, cursor::MoveToColumn(0))?;
    if *drawn > 0 {
        queue!(out, cursor::MoveUp(*drawn))?;
    }
    for line in lines {
        for span in &line.0 {
            match paint {
                Paint::Plain => queue!(out, Print(&span.text))?,
                Paint::Colours => draw_toned(out, &span.text, span.tone)?,
            }
        }
        queue!(out, Clear(ClearType::UntilNewLine), Print("\r\n"))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
    *drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    out.flush()
}

fn draw_toned(out: &mut impl Write, text: &str, tone: Tone) -> io::Result<()> {
    match tone {
        Tone::Plain => return queue!(out, Print(text)),
        Tone::Title => queue!(out, SetAttribute(Attribute::Bold))?,
        Tone::Faint => queue!(out, SetForegroundColor(Color::DarkGrey))?,
        Tone::Good => queue!(out, SetForegroundColor(Color::Green))?,
        Tone::Bad => queue!(out, SetForegroundColor(Color::Red))?,
        Tone::Warning => queue!(out, SetForegroundColor(Color::Yellow))?,
    }
    queue!(out, Print(text), SetAttribute(Attribute::Reset))
}
