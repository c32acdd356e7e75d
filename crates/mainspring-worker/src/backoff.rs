//! How long to wait before trying again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// The delay before a message whose handler has now failed `failures + 1` times runs again: a second, doubled with every
/// failure, at most an hour, a fifth shorter or longer so that messages that failed together do not come back together.
pub fn retry_delay(failures: u32) -> Duration {
    jittered(FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)).min(LONGEST)
}

/// `duration`, up to a fifth shorter or longer.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.8 + 0.4 * random())
}

/// Grows from `first` to `longest` while something keeps failing.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.longest);
        jittered(pause)
    }
}

/// Between 0 and 1: every `RandomState` hashes with other keys.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_are_capped() {
        // fault F87
        for (failures, low, high) in [(0, 0.8, 1.2), (1, 1.6, 2.4), (5, 25.6, 38.4), (12, 2880.0, 3600.0)] {
            let delay = retry_delay(failures).as_secs_f64();
            assert!((low..=high).contains(&delay), "{failures}: {delay}");
        }
        assert!(retry_delay(1_000) <= LONGEST && retry_delay(u32::MAX) >= LONGEST.mul_f64(0.8));
    }

    #[test]
    fn a_backoff_starts_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        for (low, high) in [(8, 12), (16, 24), (32, 48), (40, 60), (40, 60)] {
            let pause = backoff.pause();
            assert!(pause >= Duration::from_millis(low) && pause <= Duration::from_millis(high), "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(12));
    }
}
