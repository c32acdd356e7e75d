//! Chance that can be repeated.

use std::hash::{BuildHasher, RandomState};

/// Numbers that look random and are the same for the same seed.
///
/// ```
/// use mainspring_testing::Dice;
///
/// let (mut one, mut other) = (Dice::new(7), Dice::new(7));
/// assert_eq!(one.roll(6), other.roll(6));
/// ```
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Those of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed nobody has chosen, below a million so that it can be typed.
    pub fn any_seed() -> u64 {
        RandomState::new().hash_one("dice") % 1_000_000
    }

    /// 0 to `below`, without `below` itself; 0 when that is 0.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    /// An index below `len`, 0 when that is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).unwrap_or(0)
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}
