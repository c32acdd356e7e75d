//! The next fire of a cron pattern, exact over every change of a zone's clocks.
//!
//! Between two changes of its offset a zone's clock runs like any other, so the time line is looked at in such segments:
//! within one, a match of the pattern by the wall clock is one instant. At their borders the policies decide.
//!
//! ```text
//!   put forward (gap)   wall 01:59│03:00     times in between belong to no instant: Skip, Shift or FirstAfter
//!   put back (fold)     wall 02:59│02:00     times in between belong to two:        First, Second or Both
//! ```
//! The pattern itself is croner's, asked about wall-clock times only; zones are jiff's. All times here are whole seconds,
//! either since 1970 or, as a `wall` time, the same count on the zone's clock.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{
    Timestamp as Instant,
    civil::DateTime,
    tz::{Offset, TimeZone},
};
use mainspring_core::{Error, Result};

use super::timing::{CronTiming, Fold, Gap, shown};

/// A pattern that does not match for so long never does.
const HORIZON: i64 = 100 * 366 * DAY;
const DAY: i64 = 86_400;
/// No zone has put its clock further than a day at once.
const LARGEST_CHANGE: i64 = 26 * 3_600;

/// A pattern ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
    gap: Gap,
    fold: Fold,
    is_interval: bool,
}

/// A change of the zone's clock.
#[derive(Clone, Copy)]
struct Change {
    at: i64,
    before: i64,
    after: i64,
}

/// Whether this is a cron pattern as [`Timing::cron`](super::Timing::cron) takes them, without a look at when it matches.
pub fn is_pattern(pattern: &str) -> bool {
    matches!(super::Timing::cron(pattern), super::Timing::Cron(timing) if Cron::new(&timing).is_ok())
}

impl Cron {
    pub(crate) fn new(timing: &CronTiming) -> Result<Self> {
        let bad = |problem: String| {
            Error::invalid("schedule.cron", format!("`{}` {problem}", shown(&timing.pattern)))
        };
        if timing.pattern.trim_start().to_lowercase().starts_with("@reboot") {
            return Err(bad("is no time".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser
            .parse(&timing.pattern)
            .map_err(|e| bad("is not a cron pattern of 5 or 6 fields".to_owned()).with_source(e))?;
        let zone = TimeZone::get(&timing.zone).map_err(|e| {
            let problem = format!("`{}` is not the name of a time zone", shown(&timing.zone));
            Error::invalid("schedule.zone", problem).with_source(e)
        })?;
        let fields: Vec<&str> = pattern.as_str().split_whitespace().collect();
        let of_day = fields.len().saturating_sub(3); // minutes and hours, and seconds when they are there
        let is_interval = fields.iter().take(of_day).any(|field| field.contains('*'));
        let cron = Self { pattern, zone, gap: timing.gap, fold: timing.fold, is_interval };
        if cron.wall_from(0).is_none() {
            return Err(bad("never matches".to_owned()));
        }
        Ok(cron)
    }

    /// The first fire after `after`; `None` when there is none within a hundred years.
    pub(crate) fn after(&self, after: i64) -> Option<i64> {
        let mut from = after.checked_add(1)?;
        let horizon = after.saturating_add(HORIZON);
        let mut matches = Matches { cron: self, known: None };
        while from < horizon {
            let offset = self.offset(from)?;
            let change = self.changes_before(from + 1).next();
            let end = self.next_change(from);
            if let Some(fire) = self.in_segment(&mut matches, from, offset, change, end) {
                return Some(fire);
            }
            // All that can match from the change on, also in its gap and what its fold repeats.
            let end = end?;
            let next_wall = matches.from(end.at + end.before.min(end.after))?;
            from = end.at.max(next_wall - 3 * DAY);
        }
        None
    }

    /// The first fire at or after `from` and before `end`, where the clock shows `offset` since `start`.
    fn in_segment(
        &self,
        matches: &mut Matches<'_>,
        from: i64,
        offset: i64,
        start: Option<Change>,
        end: Option<Change>,
    ) -> Option<i64> {
        let mut low = from + offset;
        let mut high = end.map_or(i64::MAX, |end| end.at + offset);
        if !self.is_interval && self.fold == Fold::First {
            low = low.max(start.filter(|s| s.after < s.before).map_or(low, |s| s.at + s.before));
        }
        if !self.is_interval && self.fold == Fold::Second {
            high = high.min(end.filter(|e| e.after < e.before).map_or(high, |e| e.at + e.after));
        }
        let plain = matches.within(low, high).map(|wall| wall - offset);
        let moved = if self.is_interval { None } else { self.out_of_gaps(from) };
        let before_end = |at: &i64| end.is_none_or(|end| *at < end.at);
        plain.into_iter().chain(moved.filter(before_end)).min()
    }

    /// The first fire at or after `from` of a time that fell into a gap.
    fn out_of_gaps(&self, from: i64) -> Option<i64> {
        let recent = self.changes_before(from + 1).take_while(|c| c.at > from - LARGEST_CHANGE);
        let gaps = recent.filter(|c| c.after > c.before);
        gaps.filter_map(|gap| {
            let (low, high) = (gap.at + gap.before, gap.at + gap.after);
            match self.gap {
                Gap::Skip => None,
                Gap::Shift => {
                    let wall = self.wall_from(low.max(from + gap.before)).filter(|wall| *wall < high)?;
                    Some(wall - gap.before)
                }
                Gap::FirstAfter if gap.at < from => None,
                Gap::FirstAfter => self.wall_from(low).filter(|wall| *wall < high).map(|_| gap.at),
            }
        })
        .min()
    }

    fn wall_from(&self, wall: i64) -> Option<i64> {
        let from = Instant::from_second(wall).ok().map(|at| Offset::UTC.to_datetime(at))?;
        let found: DateTime = self.pattern.find_next_occurrence(&from, true).ok()?;
        Offset::UTC.to_timestamp(found).ok().map(Instant::as_second)
    }

    fn offset(&self, at: i64) -> Option<i64> {
        Instant::from_second(at).ok().map(|at| i64::from(self.zone.to_offset(at).seconds()))
    }

    /// The changes before `at`, latest first.
    fn changes_before(&self, at: i64) -> impl Iterator<Item = Change> + '_ {
        let at = Instant::from_second(at).ok();
        at.into_iter().flat_map(|at| self.zone.preceding(at)).filter_map(|t| self.change(t.timestamp()))
    }

    fn next_change(&self, after: i64) -> Option<Change> {
        let after = Instant::from_second(after).ok()?;
        self.zone.following(after).find_map(|t| self.change(t.timestamp()))
    }

    fn change(&self, at: Instant) -> Option<Change> {
        let at = at.as_second();
        let (before, after) = (self.offset(at - 1)?, self.offset(at)?);
        (before != after).then_some(Change { at, before, after }) // else it only got another name
    }
}

/// Matches of the pattern on the wall clock, remembering the last: a rare one is searched for once, not in each segment.
struct Matches<'a> {
    cron: &'a Cron,
    known: Option<(i64, Option<i64>)>,
}

impl Matches<'_> {
    fn from(&mut self, wall: i64) -> Option<i64> {
        if let Some((since, found)) = self.known
            && since <= wall
            && found.is_none_or(|found| wall <= found)
        {
            return found;
        }
        let found = self.cron.wall_from(wall);
        self.known = Some((wall, found));
        found
    }

    fn within(&mut self, low: i64, high: i64) -> Option<i64> {
        if low >= high {
            return None;
        }
        self.from(low).filter(|found| *found < high)
    }
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
