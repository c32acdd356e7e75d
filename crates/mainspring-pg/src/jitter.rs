//! Randomized pauses.

use std::time::Duration;

/// Full jitter: anything between `least` and `least * 2^attempt`, at most `most`.
pub(crate) fn pause(attempt: u32, least: Duration, most: Duration) -> Duration {
    let ceiling = least.saturating_mul(2_u32.saturating_pow(attempt)).min(most);
    let span = ceiling.saturating_sub(least);
    // Without randomness every caller pauses for the ceiling: slower, still right.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    least + span.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// Sleeps as long as a transaction that is run again after a conflict should: full jitter between 10 and 500 ms.
pub async fn backoff(attempt: u32) {
    tokio::time::sleep(pause(attempt, Duration::from_millis(10), Duration::from_millis(500))).await;
}

/// Sleeps between half of `longest` and all of it.
pub async fn pause_about(longest: Duration) {
    tokio::time::sleep(pause(1, longest / 2, longest)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_in_range() {
        let (least, most) = (Duration::from_millis(10), Duration::from_millis(500));
        for attempt in [0, 1, 5, 31, 32, 1_000, u32::MAX] {
            let pause = pause(attempt, least, most);
            assert!(pause >= least && pause <= most, "{attempt}: {pause:?}");
        }
    }
}
