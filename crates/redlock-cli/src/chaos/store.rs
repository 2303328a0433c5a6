//! The protected store, which checks fencing tokens as SAFETY.md asks.

use std::collections::BTreeMap;

use super::event::Answer;

/// The largest accepted token of each resource. A write with a smaller one is refused, in one step with the check.
#[derive(Debug, Default)]
pub(crate) struct Store {
    largest: BTreeMap<usize, u64>,
}

impl Store {
    pub(crate) fn write(&mut self, resource: usize, token: u64) -> Answer {
        let largest = self.largest.entry(resource).or_default();
        if token < *largest {
            return Answer::Stale;
        }
        *largest = token;
        Answer::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_token_is_refused_for_its_resource_alone() {
        let mut store = Store::default();
        let table = [
            ((1, 5), Answer::Accepted),
            ((1, 5), Answer::Accepted),
            ((1, 4), Answer::Stale),
            ((2, 4), Answer::Accepted),
            ((1, 6), Answer::Accepted),
        ];
        for ((resource, token), expected) in table {
            assert_eq!(store.write(resource, token), expected, "{resource} {token}");
        }
    }
}
