//! Limits the log lines about a node's connection: each new event is logged at once, repetitions once with their
//! number.

use std::time::Duration;

use crate::error::NodeFailure;
use crate::types::Moment;

/// The number of reasons that are remembered as logged. Further reasons of a node are treated as repetitions.
const REASONS_MAX: usize = 8;
/// The time after which a repetition is logged, with the number of those that were not. The time doubles after each
/// such line, up to `LONGEST`.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The lines that were logged since the node was last steadily up.
#[derive(Debug, Default)]
pub(super) struct ConnectionLog {
    told: Vec<NodeFailure>,
    told_up: bool,
    last: Option<LoggedState>,
    /// The number of failures that were not logged.
    untold: u64,
    /// When the next repetition is logged, and how long after the previous one.
    next: Option<(Moment, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoggedState {
    Up,
    Down,
}

/// Whether to write a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLine {
    /// `repeated` is the number of failures since the last line that were not logged, if any.
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

    /// The node can be used.
    pub(super) fn handle_up(&mut self) -> LogLine {
        if self.told_up {
            return LogLine::Skip;
        }
        self.told_up = true;
        self.line(LoggedState::Up)
    }

    /// The connection has lasted long enough to count as steady.
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

    /// The bug: 3,405 lines in 5 s.
    #[test]
    fn a_node_that_comes_and_goes_is_few_lines_however_often_it_does() {
        let mut connection_log = ConnectionLog::default();
        let (mut lines, mut told) = (0, 0);
        for i in 0..10_000 {
            // The reasons alternate, and one of them has a new text each time.
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
