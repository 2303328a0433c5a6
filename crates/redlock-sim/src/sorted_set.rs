//! Sorted sets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Members by name and by score.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SortedSet {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

/// A range of scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) min: Bound,
    pub(crate) max: Bound,
}

/// One end of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    score: f64,
    is_exclusive: bool,
}

#[derive(Clone, Copy, Debug)]
struct Score(f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl SortedSet {
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    pub(crate) fn insert(&mut self, member: &[u8], score: f64) {
        self.remove(member);
        self.scores.insert(member.to_vec(), score);
        self.order.insert((Score(score), member.to_vec()));
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        self.order.remove(&(Score(score), member.to_vec()));
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// By score, and by name among equals.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> {
        self.order.iter().map(|(Score(score), member)| (member.as_slice(), *score))
    }
}

impl Range {
    pub(crate) fn contains(&self, score: f64) -> bool {
        let Self { min, max } = self;
        let above = if min.is_exclusive { score > min.score } else { score >= min.score };
        let below = if max.is_exclusive { score < max.score } else { score <= max.score };
        above && below
    }
}

impl Bound {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (is_exclusive, text) = text.strip_prefix(b"(").map_or((false, text), |rest| (true, rest));
        // No number at all counts as 0 here.
        let score = if text.is_empty() { 0.0 } else { parse_score(text)? };
        Some(Self { score, is_exclusive })
    }
}

/// A score as `strtod` reads it, but for hexadecimal ones.
pub(crate) fn parse_score(text: &[u8]) -> Option<f64> {
    let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!score.is_nan()).then_some(score)
}
