//! Which slot of a semaphore an attempt is made at.

use super::Coordinator;
use crate::protocol::{NODES_MAX, Quorum};
use crate::types::{Claim, KEYS_MAX, KeySet};

/// How many slots one attempt tries in a row. A second try at a slot that was said to be free fails only if another
/// client is faster.
pub(super) const TRIES_MAX: u32 = 8;

/// What the nodes that denied one slot say of all slots.
#[derive(Clone, Copy)]
pub(super) struct FreeSlots {
    denied: usize,
    /// For each slot, on how many of these nodes it is free.
    free: [u8; KEYS_MAX],
}

const _: () = assert!(NODES_MAX <= u8::MAX as usize);

impl Default for FreeSlots {
    fn default() -> Self {
        Self { denied: 0, free: [0; KEYS_MAX] }
    }
}

impl FreeSlots {
    pub(super) fn handle_denied(&mut self, free: KeySet) {
        self.denied += 1;
        free.iter().for_each(|slot| self.free[slot] += 1);
    }

    pub(super) fn are_free(&self) -> bool {
        self.free.iter().any(|nodes| *nodes > 0)
    }

    /// The slot that is free on most nodes, if a quorum may be left for it; of several such slots the first that
    /// follows `start`.
    pub(super) fn best(&self, quorum: Quorum, slots: usize, start: usize) -> Option<usize> {
        let in_order = (0..slots).map(|i| (start + i) % slots);
        let may_be_won = |slot: &usize| {
            let free = usize::from(self.free[*slot]);
            free > 0 && self.denied - free <= quorum.spare()
        };
        // `max_by_key` would return the last of equals.
        in_order.rev().filter(may_be_won).max_by_key(|slot| self.free[*slot])
    }
}

impl Coordinator {
    /// The claim of the first attempt at a semaphore: the slot that is known to be free, or a random one, because
    /// clients that all try the same slot are in each other's way. `None` for other claims.
    pub(super) fn first_slot(&self, claim: &Claim, free: Option<usize>) -> Option<Claim> {
        let of = &claim.as_slot()?.of;
        let number =
            free.filter(|slot| *slot < of.slots().len()).unwrap_or_else(|| self.any(of.slots().len()));
        Some(Claim::slot(of, number))
    }

    /// The claim of the next attempt at a semaphore after nodes have denied one.
    pub(super) fn next_slot(&self, claim: &Claim, slots: &FreeSlots) -> Option<Claim> {
        let of = &claim.as_slot()?.of;
        let best = slots.best(self.settings.quorum, of.slots().len(), self.any(of.slots().len()))?;
        Some(Claim::slot(of, best))
    }

    fn any(&self, slots: usize) -> usize {
        usize::try_from(self.random_u64() % slots as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;

    #[test]
    fn the_slot_that_most_nodes_have_free_is_tried_next() {
        let quorum = Quorum::new(5, QuorumSize::Majority).unwrap();
        let best = |nodes: &[&[usize]], start| {
            let mut slots = FreeSlots::default();
            nodes.iter().for_each(|free| slots.handle_denied(free.iter().copied().collect()));
            slots.best(quorum, 4, start)
        };
        assert_eq!(best(&[&[1, 2], &[2, 3], &[2]], 0), Some(2));
        assert_eq!(best(&[&[], &[], &[]], 0), None, "all are taken");
        assert_eq!(best(&[&[1], &[], &[]], 0), Some(1), "it may be free on the others");
        assert_eq!(best(&[&[1], &[], &[], &[]], 0), None, "three nodes have it taken");
        for start in 0..4 {
            assert_eq!(best(&[&[0, 1, 2, 3], &[0, 1, 2, 3], &[0, 1, 2, 3]], start), Some(start));
        }
        assert_eq!(best(&[&[0, 2], &[0, 2], &[0, 2]], 1), Some(2));
        assert_eq!(best(&[], 1), None);
    }
}
