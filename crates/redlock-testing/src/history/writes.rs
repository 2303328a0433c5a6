//! The store behind the lock: what fencing tokens are for.

use std::collections::BTreeMap;

use super::verdict::{Verdict, Violation};

/// A write to a store that checks fencing tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Write {
    /// Who wrote.
    pub client: String,
    /// Under which lock.
    pub resource: String,
    /// With which token.
    pub fencing_token: u64,
    /// When the store decided: nanoseconds of the sections' clock.
    pub at: u64,
    /// What it said.
    pub answer: Answer,
}

/// What a store says to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was carried out.
    Accepted,
    /// The store had seen a larger token.
    Refused,
}

/// Judges a store by its writes, which are in the order in which it decided them: none is accepted after one with a
/// larger token of the same resource. With such a store a holder that writes too late, whatever made it late, harms
/// nobody.
pub fn check_writes(writes: &[Write]) -> Verdict {
    let mut largest: BTreeMap<&str, &Write> = BTreeMap::new();
    let mut violations = Vec::new();
    for write in writes.iter().filter(|write| write.answer == Answer::Accepted) {
        match largest.get(write.resource.as_str()) {
            Some(before) if before.fencing_token > write.fencing_token => {
                violations.push(Violation::StaleWrite { before: (*before).clone(), write: write.clone() });
            }
            Some(_) | None => {
                largest.insert(&write.resource, write);
            }
        }
    }
    Verdict::new(0, violations)
}
