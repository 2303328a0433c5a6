//! The verdict on a run of the demo, from the engine's judgement and the counter.

use std::collections::BTreeMap;

use redlock_testing::history::Violation;

use crate::chaos::judge::{Judgement, relative};
use crate::chaos::log::{End, Log, Visit};

/// The facts from which the verdict is computed.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) log: &'a Log,
    pub(super) judgement: &'a Judgement,
    /// The number of sections that had to be done.
    pub(super) wanted: usize,
    /// The increase of the counter in the file.
    pub(super) growth: u64,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Sections that wrote.
    pub(super) sections: usize,
    /// Sections that found their lease over before the write, and did not write.
    pub(super) lost_leases: usize,
    /// Sections that wrote, minus the increase of the counter.
    pub(super) lost_updates: u64,
    /// Values that more than one section wrote.
    pub(super) written_twice: usize,
    /// Sections that did not read the value that the previous section had written.
    pub(super) out_of_order: usize,
    /// Pairs of validity windows that overlap.
    pub(super) overlaps: usize,
    pub(super) leftover_keys: usize,
    /// Each failure as a sentence without a full stop; empty when the run was clean.
    pub(super) wrong: Vec<String>,
}

/// The number of overlaps that are described; `overlaps` counts all.
const OVERLAPS_SHOWN: usize = 3;

pub(super) fn judge(evidence: Evidence<'_>) -> Verdict {
    let Evidence { log, judgement, wanted, growth } = evidence;
    let visits = || log.clients.iter().flat_map(|client| &client.visits);
    let mut writes: Vec<(u64, u64, u64)> = visits().filter_map(write_of).collect();
    writes.sort_unstable();
    let sections = writes.len();
    let found = Found::of(judgement, log);
    let mut verdict = Verdict {
        sections,
        lost_leases: visits().filter(|visit| has_lost(visit)).count(),
        lost_updates: (sections as u64).saturating_sub(growth),
        written_twice: count_repeated(&writes),
        out_of_order: writes.windows(2).filter(|pair| pair[1].1 != pair[0].2).count(),
        overlaps: found.overlaps,
        leftover_keys: found.left.len(),
        wrong: Vec::new(),
    };
    let unrecorded = growth.saturating_sub(sections as u64);
    let counts = [
        (verdict.lost_updates, "lost update", "lost updates"),
        (unrecorded, "write without a record", "writes without a record"),
        (verdict.written_twice as u64, "value written twice", "values written twice"),
        (verdict.out_of_order as u64, "section read a stale counter", "sections read a stale counter"),
        (verdict.overlaps as u64, "overlap of two holders", "overlaps of two holders"),
        (verdict.leftover_keys as u64, "key left behind", "keys left behind"),
    ];
    let counted = counts.iter().filter(|(count, ..)| *count > 0);
    verdict.wrong.extend(counted.map(|(count, one, many)| plural(*count, one, many)));
    if sections < wanted {
        verdict.wrong.push(format!("only {sections} of {wanted} sections were done"));
    }
    let others = log.troubles.iter().chain(&judgement.untested).cloned();
    let sentences = found.shown.into_iter().chain(found.left).chain(others);
    // The engine calls the workers clients.
    verdict.wrong.extend(sentences.map(|sentence| sentence.replace("client ", "worker ")));
    verdict
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// The engine's findings.
struct Found {
    overlaps: usize,
    /// The keys that are left, as sentences.
    left: Vec<String>,
    /// The first overlaps and all other findings, as sentences.
    shown: Vec<String>,
}

impl Found {
    fn of(judgement: &Judgement, log: &Log) -> Self {
        let mut found = Self { overlaps: 0, left: Vec::new(), shown: Vec::new() };
        for violation in &judgement.violations {
            if let Violation::KeyLeft { key } = violation {
                found.left.push(format!("the key {} is still on node {}", key.resource, key.node));
                continue;
            }
            let is_overlap = matches!(violation, Violation::Overlap { .. });
            found.overlaps += usize::from(is_overlap);
            if !is_overlap || found.overlaps <= OVERLAPS_SHOWN {
                found.shown.push(relative(violation, log.started_at));
            }
        }
        found
    }
}

/// When the section acquired the lock, the value that it read, and the value that it wrote.
fn write_of(visit: &Visit) -> Option<(u64, u64, u64)> {
    visit.counted.map(|read| (visit.acquired_at, read, read + 1))
}

/// Whether the section found its lease over before the write, and did not write.
fn has_lost(visit: &Visit) -> bool {
    visit.counted.is_none() && (matches!(visit.end, End::Lost { .. }) || visit.over_at.is_some())
}

fn count_repeated(writes: &[(u64, u64, u64)]) -> usize {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, _, written) in writes {
        *times.entry(*written).or_default() += 1;
    }
    times.values().filter(|times| **times > 1).count()
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use redlock_testing::history::LeftKey;

    use super::*;
    use crate::chaos::event::{COUNTER, What};
    use crate::chaos::judge::{Expected, Promise};
    use crate::demo::view::tests::{acquire, log, say};

    /// Ten sections one after the other, each of which increments the counter.
    fn clean() -> Log {
        let mut log = log(8);
        for i in 0..10 {
            let worker = usize::try_from(i).unwrap() % 8;
            acquire(&mut log, worker, 100 * i, 100 * i + 1000);
            say(&mut log, worker, 100 * i + 80, What::Counted { read: i });
            say(&mut log, worker, 100 * i + 90, What::Released);
        }
        log.healed_at = log.began_at + 1_000;
        log.ended_at = log.healed_at;
        log
    }

    fn verdict(log: &Log, wanted: usize, growth: u64) -> Verdict {
        let nodes = ["redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:3"];
        let settings = redlock_quorum::Redlock::builder().nodes(nodes).settings().unwrap();
        let promise = Promise::of(&settings, std::time::Duration::from_millis(5));
        let mut judgement = crate::chaos::judge::judge(log, &promise, &Expected::default());
        judgement.untested.clear();
        judge(Evidence { log, judgement: &judgement, wanted, growth })
    }

    /// The visit with this number.
    fn visit(log: &mut Log, number: usize) -> &mut Visit {
        &mut log.clients[number % 8].visits[number / 8]
    }

    #[test]
    fn a_clean_run_is_clean() {
        let verdict = verdict(&clean(), 10, 10);
        assert_eq!(verdict, Verdict { sections: 10, ..Verdict::default() });
        assert!(verdict.is_clean());
    }

    #[test]
    fn a_lost_update_is_found() {
        let mut log = clean();
        for number in 5..10 {
            visit(&mut log, number).counted = Some(number as u64 - 1);
        }
        let verdict = verdict(&log, 10, 9);
        assert_eq!((verdict.lost_updates, verdict.written_twice, verdict.out_of_order), (1, 1, 1));
        assert_eq!(verdict.wrong[0], "1 lost update");
    }

    #[test]
    fn a_lost_update_is_found_by_the_file_alone() {
        assert_eq!(verdict(&clean(), 10, 7).wrong, ["3 lost updates"]);
    }

    #[test]
    fn an_overlap_is_found() {
        let mut log = clean();
        let at = log.began_at + 410;
        visit(&mut log, 3).end = End::Released { at };
        let verdict = verdict(&log, 10, 10);
        assert_eq!((verdict.overlaps, verdict.wrong[0].as_str()), (1, "1 overlap of two holders"));
        let text = &verdict.wrong[1];
        assert!(
            text.contains("worker 3") && text.contains("worker 4") && text.contains("demo:counter"),
            "{text}"
        );
    }

    #[test]
    fn a_leftover_key_is_found() {
        let mut log = clean();
        log.left.push(LeftKey { node: "2".into(), resource: "demo:counter".into() });
        let verdict = verdict(&log, 10, 10);
        assert_eq!(verdict.leftover_keys, 1);
        assert_eq!(verdict.wrong, ["1 key left behind", "the key demo:counter is still on node 2"]);
    }

    #[test]
    fn troubles_and_missing_sections_are_wrong() {
        let mut log = clean();
        log.troubles.push("client 3 ended".into());
        assert_eq!(verdict(&log, 10, 10).wrong, ["worker 3 ended"]);
        assert_eq!(verdict(&clean(), 11, 10).wrong, ["only 10 of 11 sections were done"]);
    }

    #[test]
    fn a_write_that_nobody_recorded_is_wrong() {
        assert_eq!(verdict(&clean(), 10, 12).wrong, ["2 writes without a record"]);
    }

    #[test]
    fn a_section_that_lost_its_lease_and_did_not_write_is_no_fault() {
        let mut log = clean();
        let at = log.began_at + 1_900;
        visit(&mut log, 9).counted = None;
        visit(&mut log, 9).end = End::Lost { at, why: "expired".into() };
        // A worker that was stopped before its write has lost no lease.
        acquire(&mut log, 0, 2_000, 3_000);
        say(&mut log, 0, 2_010, What::Released);
        let verdict = verdict(&log, 9, 9);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.sections, verdict.lost_leases), (9, 1));
        assert_eq!(log.clients[0].visits[0].resource, COUNTER);
    }
}
