//! Chance, from a seed alone.
//!
//! Owns: the one source of everything that is random in a story. Must not: depend on anything else: a crate that draws differently in
//! its next version would make every written-down seed worthless. Promises: the same seed draws the same for ever.

use uuid::Uuid;

/// `SplitMix64`: small, quick, and fixed by its constants.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).unsigned_abs().saturating_add(1);
        low.saturating_add_unsigned(self.any() % width)
    }

    /// Whether something that happens so many times in a thousand happens now.
    pub fn permille(&mut self, often: u64) -> bool {
        self.any() % 1000 < often
    }

    /// One of several, if there is any.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(among.len()).ok()?;
        among.get(usize::try_from(self.any().checked_rem(count)?).ok()?)
    }

    /// An id.
    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.any(), self.any())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_fall_as_they_always_did() {
        let mut dice = Dice::new(7);
        assert_eq!([dice.any(), dice.any()], [7_191_089_600_892_374_487, 309_689_372_594_955_804]);
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
    }
}
