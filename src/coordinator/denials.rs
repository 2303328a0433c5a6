//! Who holds the resources that deny an attempt at several of them.

use crate::error::{LockError, Taken};
use crate::node::{Acquired, Denial, TakenKey};
use crate::types::{Claim, FoundValue, KeySet};

use super::fanout::Reply;
use super::slots::FreeSlots;

/// What the nodes that denied an attempt say. Empty for a claim of one resource, because its denial names nobody.
#[derive(Default)]
pub(super) struct Denials {
    owners: Vec<Owner>,
    pub(super) slots: FreeSlots,
    /// Another number of permits that the semaphore has.
    pub(super) other_permits: Option<usize>,
    /// Whether a candidate for leader was granted the lock with a term that was not new.
    pub(super) is_stale: bool,
}

struct Owner {
    key: usize,
    value: FoundValue,
    nodes: usize,
}

impl Denials {
    pub(super) fn handle_answer(&mut self, reply: &Reply<Acquired>) {
        match reply {
            Ok(Acquired::Denied(Denial::Taken(taken))) => self.handle_taken(taken),
            Ok(Acquired::Denied(Denial::SlotTaken { free })) => self.slots.handle_denied(*free),
            Ok(Acquired::Denied(Denial::OtherPermits(others))) => self.other_permits = Some(*others),
            Ok(Acquired::Granted(_)) | Err(_) => {}
        }
    }

    fn handle_taken(&mut self, taken: &[TakenKey]) {
        for TakenKey { key, value } in taken {
            match self.owners.iter_mut().find(|owner| owner.key == *key && owner.value == *value) {
                Some(owner) => owner.nodes += 1,
                None => self.owners.push(Owner { key: *key, value: value.clone(), nodes: 1 }),
            }
        }
    }

    /// The resources that are taken, in the order of the claim; the owner with most nodes comes first.
    pub(super) fn taken(&mut self, claim: &Claim) -> Vec<Taken> {
        self.owners.sort_by_key(|owner| (owner.key, std::cmp::Reverse(owner.nodes)));
        let taken = |Owner { key, value, nodes }| {
            let resource = claim.resources().get(key)?.name().to_owned();
            Some(Taken { resource, owner: value.owner(), nodes })
        };
        std::mem::take(&mut self.owners).into_iter().filter_map(taken).collect()
    }
}

/// The position of the resource for which a waiter waits after this error: of those that are taken, the first that most
/// nodes denied.
pub(super) fn to_wait_for(claim: &Claim, error: &LockError) -> Option<usize> {
    let LockError::Contended { taken, .. } = error else { return None };
    let nodes = |name: &str| -> usize {
        taken.iter().filter(|taken| taken.resource == name).map(|taken| taken.nodes).sum()
    };
    let denied = claim.resources().iter().enumerate().map(|(i, key)| (i, nodes(key.name())));
    // `max_by_key` would return the last of equals.
    denied.rev().filter(|(_, nodes)| *nodes > 0).max_by_key(|(_, nodes)| *nodes).map(|(i, _)| i)
}

/// The keys for which the rollback of an attempt that failed with this error notifies, although the caller goes on
/// waiting.
///
/// With several resources, all but the one for which the caller waits now: attempts of others may have met our keys, and
/// nobody else notifies those that wait for them. No two waiters notify each other in a loop, because each notifies
/// only for resources that fewer nodes denied, or that come later, than the one for which it waits.
pub(super) fn to_notify(claim: &Claim, error: &LockError) -> KeySet {
    match (claim, error) {
        (Claim::Exclusive { .. } | Claim::Shared { .. } | Claim::Slot(_), LockError::Contended { .. }) => {
            KeySet::EMPTY
        }
        (Claim::Many { .. }, LockError::Contended { .. }) => {
            claim.all().without(to_wait_for(claim, error).into_iter().collect())
        }
        // Other waiters may reach more nodes, and our keys may have denied their attempts. Two clients do not notify
        // each other in a loop, because we pause before the next attempt.
        _ => claim.all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Votes;
    use crate::protocol::{Quorum, QuorumSize};
    use crate::types::{KeyPrefix, Resource};

    fn resource(name: &str) -> Resource {
        Resource::parse(&KeyPrefix::default(), name).unwrap()
    }

    fn claim() -> Claim {
        Claim::many(["a", "b", "c"].map(resource).into()).unwrap()
    }

    /// What one node says: the taken keys and their owners.
    type Says = &'static [(usize, &'static str)];

    /// The error after these nodes have denied, each with the keys that are taken there and their owners.
    fn error(nodes: &[Says]) -> LockError {
        let mut denials = Denials::default();
        for node in nodes {
            let taken = |(key, value): &(usize, &str)| TakenKey {
                key: *key,
                value: FoundValue::new(value.as_bytes()),
            };
            denials.handle_answer(&Ok(Acquired::Denied(Denial::Taken(node.iter().map(taken).collect()))));
        }
        let taken = denials.taken(&claim());
        LockError::Contended { resource: "a, b, c".into(), votes: no_votes(), taken }
    }

    fn no_votes() -> Votes {
        Votes::new(Quorum::new(3, QuorumSize::Majority).unwrap(), [])
    }

    fn keys(keys: &[usize]) -> KeySet {
        keys.iter().copied().collect()
    }

    #[test]
    fn the_first_that_most_nodes_denied_is_waited_for() {
        let table: [(&[Says], _); 5] = [
            (&[&[(1, "x")], &[(1, "x")]], Some(1)),
            (&[&[(1, "x"), (2, "x")], &[(1, "x"), (2, "x")]], Some(1)),
            (&[&[(0, "y")], &[(2, "x")], &[(2, "z")]], Some(2)),
            (&[&[(2, "x")], &[(0, "y")]], Some(0)),
            (&[], None),
        ];
        for (nodes, expected) in table {
            let error = error(nodes);
            assert_eq!(to_wait_for(&claim(), &error), expected, "{error}");
            let others = claim().all().without(expected.into_iter().collect());
            assert_eq!(to_notify(&claim(), &error), others, "{error}");
        }
    }

    #[test]
    fn one_resource_notifies_nobody_while_it_is_waited_for() {
        let one = Claim::Exclusive { key: resource("a") };
        assert_eq!(to_notify(&one, &error(&[])), KeySet::EMPTY);
        let votes = no_votes();
        assert_eq!(
            to_notify(&one, &LockError::NoQuorum { resource: "a".into(), needed: 2, votes }),
            keys(&[0])
        );
    }

    #[test]
    fn owners_are_listed_by_resource() {
        let LockError::Contended { taken, .. } = error(&[&[(2, "x"), (0, "y")], &[(2, "z")], &[(2, "z")]])
        else {
            unreachable!()
        };
        let taken: Vec<_> =
            taken.iter().map(|taken| (&*taken.resource, &*taken.owner, taken.nodes)).collect();
        assert_eq!(taken, [("a", "y", 1), ("c", "z", 2), ("c", "x", 1)]);
    }
}
