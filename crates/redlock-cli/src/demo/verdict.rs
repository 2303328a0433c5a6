//! What the recorded history proves: a pure function of what was seen.

use std::collections::BTreeMap;

use redlock_testing::history::{self, LeftKey, Violation};

use super::protocol::{Outcome, Visit};

/// All that the verdict is computed from.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// What the workers recorded, in any order.
    pub(super) visits: Vec<Visit>,
    /// How many sections had to be done.
    pub(super) wanted: usize,
    /// By how much the counter in the file has grown.
    pub(super) growth: u64,
    /// What was on the nodes after all workers had ended.
    pub(super) left: Vec<LeftKey>,
    /// What else went wrong: a worker that failed, a fault that could not be applied, a limit that was reached.
    pub(super) troubles: Vec<String>,
}

/// The judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Sections that wrote.
    pub(super) sections: usize,
    /// Sections that found their lease over before the write, and did not write.
    pub(super) lost_leases: usize,
    /// Sections that wrote, less the growth of the counter.
    pub(super) lost_updates: u64,
    /// Values that were written by more than one section.
    pub(super) written_twice: usize,
    /// Sections that did not read what the section before them had written.
    pub(super) out_of_order: usize,
    /// Pairs of validity windows that overlap.
    pub(super) overlaps: usize,
    pub(super) leftover_keys: usize,
    /// Each thing that is wrong, as a sentence without a full stop; none when the run was clean.
    pub(super) wrong: Vec<String>,
}

/// How many overlaps are spelled out; the count tells the rest.
const OVERLAPS_SHOWN: usize = 3;

pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { visits, wanted, growth, left, troubles } = evidence;
    let mut writes: Vec<(u64, u64, u64)> = visits.iter().filter_map(write_of).collect();
    writes.sort_unstable();
    let sections = writes.len();
    let (overlaps, mut history) = judge_history(visits);
    let mut verdict = Verdict {
        sections,
        lost_leases: visits.len() - sections,
        lost_updates: (sections as u64).saturating_sub(*growth),
        written_twice: count_repeated(&writes),
        out_of_order: writes.windows(2).filter(|pair| pair[1].1 != pair[0].2).count(),
        overlaps,
        leftover_keys: left.len(),
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
    if sections < *wanted {
        verdict.wrong.push(format!("only {sections} of {wanted} sections were done"));
    }
    verdict.wrong.append(&mut history);
    verdict.wrong.extend(left.iter().map(|key| format!("the key {} is still on {}", key.resource, key.node)));
    verdict.wrong.extend(troubles.iter().cloned());
    verdict
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// When it got the lock, what it read, what it wrote.
fn write_of(visit: &Visit) -> Option<(u64, u64, u64)> {
    match visit.outcome {
        Outcome::Wrote { value } => Some((visit.acquired_at, visit.read, value)),
        Outcome::LostLease => None,
    }
}

fn count_repeated(writes: &[(u64, u64, u64)]) -> usize {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, _, written) in writes {
        *times.entry(*written).or_default() += 1;
    }
    times.values().filter(|times| **times > 1).count()
}

/// The number of overlaps; the first of them, and whatever else the checker finds, in words.
fn judge_history(visits: &[Visit]) -> (usize, Vec<String>) {
    // In the text, times since the first request are easier to read than times since boot.
    let origin = visits.iter().map(|visit| visit.requested_at).min().unwrap_or(0);
    let sections: Vec<_> = visits.iter().map(|visit| visit.as_section(origin)).collect();
    let verdict = history::check(&sections);
    let (overlaps, others): (Vec<_>, Vec<_>) =
        verdict.violations().iter().partition(|violation| matches!(violation, Violation::Overlap { .. }));
    let shown = overlaps.iter().take(OVERLAPS_SHOWN).chain(&others).map(ToString::to_string).collect();
    (overlaps.len(), shown)
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections one after the other, each raising the counter by one.
    fn visits(count: u64) -> Vec<Visit> {
        let visit = |i: u64| Visit {
            client: usize::try_from(i).unwrap() % 8,
            requested_at: 0,
            acquired_at: 100 * i,
            deadline: 100 * i + 1000,
            ended_at: 100 * i + 90,
            read: i,
            outcome: Outcome::Wrote { value: i + 1 },
            token: format!("t{i}"),
        };
        (0..count).map(visit).collect()
    }

    fn clean() -> Evidence {
        Evidence { visits: visits(10), wanted: 10, growth: 10, ..Evidence::default() }
    }

    /// What is wrong with a clean run after `change`.
    fn wrong(change: impl FnOnce(&mut Evidence)) -> Verdict {
        let mut evidence = clean();
        change(&mut evidence);
        let verdict = judge(&evidence);
        assert!(!verdict.is_clean());
        verdict
    }

    #[test]
    fn a_clean_run_is_clean_in_whatever_order_it_was_told() {
        let mut evidence = clean();
        evidence.visits.reverse();
        let verdict = judge(&evidence);
        assert_eq!(verdict, Verdict { sections: 10, ..Verdict::default() });
        assert!(verdict.is_clean());
    }

    #[test]
    fn a_lost_update_is_found() {
        let verdict = wrong(|evidence| {
            evidence.visits[5].read = 4;
            evidence.visits[5].outcome = Outcome::Wrote { value: 5 };
            for visit in &mut evidence.visits[6..] {
                visit.read -= 1;
                visit.outcome = Outcome::Wrote { value: visit.read + 1 };
            }
            evidence.growth = 9;
        });
        assert_eq!((verdict.lost_updates, verdict.written_twice, verdict.out_of_order), (1, 1, 1));
        assert_eq!(verdict.wrong[0], "1 lost update");
    }

    #[test]
    fn a_lost_update_is_found_by_the_file_alone() {
        let verdict = wrong(|evidence| evidence.growth = 7);
        assert_eq!(verdict.wrong, ["3 lost updates"]);
    }

    #[test]
    fn an_overlap_is_found() {
        let verdict = wrong(|evidence| evidence.visits[3].ended_at = 410);
        assert_eq!(verdict.overlaps, 1);
        assert_eq!(verdict.wrong[0], "1 overlap of two holders");
        assert!(
            verdict.wrong[1].contains("worker 3") && verdict.wrong[1].contains("worker 4"),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_section_beyond_its_deadline_is_no_overlap() {
        let mut evidence = clean();
        evidence.visits[3].ended_at = 410;
        evidence.visits[3].deadline = 395;
        assert!(judge(&evidence).is_clean());
    }

    #[test]
    fn a_leftover_key_is_found() {
        let key = LeftKey { node: "node 2".into(), resource: "demo:counter".into() };
        let verdict = wrong(|evidence| evidence.left.push(key));
        assert_eq!(verdict.leftover_keys, 1);
        assert_eq!(verdict.wrong, ["1 key left behind", "the key demo:counter is still on node 2"]);
    }

    #[test]
    fn troubles_and_missing_sections_are_wrong() {
        assert_eq!(
            wrong(|evidence| evidence.troubles.push("worker 3 ended".into())).wrong,
            ["worker 3 ended"]
        );
        assert_eq!(wrong(|evidence| evidence.wanted = 11).wrong, ["only 10 of 11 sections were done"]);
    }

    #[test]
    fn a_write_that_nobody_recorded_is_wrong() {
        assert_eq!(wrong(|evidence| evidence.growth = 12).wrong, ["2 writes without a record"]);
    }

    #[test]
    fn a_section_that_lost_its_lease_and_did_not_write_is_no_fault() {
        let mut evidence = clean();
        evidence.visits[9].outcome = Outcome::LostLease;
        (evidence.wanted, evidence.growth) = (9, 9);
        let verdict = judge(&evidence);
        assert!(verdict.is_clean());
        assert_eq!((verdict.sections, verdict.lost_leases), (9, 1));
    }
}
