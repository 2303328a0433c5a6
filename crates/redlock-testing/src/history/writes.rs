//! Checks the writes to a store that refuses old fencing tokens.

use std::collections::BTreeMap;

use super::verdict::{Verdict, Violation};

/// A write to a store that checks fencing tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Write {
    /// The client that wrote.
    pub client: String,
    /// The resource of the client's lock.
    pub resource: String,
    /// The token of the write.
    pub fencing_token: u64,
    /// Time of the store's decision, in nanoseconds of the sections' clock.
    pub at: u64,
    /// The store's answer.
    pub answer: Answer,
}

/// A store's answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The store carried out the write.
    Accepted,
    /// The store refused the write, because it had seen a larger token.
    Refused,
}

/// Judges a store by its writes, which must be in the order of its decisions: no write may be accepted after a write
/// with a larger token of the same resource. With such a store, late writes of a holder do no harm, whatever caused the
/// delay.
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
