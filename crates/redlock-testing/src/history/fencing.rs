//! Checks that the fencing tokens of one resource are unique and grow.

use super::section::{Section, Sharing};
use super::verdict::{Order, Violation};

/// The violations in the tokens of one resource: at most two for each section.
pub(super) fn check(sections: &[&Section]) -> Vec<Violation> {
    let mut tokens: Vec<(u64, &Section)> =
        sections.iter().filter_map(|section| Some((section.fencing_token?, *section))).collect();
    tokens.sort_by_key(|(token, section)| (*token, section.acquired_at));

    let mut violations: Vec<Violation> = tokens
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| Violation::TokenReused { first: pair[0].1.clone(), second: pair[1].1.clone() })
        .collect();

    let past = Past::of(&tokens);
    for later in sections {
        let above = later.fencing_token.and_then(|token| past.above(token, later));
        violations.extend(above.map(|(order, earlier)| Violation::TokenNotGrown {
            earlier: earlier.clone(),
            later: (*later).clone(),
            order,
        }));
    }
    violations
}

/// The highest token up to an instant, for each sense in which one section can be before another.
struct Past<'a> {
    acquired: Highest<'a>,
    ended: Highest<'a>,
    /// As `ended`, but of exclusive sections only. Readers are compared with these alone: a reader may be granted while
    /// another reader holds, so the order of two readers' windows says nothing about the order of their grants.
    ended_exclusive: Highest<'a>,
}

impl<'a> Past<'a> {
    fn of(tokens: &[(u64, &'a Section)]) -> Self {
        let held = || tokens.iter().filter(|(_, section)| !section.window().is_empty());
        let ended = |(token, section): &(u64, &'a Section)| (section.window().end, *token, *section);
        Self {
            acquired: Highest::new(
                tokens.iter().map(|(token, section)| (section.acquired_at, *token, *section)),
            ),
            ended: Highest::new(held().map(ended)),
            ended_exclusive: Highest::new(
                held().filter(|(_, section)| section.sharing == Sharing::Exclusive).map(ended),
            ),
        }
    }

    /// A section that was before `later` and has a larger token. An equal token is reported as reused instead.
    fn above(&self, token: u64, later: &Section) -> Option<(Order, &'a Section)> {
        // Strictly before, because of two events at one instant neither is the first.
        let requested = later.requested_at.checked_sub(1).and_then(|before| self.acquired.until(before));
        if let Some((_, earlier)) = requested.filter(|(highest, _)| *highest > token) {
            return Some((Order::Requested, earlier));
        }
        let window = later.window();
        if window.is_empty() {
            return None;
        }
        let ended = match later.sharing {
            Sharing::Exclusive => self.ended.until(window.start),
            Sharing::Shared => self.ended_exclusive.until(window.start),
        };
        ended.filter(|(highest, _)| *highest > token).map(|(_, earlier)| (Order::Ended, earlier))
    }
}

/// Instants in ascending order, each with the highest token up to it.
struct Highest<'a>(Vec<(u64, u64, &'a Section)>);

impl<'a> Highest<'a> {
    fn new(events: impl Iterator<Item = (u64, u64, &'a Section)>) -> Self {
        let mut events: Vec<_> = events.collect();
        events.sort_by_key(|(instant, token, _)| (*instant, *token));
        for index in 1..events.len() {
            let (_, token, section) = events[index - 1];
            if token > events[index].1 {
                events[index] = (events[index].0, token, section);
            }
        }
        Self(events)
    }

    fn until(&self, instant: u64) -> Option<(u64, &'a Section)> {
        let count = self.0.partition_point(|(at, _, _)| *at <= instant);
        count.checked_sub(1).map(|last| (self.0[last].1, self.0[last].2))
    }
}
