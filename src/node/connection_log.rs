//! What is said of a node's connection in the log: news at once, repetitions once with their number.

use std::time::Duration;

use crate::error::NodeFailure;
use crate::types::Moment;

/// How many reasons are known to have been told. A node that has more of them in turn has them told as repetitions.
const REASONS_MAX: usize = 8;
/// After so long a repetition is told, with the number of those that were not; then after twice as long, and so on.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Since the node was last up for good.
#[derive(Debug, Default)]
pub(super) struct ConnectionLog {
    told: Vec<NodeFailure>,
    told_up: bool,
    last: Option<LoggedState>,
    /// Failures that were not told.
    untold: u64,
    /// When a repetition is told, and how long after the one before.
    next: Option<(Moment, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoggedState {
    Up,
    Down,
}

/// What to write, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLine {
    /// With how many failures there were since the last line that were not told, if there were any.
    Write {
        repeated: Option<u64>,
    },
    Skip,
}

impl ConnectionLog {
    /// The node cannot be used, or its connection is lost.
    pub(super) fn handle_failure(&mut self, failure: &NodeFailure, now: Moment) -> LogLine {
        let is_news = !self.told.contains(failure) && self.told.len() < REASONS_MAX;
        let is_time = self.next.is_some_and(|(at, _)| at <= now);
        if is_news {
            self.told.push(failure.clone());
        }
        if self.next.is_none() || is_time {
            let after = self.next.map_or(FIRST, |(_, after)| (after * 2).min(LONGEST));
            self.next = Some((now + after, after));
        }
        if is_news || is_time {
            return self.line(LoggedState::Down);
        }
        self.untold += 1;
        LogLine::Skip
    }

    /// It can be used.
    pub(super) fn handle_up(&mut self) -> LogLine {
        if self.told_up {
            return LogLine::Skip;
        }
        self.told_up = true;
        self.line(LoggedState::Up)
    }

    /// It could be used for long enough to believe that it stays so.
    pub(super) fn handle_steady(&mut self) -> LogLine {
        let is_news = self.untold > 0 || self.last == Some(LoggedState::Down);
        let line = if is_news { self.line(LoggedState::Up) } else { LogLine::Skip };
        *self = Self::default();
        line
    }

    fn line(&mut self, said: LoggedState) -> LogLine {
        self.last = Some(said);
        let untold = std::mem::take(&mut self.untold);
        LogLine::Write { repeated: (untold > 0).then_some(untold) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(detail: &str) -> NodeFailure {
        NodeFailure::ConnectionLost { detail: detail.into() }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    const TOLD: LogLine = LogLine::Write { repeated: None };

    #[test]
    fn an_outage_is_two_lines() {
        let mut connection_log = ConnectionLog::default();
        assert_eq!(connection_log.handle_up(), TOLD);
        assert_eq!(connection_log.handle_steady(), LogLine::Skip);
        assert_eq!(connection_log.handle_failure(&failure("closed"), at(10)), TOLD);
        assert_eq!(connection_log.handle_failure(&failure("refused"), at(11)), TOLD);
        (12..18).for_each(|second| {
            assert_eq!(connection_log.handle_failure(&failure("refused"), at(second)), LogLine::Skip);
        });
        assert_eq!(connection_log.handle_up(), LogLine::Write { repeated: Some(6) });
        assert_eq!(connection_log.handle_steady(), LogLine::Skip);
        assert_eq!(connection_log.handle_failure(&failure("closed"), at(30)), TOLD, "that is another outage");
    }

    /// 3,405 lines in 5 s.
    #[test]
    fn a_node_that_comes_and_goes_is_few_lines_however_often_it_does() {
        let mut connection_log = ConnectionLog::default();
        let (mut lines, mut told) = (0, 0);
        for i in 0..10_000 {
            // Reasons that alternate, and each time another text.
            for (failure, up) in [(failure("closed"), true), (failure(&format!("number {i}")), false)] {
                let up = if up { connection_log.handle_up() } else { LogLine::Skip };
                for line in [up, connection_log.handle_failure(&failure, at(i / 10))] {
                    if let LogLine::Write { repeated } = line {
                        lines += 1;
                        told += repeated.unwrap_or(0);
                    }
                }
            }
        }
        assert!((10..20).contains(&lines), "{lines} lines in 1,000 s");
        let LogLine::Write { repeated } = connection_log.handle_steady() else {
            panic!("nobody is told that it is up")
        };
        // All lines but one are about a failure.
        assert_eq!(told + repeated.unwrap_or(0) + lines - 1, 20_000);
    }
}
