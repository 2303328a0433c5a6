//! Random numbers from a seed, so that a run can be repeated.

use std::io;

use crate::failure::Failure;

/// SplitMix64: eight lines, and random enough to choose victims and pauses.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to below `bound`, which must be above 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let scaled = u128::from(self.roll()) * u128::from(bound);
        u64::try_from(scaled >> 64).unwrap_or(0)
    }

    /// A number from `low` to below `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 random bits are what a double takes")]
        let share = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * share
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A random seed, short enough to type again and exact in every JSON reader.
pub(crate) fn random_seed() -> Result<u64, Failure> {
    let seed = getrandom::u32()
        .map_err(|error| Failure::System { action: "draw a seed", source: io::Error::other(error) })?;
    Ok(u64::from(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all_numbers_and_they_stay_within_their_bounds() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            std::iter::repeat_with(|| (dice.below(5), dice.between(0.5, 0.75))).take(1000).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
        for (node, share) in rolls(7) {
            assert!(node < 5 && (0.5..0.75).contains(&share), "{node} {share}");
        }
    }
}
