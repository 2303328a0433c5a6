//! A progress bar on the terminal while the load runs.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::load::Load;
use crate::output::{setting, short};
use crate::report::Report;

const FRAME_INTERVAL: Duration = Duration::from_millis(100);
const BAR_CHARS: usize = 30;
/// Moves to the first column and clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// Returns when the load's time is over. Cancel safe.
pub(super) async fn until_over(load: &Load, report: Report) {
    let is_shown = report == Report::Speaking && io::stderr().is_terminal();
    let bar = is_shown.then(|| Bar);
    let mut frames = interval(FRAME_INTERVAL);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(left) = load.duration.checked_sub(load.elapsed()).filter(|left| !left.is_zero()) {
        if let Some(bar) = &bar {
            bar.draw(load);
        }
        tokio::select! {
            _ = frames.tick() => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}

/// The progress bar. Dropped, it clears itself.
struct Bar;

impl Bar {
    fn draw(&self, load: &Load) {
        let line = line(load.elapsed(), load.duration, load.locks());
        // With stderr closed there is no bar.
        let _ = write!(io::stderr(), "{CLEAR}{line}");
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let _ = write!(io::stderr(), "{CLEAR}");
    }
}

fn line(elapsed: Duration, duration: Duration, locks: u64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a few dozen characters"
    )]
    let done = ((elapsed.as_secs_f64() / duration.as_secs_f64()).min(1.0) * BAR_CHARS as f64) as usize;
    let bar = "=".repeat(done) + &" ".repeat(BAR_CHARS - done);
    format!("[{bar}] {} of {}, {locks} locks", short(elapsed), setting(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_to_its_end_and_no_further() {
        let seconds = Duration::from_secs;
        assert_eq!(
            line(seconds(5), seconds(10), 7),
            format!("[{}{}] 5.0 s of 10s, 7 locks", "=".repeat(15), " ".repeat(15))
        );
        assert!(line(seconds(20), seconds(10), 7).starts_with(&format!("[{}]", "=".repeat(30))));
    }
}
