//! When a schedule fires: what its author wrote, and what happens where the clocks of its zone are put forward or back.

use std::{str::FromStr, time::Duration};

use mainspring_core::{Error, Result, Timestamp, limits};
use serde::{Deserialize, Serialize};

/// Shortest interval of [`Timing::Every`].
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Most bytes of a cron pattern and of the name of a time zone.
const MAX_TEXT: usize = 200;

/// When a schedule fires.
///
/// ```
/// use std::time::Duration;
/// use mainspring_queue::schedule::{Gap, Timing};
///
/// let nightly = Timing::cron("30 2 * * *").in_zone("Europe/Berlin").with_gap(Gap::Skip);
/// let often: Timing = "@every 1h30m".parse()?;
/// assert_eq!(often, Timing::Every(Duration::from_secs(5_400)));
/// # let _ = nightly; Ok::<(), mainspring_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// By the wall clock of a time zone.
    Cron(CronTiming),
    /// Again and again after this long, at least [`MIN_INTERVAL`]: absolute time, whatever the clocks on the wall do.
    /// Counted from [`starts_at`](super::Schedule::starts_at), which is the first tick, else from when this timing was first
    /// put, which is none.
    #[serde(with = "micros")]
    Every(Duration),
    /// Once. A time in the past is at once.
    Once(Timestamp),
}

/// A cron pattern and how its zone's clock is read.
///
/// A pattern whose seconds, minutes and hours name numbers only is a time of day: [`gap`](Self::gap) and
/// [`fold`](Self::fold) say what happens on a day on which that time does not exist or exists twice. One with a `*` among
/// them is an interval: it fires whenever the clock on the wall matches, so `*/15 * * * *` fires every 15 minutes of real
/// time on such days too, and neither policy matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronTiming {
    /// Five fields (minute, hour, day of month, month, day of week), or six with seconds in front, or a nickname such as
    /// `@daily`. Names (`MON`, `JAN`), lists, ranges, steps, `L`, `W` and `#` are understood. When both days are limited,
    /// either may match.
    pub pattern: String,
    /// An IANA name such as `Europe/Berlin`. Defaults to `UTC`.
    pub zone: String,
    /// Defaults to [`Gap::Shift`].
    #[serde(default)]
    pub gap: Gap,
    /// Defaults to [`Fold::First`].
    #[serde(default)]
    pub fold: Fold,
}

/// What becomes of a time of day that does not exist, because the clocks are put forward over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// It does not fire that day.
    Skip,
    /// It fires as much later as the clocks were put forward: 02:30 at 03:30.
    #[default]
    Shift,
    /// It fires at the first instant after the gap: 02:30 at 03:00. All times of one gap are one fire.
    FirstAfter,
}

/// Which of the two is meant by a time of day that exists twice, because the clocks are put back over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// The earlier one.
    #[default]
    First,
    /// The later one.
    Second,
    /// It fires twice.
    Both,
}

impl Timing {
    /// By a cron pattern, in UTC; see [`CronTiming::pattern`]. Nothing is checked yet.
    pub fn cron(pattern: impl Into<String>) -> Self {
        let (gap, fold) = Default::default();
        Self::Cron(CronTiming { pattern: pattern.into(), zone: "UTC".to_owned(), gap, fold })
    }

    /// The same by the wall clock of `zone`, an IANA name. Other timings know no zone and stay as they are.
    #[must_use]
    pub fn in_zone(self, zone: impl Into<String>) -> Self {
        match self {
            Self::Cron(cron) => Self::Cron(CronTiming { zone: zone.into(), ..cron }),
            other => other,
        }
    }

    /// The same with another policy for times that do not exist.
    #[must_use]
    pub fn with_gap(self, gap: Gap) -> Self {
        match self {
            Self::Cron(cron) => Self::Cron(CronTiming { gap, ..cron }),
            other => other,
        }
    }

    /// The same with another policy for times that exist twice.
    #[must_use]
    pub fn with_fold(self, fold: Fold) -> Self {
        match self {
            Self::Cron(cron) => Self::Cron(CronTiming { fold, ..cron }),
            other => other,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Cron(cron) => {
                check_text("schedule.cron", &cron.pattern)?;
                check_text("schedule.zone", &cron.zone)
            }
            Self::Every(every) if *every < MIN_INTERVAL => {
                Err(Error::invalid("schedule.every", format!("{every:?} is less than {MIN_INTERVAL:?}")))
            }
            Self::Every(every) => limits::check_duration("schedule.every", *every),
            Self::Once(_) => Ok(()),
        }
    }
}

/// `@every` with a duration of `d`, `h`, `m` and `s` such as `15m` or `1h30m`, `@at` with an RFC 3339 time, else a cron
/// pattern in UTC.
impl FromStr for Timing {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let timing = match word {
            "@every" => Self::Every(interval(rest.trim())?),
            "@at" => Self::Once(rest.trim().parse()?),
            _ => Self::cron(text.trim()),
        };
        timing.check()?;
        Ok(timing)
    }
}

fn interval(text: &str) -> Result<Duration> {
    let bad = || Error::invalid("schedule.every", format!("`{}` is not like 15m or 1h30m", shown(text)));
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, tail) = rest.split_at(end);
        let mut chars = tail.chars();
        let unit = match chars.next() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        let part = number.checked_mul(unit).ok_or_else(bad)?;
        seconds = seconds.checked_add(part).ok_or_else(bad)?;
        rest = chars.as_str();
    }
    Ok(Duration::from_secs(seconds))
}

fn check_text(field: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(Error::invalid(field, format!("{} bytes, at most {MAX_TEXT} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("`{}` has control characters", shown(text))));
    }
    Ok(())
}

/// A text of the caller's, short and harmless, for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}

mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(every: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(every.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_and_nonsense_is_refused() {
        let hours: Timing = "@every 1d2h3m4s".parse().unwrap();
        assert_eq!(hours, Timing::Every(Duration::from_secs(93_784)));
        let bad =
            ["@every", "@every 0s", "@every 5", "@every m", "@every -5m", "@every 99999999999999999999s"];
        for text in
            bad.into_iter().chain(["@every 1h 5x", "@at yesterday", "", "* * *\n* *", "@every 5000000d"])
        {
            let error = text.parse::<Timing>().unwrap_err();
            assert!(error.is_invalid() && error.to_string().len() < 150, "{text}: {error}");
        }
        assert!("x".repeat(201).parse::<Timing>().is_err());
    }

    #[test]
    fn a_timing_is_stored_and_read_back() {
        let once = Timing::Once(Timestamp::from_micros(1_700_000_000_000_000));
        let night =
            Timing::cron("30 2 * * *").in_zone("Europe/Berlin").with_gap(Gap::Skip).with_fold(Fold::Both);
        for timing in [once, night, Timing::Every(Duration::from_secs(900))] {
            let stored = serde_json::to_value(&timing).unwrap();
            assert_eq!(serde_json::from_value::<Timing>(stored).unwrap(), timing);
        }
    }
}
