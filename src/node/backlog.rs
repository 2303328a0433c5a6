//! The backlog: releases that wait to be sent, or to be sent again.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::BATCH_MAX;
use super::releases::Release;
use crate::error::NodeFailure;
use crate::types::Moment;

/// The number of unanswered releases that one node keeps. Above the limit the oldest release is dropped, and its key
/// expires with its TTL. The limit is about 20 MB at 150 bytes each; a client reaches it by dropping more than
/// 100,000 locks while a node is unreachable.
pub(super) const RELEASES_MAX: usize = 131_072;

/// The least time between two commands of the backlog, because a server to which many clients have just reconnected
/// has other work to do. The pace still allows 6,400 releases a second.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// How long a release waits before it is sent for the second time, the third time, and so on. A `SET` from an
/// abandoned connection runs soon after the node resumes, if at all, and its key then lasts at most one pause longer.
const PAUSES: [Duration; LEVELS - 1] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), LONGEST, REFUSED];
const LONGEST: Duration = Duration::from_secs(8);
/// The pause of a release that the node has refused when it was sent alone: the node will refuse it again until an
/// operator acts.
const REFUSED: Duration = Duration::from_secs(60);
const LEVELS: usize = 6;
/// The level at which a release stays while it is only repeated.
const REPEATED: usize = LEVELS - 2;
const LAST: usize = LEVELS - 1;

/// A release in the backlog.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) release: Release,
    /// The level: how often the release was sent, up to `REPEATED`; `LAST` after a refusal.
    level: usize,
    /// The number of keys that one command with this release may carry, unless it carries this release alone. A single
    /// key that our user may not touch makes the server refuse the whole command. Each refusal halves the number, until
    /// the refused release is alone.
    company: usize,
}

impl Waiting {
    /// A release that was sent by itself, or not at all.
    pub(super) fn new(release: Release) -> Self {
        Self { release, level: 0, company: BATCH_MAX }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.company == 1
    }

    /// How many keys the release adds to a command.
    fn keys(&self) -> usize {
        self.release.claim.keys().len()
    }
}

/// The backlog of one node.
#[derive(Default)]
pub(super) struct Backlog {
    /// The releases by the number of times that they were sent. The pause is the same within a level, so the first of
    /// a level is due first.
    levels: [VecDeque<(Moment, Waiting)>; LEVELS],
    len: usize,
    /// When the next command may be sent.
    next: Option<Moment>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a release that has not reached the node.
    pub(super) fn push(&mut self, waiting: Waiting, now: Moment) {
        self.push_at(Waiting { level: 0, ..waiting }, now);
    }

    /// Adds a release that the node has answered and that must be repeated all the same.
    pub(super) fn repeat(&mut self, mut waiting: Waiting, now: Moment) {
        waiting.level = (waiting.level + 1).min(REPEATED);
        self.push_at(waiting, now);
    }

    /// Adds a release that has failed.
    pub(super) fn handle_failure(&mut self, mut waiting: Waiting, failure: &NodeFailure, now: Moment) {
        if let NodeFailure::ConnectionLost { .. } = failure {
            return self.push(waiting, now);
        }
        waiting.release.handle_refusal(now);
        let level = if waiting.is_alone() { LAST } else { (waiting.level + 1).min(REPEATED) };
        let company = (waiting.company / 2).max(1);
        self.push_at(Waiting { level, company, ..waiting }, now);
    }

    fn push_at(&mut self, waiting: Waiting, now: Moment) {
        if self.len == RELEASES_MAX {
            // The oldest release is in the highest level, because it was sent most often.
            let oldest = self.levels.iter_mut().rev().find_map(VecDeque::pop_front);
            self.len -= usize::from(oldest.is_some());
        }
        let level = waiting.level;
        let due = level.checked_sub(1).map_or(now, |pause| now + PAUSES[pause]);
        self.levels[level].push_back((due, waiting));
        self.len += 1;
    }

    /// Makes all releases due on a new connection, because the commands of the old connection run now, if ever.
    pub(super) fn handle_connected(&mut self, now: Moment) {
        let all: Vec<_> = self.levels.iter_mut().flat_map(std::mem::take).collect();
        self.levels[0] = all.into_iter().map(|(_, waiting)| (now, Waiting { level: 0, ..waiting })).collect();
    }

    /// Returns the time until the next command; `None` when there is nothing to send.
    pub(super) fn wait(&self, now: Moment) -> Option<Duration> {
        let due = self.levels.iter().filter_map(|level| level.front()).map(|(due, _)| *due).min()?;
        Some(now.until(self.next.map_or(due, |next| due.max(next))))
    }

    /// Whether a release is due, regardless of the pace.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.levels.iter().filter_map(|level| level.front()).any(|(due, _)| *due <= now)
    }

    /// Takes the releases for the next command; empty when nothing is due. Drops releases that are not needed any
    /// more.
    pub(super) fn take(&mut self, now: Moment) -> Vec<Waiting> {
        let (mut taken, mut keys, mut company) = (Vec::<Waiting>::new(), 0, BATCH_MAX);
        if self.next.is_some_and(|next| now < next) {
            return taken;
        }
        for level in &mut self.levels {
            while let Some((due, waiting)) = level.front()
                && *due <= now
            {
                let needed = waiting.release.is_needed(now);
                if needed {
                    if !taken.is_empty() && company.min(waiting.company) < keys + waiting.keys() {
                        break;
                    }
                    keys += waiting.keys();
                    company = company.min(waiting.company);
                }
                self.len -= 1;
                if let Some((_, waiting)) = level.pop_front()
                    && needed
                {
                    taken.push(waiting);
                }
            }
        }
        if !taken.is_empty() {
            self.next = Some(now + PACE);
        }
        taken
    }

    /// Drops releases whose keys would have expired by now if the node had been reachable all along. Used when the
    /// client is gone.
    pub(super) fn drop_expired(&mut self, now: Moment) {
        for level in &mut self.levels {
            level.retain(|(_, waiting)| now < waiting.release.expires);
        }
        self.len = self.levels.iter().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Epoch;
    use super::super::releases::SetStatus;
    use super::super::releases::tests::{at, release};
    use super::*;
    use crate::types::{Claim, KeyPrefix, Resource};

    const OLD: Epoch = Epoch::FIRST;

    fn push(backlog: &mut Backlog, set_status: SetStatus, expires: Moment) {
        backlog.push(Waiting::new(release(set_status, expires)), at(0));
    }

    fn refused() -> NodeFailure {
        NodeFailure::Refused { detail: "no".into() }
    }

    #[test]
    fn an_answered_set_needs_no_release_after_its_ttl() {
        let mut backlog = Backlog::default();
        push(&mut backlog, SetStatus::Answered, at(10));
        assert!(backlog.take(at(10)).is_empty());
        assert!(backlog.is_empty());
    }

    /// A SET that a stopped node has not read runs when the node resumes, however long after it was sent.
    #[test]
    fn an_unanswered_set_is_remembered_until_a_ttl_after_the_reconnect() {
        let mut backlog = Backlog::default();
        push(&mut backlog, SetStatus::Unanswered(OLD), at(10));
        let mut taken = backlog.take(at(1000));
        taken[0].release.prepare(OLD.next(), at(1000));
        assert!(!taken[0].release.is_settled_by_an_answer());
        assert_eq!(taken[0].release.expires, at(1010));
        backlog.repeat(taken.remove(0), at(1000));
        assert_eq!(backlog.take(at(1009)).len(), 1);
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let mut backlog = Backlog::default();
        for i in 0..=RELEASES_MAX as u64 {
            push(&mut backlog, SetStatus::Answered, at(10 + i));
        }
        assert_eq!(backlog.len(), RELEASES_MAX);
        assert_eq!(backlog.take(at(0))[0].release.expires, at(11), "the oldest is forgotten");
    }

    /// The bug: 11,600 strays caused 11,600 commands a second for a whole TTL.
    #[test]
    fn strays_are_told_again_in_few_commands_ever_more_rarely() {
        let mut backlog = Backlog::default();
        (0..11_600).for_each(|_| push(&mut backlog, SetStatus::Stray, at(3600)));
        let mut commands = Vec::new();
        let mut sent_last = vec![Moment::from_nanos(0); 2];
        for step in 0..20_000 {
            let now = Moment::from_nanos(step * 5_000_000);
            let taken = backlog.take(now);
            assert!(taken.len() <= BATCH_MAX);
            if !taken.is_empty() {
                commands.push(now);
                sent_last.push(now);
            }
            taken.into_iter().for_each(|waiting| backlog.repeat(waiting, now));
        }
        for second in 0..100 {
            let within = commands.iter().filter(|sent| (at(second)..at(second + 1)).contains(sent)).count();
            assert!(within <= 50, "{within} commands in second {second}");
        }
        assert!(commands.len() < 91 * 17, "{} commands in 100 s", commands.len());
        assert_eq!(backlog.len(), 11_600);
    }

    /// A command is limited by its keys, and a release with many keys is never too large for a command of its own.
    #[test]
    fn several_keys_count_as_several() {
        let mut backlog = Backlog::default();
        for i in 0..5 {
            let mut several = release(SetStatus::Answered, at(1000));
            let names = (0..50).map(|key| format!("{i} {key}"));
            let keys = names.map(|name| Resource::parse(&KeyPrefix::default(), &name).unwrap());
            several.claim = Claim::many(keys.collect()).unwrap();
            backlog.push(
                Waiting { company: if i == 4 { 1 } else { BATCH_MAX }, ..Waiting::new(several) },
                at(0),
            );
        }
        let taken = [0, 1, 2].map(|second| backlog.take(at(second)).len());
        assert_eq!(taken, [2, 2, 1]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn one_that_is_refused_is_told_apart_from_those_that_are_not() {
        let mut backlog = Backlog::default();
        for i in 0..BATCH_MAX as u64 {
            push(&mut backlog, SetStatus::Answered, at(1000 + i));
        }
        let (mut now, mut commands, bad) = (at(0), 0, at(1007));
        while backlog.len() > 1 {
            let taken = backlog.take(now);
            commands += usize::from(!taken.is_empty());
            let all_good = taken.iter().all(|waiting| waiting.release.expires != bad);
            for waiting in taken.into_iter().filter(|_| !all_good) {
                backlog.handle_failure(waiting, &refused(), now);
            }
            now = now + backlog.wait(now).unwrap();
        }
        assert!(commands < 40, "{commands}");
        assert!(now < at(60), "{now:?}");
        let alone = backlog.take(at(500));
        assert_eq!(alone[0].release.expires, bad);
    }

    #[test]
    fn all_are_told_at_once_on_a_new_connection() {
        let mut backlog = Backlog::default();
        push(&mut backlog, SetStatus::Stray, at(1000));
        for second in [0, 1, 3, 7, 15] {
            let mut taken = backlog.take(at(second));
            backlog.repeat(taken.remove(0), at(second));
        }
        assert_eq!(backlog.wait(at(15)), Some(LONGEST));
        backlog.handle_connected(at(16));
        assert_eq!(backlog.take(at(16)).len(), 1);
    }
}
