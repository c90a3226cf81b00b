//! Chance: what spreads slots that began together. Not for secrets. A test or a simulation may seed it, so that its run can
//! be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Dice. Cheap to clone; clones of seeded dice take turns with them.
#[derive(Clone, Debug)]
pub struct Dice(Source);

#[derive(Clone, Debug)]
enum Source {
    Random,
    Seeded(Arc<AtomicU64>),
}

impl Dice {
    /// Dice that fall differently in every process.
    pub fn random() -> Self {
        Self(Source::Random)
    }

    /// Dice that fall the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// A number from 0 up to 1.
    pub fn throw(&self) -> f64 {
        let bits = match &self.0 {
            // The standard library's hasher has random keys.
            Source::Random => RandomState::new().build_hasher().finish(),
            Source::Seeded(state) => split_mix(state.fetch_add(GAMMA, Ordering::Relaxed)),
        };
        f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Between two states of `SplitMix64` (<https://doi.org/10.1145/2714064.2660195>).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn split_mix(state: u64) -> u64 {
    let mixed = state.wrapping_add(GAMMA);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_fall_all_over_the_range() {
        for dice in [Dice::random(), Dice::seeded(1)] {
            let mut tenths = [false; 10];
            for _ in 0..1000 {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let tenth = (dice.throw() * 10.0) as usize;
                tenths[tenth] = true;
            }
            assert_eq!(tenths, [true; 10]);
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "the same bits are wanted")]
    fn the_same_seed_falls_the_same_and_another_does_not() {
        let fall = |seed| {
            let dice = Dice::seeded(seed);
            [(); 8].map(|()| dice.throw())
        };
        assert_eq!(fall(1), fall(1));
        assert_ne!(fall(1), fall(2));
    }
}
