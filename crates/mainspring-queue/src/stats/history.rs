//! What was counted over time, in buckets.

use std::time::{Duration, SystemTime};

use mainspring_core::{Error, Result, Timestamp, limits};

use crate::row::micros;

/// Most points of one answer.
pub const MAX_POINTS: u32 = 10_000;

/// Which counts of a queue to look at, and how. The default is everything that is kept, as it was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    /// Not before this. Defaults to the first there is.
    pub from: Option<Timestamp>,
    /// Before this. Defaults to now.
    pub to: Option<Timestamp>,
    /// The latest so many points; 1 to [`MAX_POINTS`], 0 is 1,000.
    pub limit: u32,
    /// One point for each so long, from 1 s to 366 days, beginning at multiples of it since 1970. Defaults to a point for
    /// each count.
    pub bucket: Option<Duration>,
    /// Buckets as wide as it takes to have no more points than this, 1 to [`MAX_POINTS`]; not together with `bucket`, and
    /// with `from`. Defaults to none.
    pub max_points: Option<u32>,
    /// What the counts of one bucket become.
    pub aggregate: Aggregate,
}

/// What several counts become when they are one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Aggregate {
    /// The largest of each.
    #[default]
    Max,
    /// The smallest of each.
    Min,
    /// The mean of each, rounded.
    Avg,
}

impl Aggregate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
            Self::Avg => "avg",
        }
    }
}

/// A checked query in the terms of its statement.
pub(super) struct Plan {
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
    /// One microsecond is every count by itself.
    pub(super) width_us: i64,
    pub(super) limit: i64,
    pub(super) aggregate: &'static str,
}

impl HistoryQuery {
    pub(super) fn plan(&self, now: Timestamp) -> Result<Plan> {
        let (from, to) =
            (self.from.unwrap_or(Timestamp::MIN), self.to.unwrap_or(now + Duration::from_secs(1)));
        if to <= from {
            return Err(Error::invalid("history.to", format!("{to} is not after {from}")));
        }
        let limit = if self.limit == 0 { 1_000 } else { self.limit };
        check_points("history.limit", limit)?;
        let width_us = match (self.bucket, self.max_points) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("history.max_points", "not together with a bucket's width"));
            }
            (Some(bucket), None) => {
                let days = Duration::from_secs(366 * 86_400);
                if bucket < Duration::from_secs(1) || bucket > days {
                    let problem = format!("{bucket:?} is not within 1 s to 366 days");
                    return Err(Error::invalid("history.bucket", problem));
                }
                limits::check_duration("history.bucket", bucket)?;
                micros(bucket)
            }
            (None, Some(points)) => {
                check_points("history.max_points", points)?;
                if self.from.is_none() {
                    return Err(Error::invalid("history.from", "is needed to know how wide a point is"));
                }
                // whole seconds; a range begins anywhere in its first bucket, which costs one more
                let seconds = to.since(from).as_secs() + 1;
                let width = seconds.div_ceil(u64::from(points.saturating_sub(1).max(1)));
                let width =
                    if points == 1 { i64::MAX / 1_000_000 } else { i64::try_from(width).unwrap_or(1) };
                width.max(1).saturating_mul(1_000_000)
            }
            (None, None) => 1,
        };
        let aggregate = self.aggregate.as_str();
        Ok(Plan { from: from.into(), to: to.into(), width_us, limit: i64::from(limit), aggregate })
    }
}

fn check_points(field: &str, points: u32) -> Result<()> {
    if !(1..=MAX_POINTS).contains(&points) {
        return Err(Error::invalid(field, format!("{points} is not within 1 to {MAX_POINTS}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arguments_are_refused_with_their_name() {
        // Q43
        let now = Timestamp::from_micros(1_000_000_000_000);
        let hour = Duration::from_secs(3_600);
        let cases = [
            ("history.to", HistoryQuery { from: Some(now), to: Some(now), ..Default::default() }),
            ("history.to", HistoryQuery { from: Some(now + hour), ..Default::default() }),
            ("history.limit", HistoryQuery { limit: 10_001, ..Default::default() }),
            (
                "history.bucket",
                HistoryQuery { bucket: Some(Duration::from_millis(999)), ..Default::default() },
            ),
            ("history.bucket", HistoryQuery { bucket: Some(Duration::MAX), ..Default::default() }),
            ("history.max_points", HistoryQuery { max_points: Some(0), ..Default::default() }),
            ("history.max_points", HistoryQuery { max_points: Some(10_001), ..Default::default() }),
            (
                "history.max_points",
                HistoryQuery { bucket: Some(hour), max_points: Some(5), ..Default::default() },
            ),
            ("history.from", HistoryQuery { max_points: Some(5), ..Default::default() }),
        ];
        for (field, query) in cases {
            let Err(error) = query.plan(now) else { panic!("{query:?} was accepted") };
            assert!(error.is_invalid() && error.to_string().starts_with(field), "{query:?}: {error}");
        }
        HistoryQuery::default().plan(now).unwrap();
    }

    #[test]
    fn no_more_points_than_asked_for_whatever_the_range() {
        let from = Timestamp::from_micros(123_456_789_000_001);
        for seconds in [1, 2, 59, 60, 3_600, 86_400, 604_799] {
            for points in [1, 2, 3, 7, 60, 1_000] {
                let to = from + Duration::from_secs(seconds);
                let query = HistoryQuery {
                    from: Some(from),
                    to: Some(to),
                    max_points: Some(points),
                    ..Default::default()
                };
                let width = query.plan(to).unwrap().width_us;
                let buckets = (to.as_micros() - 1).div_euclid(width) - from.as_micros().div_euclid(width) + 1;
                assert!(buckets <= i64::from(points), "{seconds} s in {points} points: {buckets}");
            }
        }
    }
}
