//! The summary at the end: for people, and as one JSON object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::picture::describe;
use super::verdict::Verdict;
use super::view::{Fault, View};
use super::{Exclusion, Play};

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    /// `clean`, or the failures.
    verdict: String,
    /// Sections that incremented the counter.
    sections: usize,
    lost_updates: u64,
    overlaps: usize,
    leftover_keys: usize,
    written_twice: usize,
    out_of_order: usize,
    /// Sections that found their lease over, and did not write.
    lost_leases: usize,
    sections_after_healing: usize,
    longest_gap_ms: u64,
    faults: &'a [Fault],
    failures: Vec<Failures<'a>>,
    nodes: usize,
    workers: usize,
    seed: u64,
    elapsed_ms: u64,
}

/// The workers' observations of one node.
#[derive(Debug, Serialize)]
struct Failures<'a> {
    node: usize,
    name: &'a str,
    /// Number of workers whose clients were ever without a connection, by reason.
    workers: BTreeMap<&'a str, usize>,
    /// How often the node's answer was missing in the votes of a wait or a release, by reason.
    votes: &'a BTreeMap<String, u64>,
}

/// The JSON object on one line.
pub(super) fn json(play: &Play, view: &View, verdict: &Verdict, elapsed: Duration) -> String {
    let Verdict {
        sections,
        lost_leases,
        lost_updates,
        written_twice,
        out_of_order,
        overlaps,
        leftover_keys,
        wrong: _,
    } = *verdict;
    let summary = Summary {
        verdict: sentence(verdict),
        sections,
        lost_updates,
        overlaps,
        leftover_keys,
        written_twice,
        out_of_order,
        lost_leases,
        sections_after_healing: view.done_since_healed,
        longest_gap_ms: millis(view.longest_gap),
        faults: &view.faults,
        failures: failures(view),
        nodes: play.nodes,
        workers: play.workers,
        seed: play.seed,
        elapsed_ms: millis(elapsed),
    };
    // Maps of strings can always be serialized.
    serde_json::to_string(&summary).unwrap_or_default()
}

fn sentence(verdict: &Verdict) -> String {
    if verdict.is_clean() { "clean".into() } else { verdict.wrong.join("; ") }
}

fn failures(view: &View) -> Vec<Failures<'_>> {
    let failures = view.nodes.iter().enumerate().map(|(node, seen)| Failures {
        node,
        name: &seen.name,
        workers: seen.ever_lost_by.iter().map(|(reason, clients)| (&**reason, clients.len())).collect(),
        votes: &seen.failures,
    });
    failures.collect()
}

/// The events, what they prove and what not, and what to try next.
pub(super) fn text(play: &Play, view: &View, verdict: &Verdict, elapsed: Duration) -> String {
    let mut text = String::from("\nWhat happened\n");
    happened(&mut text, play, view, verdict, elapsed);
    text.push_str("\nWhat the recorded history says\n");
    counts(&mut text, verdict);
    if verdict.is_clean() {
        text.push_str(
            "\nCLEAN: nobody ever held the lock together with another, and nothing was lost or left.\n",
        );
    } else {
        text.push_str("\nNOT CLEAN:\n");
        verdict.wrong.iter().for_each(|wrong| line(&mut text, &format!("- {wrong}")));
    }
    text.push_str(match play.exclusion {
        Exclusion::Lock => LIMITS,
        Exclusion::None => WITHOUT_LOCK,
    });
    line(&mut text, &format!("Play it again: redlock demo --seed {}{}", play.seed, flags(play)));
    text.push_str(NEXT);
    text
}

const LIMITS: &str = "
It does not prove that a holder can never be too late: a program that is paused between its last check and its
write may write after its lease. SAFETY.md says what remains, and what to do about it.

";

const WITHOUT_LOCK: &str = "
This was without the lock: what is wrong above is what the lock prevents.

";

const NEXT: &str = "\
See the checks fail: redlock demo --without-lock
Masters to try it with: redlock dev
Any command under the lock: redlock run --help
";

fn happened(text: &mut String, play: &Play, view: &View, verdict: &Verdict, elapsed: Duration) {
    let Play { nodes, workers, sections: _, seed: _, exclusion: _ } = play;
    line(
        text,
        &format!(
            "  {workers} worker processes raised one counter in one file {} times, {}",
            verdict.sections,
            match play.exclusion {
                Exclusion::Lock => format!("under one lock on {nodes} Redis masters:"),
                Exclusion::None => "without any lock:".into(),
            }
        ),
    );
    view.faults.iter().for_each(|fault| line(text, &format!("  {}", describe(fault))));
    for (node, seen) in view.nodes.iter().enumerate().filter(|(_, seen)| !seen.ever_lost_by.is_empty()) {
        let clients: BTreeSet<_> = seen.ever_lost_by.values().flatten().collect();
        let reasons: Vec<&str> = seen.ever_lost_by.keys().map(String::as_str).collect();
        let seen = format!("node {node} was lost by {} workers ({})", clients.len(), reasons.join(", "));
        line(text, &format!("  {seen}, which went on with the others"));
    }
    line(
        text,
        &format!(
            "  {} sections were done after all nodes were back; the longest time without a section was {} ms; {:.1} s in all",
            view.done_since_healed,
            millis(view.longest_gap),
            elapsed.as_secs_f64()
        ),
    );
}

fn counts(text: &mut String, verdict: &Verdict) {
    let table = [
        (verdict.sections as u64, "sections done"),
        (verdict.lost_updates, "lost updates (sections done less the counter's growth)"),
        (verdict.overlaps as u64, "overlaps (two valid leases at one instant)"),
        (verdict.leftover_keys as u64, "keys left behind on any node"),
        (verdict.lost_leases as u64, "sections that lost their lease and did not write"),
    ];
    table.iter().for_each(|(count, what)| line(text, &format!("  {count:>6}  {what}")));
}

fn flags(play: &Play) -> &'static str {
    match play.exclusion {
        Exclusion::Lock => "",
        Exclusion::None => " --without-lock",
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Wraps lines between words. Continued lines are indented like the first one. Words that are too long stay whole.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for whole in text.split_inclusive('\n') {
        let indent: String = whole.chars().take_while(|c| *c == ' ').collect();
        let mut column = 0;
        for word in whole.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > indent.len() && length > 0 && column + length > width {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                wrapped.push_str(&indent);
                column = indent.len();
            }
            wrapped.push_str(word);
            column += word.chars().count();
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_keeps_its_indent() {
        assert_eq!(wrap("  one two three\nfour\n\n", 9), "  one two\n  three\nfour\n\n");
        assert_eq!(wrap("  one two three\n", 15), "  one two three\n");
        assert_eq!(wrap("incomprehensible b", 4), "incomprehensible\nb");
    }

    #[test]
    fn what_is_wrong_stands_in_the_text_and_in_the_object() {
        let play = Play { nodes: 5, workers: 8, sections: 10, seed: 7, exclusion: Exclusion::Lock };
        let view = View::default();
        let verdict = Verdict { lost_updates: 3, wrong: vec!["3 lost updates".into()], ..Verdict::default() };
        let text = text(&play, &view, &verdict, Duration::from_secs(1));
        assert!(text.contains("NOT CLEAN:\n- 3 lost updates\n"), "{text}");
        let object: serde_json::Value =
            serde_json::from_str(&json(&play, &view, &verdict, Duration::from_secs(1))).unwrap();
        assert_eq!(object["verdict"], "3 lost updates");
        assert_eq!((&object["lost_updates"], &object["seed"]), (&3.into(), &7.into()));
    }
}
