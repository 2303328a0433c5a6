//! What a client wants next: which resources, and how to lock them.

use std::time::Duration;

use redlock_quorum::{Guard, LockError, Redlock};

use super::client::Args;
use super::event::{COUNTER, LEADER, LONG, SLOTS, Sharing, What, resource_name};
use crate::dice::Dice;

/// How long a client campaigns before it says that it does not lead.
const CAMPAIGN: Duration = Duration::from_secs(2);

/// The lock that a client wants next, and how long it will hold it.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) resources: Vec<usize>,
    pub(crate) sharing: Sharing,
    pub(crate) hold: Duration,
    ttl: Duration,
}

impl Wish {
    /// `longest` is the TTL of the settings.
    pub(super) fn draw(args: &Args, longest: Duration, dice: &mut Dice) -> Self {
        let mut one_in = |number: u64| number > 0 && dice.below(number) == 0;
        let (is_long, is_shared, is_double, is_slot, is_leader) = (
            one_in(args.long_one_in),
            one_in(args.shared_one_in),
            one_in(args.multi_one_in),
            one_in(args.slot_one_in),
            one_in(args.lead_one_in),
        );
        let (first, count, hold) = if is_long {
            (LONG, args.long_resources, args.long_hold)
        } else {
            (0, args.resources, args.hold)
        };
        let mut any = |count| usize::try_from(dice.below(count)).unwrap_or(0);
        let resource = any(count);
        let (resources, sharing) = match () {
            () if args.counter.is_some() => (vec![COUNTER], Sharing::Exclusive),
            () if is_leader => (vec![LEADER], Sharing::Exclusive),
            () if is_slot => (vec![SLOTS], Sharing::Slots(args.slots)),
            () if is_shared => (vec![first + resource], Sharing::Shared),
            () if is_double && !is_long && count > 1 => {
                let other = (resource + 1 + any(count - 1)) % usize::try_from(count).unwrap_or(1);
                (vec![resource, other], Sharing::Exclusive)
            }
            () => (vec![first + resource], Sharing::Exclusive),
        };
        let hold = Duration::from_micros(dice.below(hold.max(1)));
        Self { resources, sharing, hold, ttl: ttl(args.shortest_ttl, longest, dice) }
    }

    pub(super) fn attempt(&self) -> What {
        What::Attempt { resources: self.resources.clone(), sharing: self.sharing }
    }

    /// Returns the slot as well, if it is one of several.
    pub(super) async fn lock(&self, redlock: &Redlock) -> Result<(Guard, Option<usize>), LockError> {
        let names: Vec<String> = self.resources.iter().copied().map(resource_name).collect();
        let guard = match (self.sharing, &names[..]) {
            (Sharing::Exclusive, [name]) if self.resources == [LEADER] => {
                redlock.election(name)?.ttl(self.ttl).max_wait(CAMPAIGN).campaign().await?.into()
            }
            (Sharing::Exclusive, [name]) => redlock.mutex(name)?.ttl(self.ttl).lock().await?,
            (Sharing::Exclusive, names) => redlock.multi(names)?.ttl(self.ttl).lock().await?,
            (Sharing::Shared, names) => redlock.rwlock(names.concat())?.ttl(self.ttl).read().await?,
            (Sharing::Slots(permits), names) => {
                let permit = redlock.semaphore(names.concat(), permits)?.ttl(self.ttl).acquire().await?;
                let slot = permit.slot();
                return Ok((permit.into(), Some(slot)));
            }
        };
        Ok((guard, None))
    }
}

/// A TTL from `shortest` microseconds to `longest`. Each order of magnitude is as likely as the others.
fn ttl(shortest: u64, longest: Duration, dice: &mut Dice) -> Duration {
    let shortest = Duration::from_micros(shortest);
    if shortest.is_zero() || shortest >= longest {
        return longest;
    }
    let exponent = dice.between(0.0, longest.as_secs_f64().log2() - shortest.as_secs_f64().log2());
    shortest.mul_f64(exponent.exp2()).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_leases_are_drawn_as_often_as_long_ones() {
        let mut dice = Dice::new(1);
        let longest = Duration::from_secs(20);
        assert_eq!(ttl(0, longest, &mut dice), longest);
        assert_eq!(ttl(30_000_000, longest, &mut dice), longest);
        let drawn: Vec<_> = (0..1000).map(|_| ttl(200_000, longest, &mut dice)).collect();
        assert!(drawn.iter().all(|ttl| (Duration::from_millis(200)..=longest).contains(ttl)), "{drawn:?}");
        let short = drawn.iter().filter(|ttl| **ttl < Duration::from_secs(2)).count();
        assert!((450..550).contains(&short), "{short}");
    }
}
