//! How far this process' clock is off the database's. Nothing is decided by it: it is told, because a host whose clock is
//! wrong misleads whoever reads its logs.

use std::time::{Duration, SystemTime};

use mainspring_core::Timestamp;

/// How far the clock of this process is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Whether the database's clock is ahead of this process'.
    pub database_is_ahead: bool,
    /// By how much, to within a round trip.
    pub by: Duration,
}

/// What the last comparison that worked said.
#[derive(Debug, Default)]
pub(super) struct Skew(Option<ClockSkew>);

impl Skew {
    /// The database said `now` somewhere in the `round_trip` that ended just now. Answers how far the clocks are apart for
    /// certain.
    pub(super) fn learn(&mut self, now: Timestamp, round_trip: Duration) -> Option<Duration> {
        self.compare(now.into(), host_time(), round_trip)
    }

    fn compare(&mut self, database: SystemTime, here: SystemTime, round_trip: Duration) -> Option<Duration> {
        let process = here.checked_sub(round_trip / 2).unwrap_or(here);
        let skew = match database.duration_since(process) {
            Ok(by) => ClockSkew { database_is_ahead: true, by },
            Err(behind) => ClockSkew { database_is_ahead: false, by: behind.duration() },
        };
        self.0 = Some(skew);
        skew.by.checked_sub(round_trip)
    }

    pub(super) fn latest(&self) -> Option<ClockSkew> {
        self.0
    }
}

#[allow(clippy::disallowed_methods, reason = "it is this clock that is looked at, not told the time by")]
fn host_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_does_not_look_like_a_wrong_clock() {
        let second = Duration::from_secs(1);
        let database = SystemTime::UNIX_EPOCH + 100 * second;
        let mut skew = Skew::default();
        assert_eq!(skew.compare(database, database - second, 4 * second), None);
        assert_eq!(skew.compare(database, database - 60 * second, 2 * second), Some(59 * second));
        assert_eq!(skew.latest(), Some(ClockSkew { database_is_ahead: true, by: 61 * second }));
        assert_eq!(skew.compare(database, database + 9 * second, 2 * second), Some(6 * second));
        assert_eq!(skew.latest(), Some(ClockSkew { database_is_ahead: false, by: 8 * second }));
    }
}
