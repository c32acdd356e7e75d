//! The header `Retry-After`: seconds, or a date.

use std::time::Duration;

use mainspring_core::limits;

/// How long it says to wait; `None` when it says nothing that can be understood. A date that is over means at once.
pub(super) fn parse(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(limits::MAX_DURATION));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default().min(limits::MAX_DURATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        // fault F90
        let now: jiff::Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(parse(" 120 ", now), seconds(120));
        assert_eq!(parse("0", now), seconds(0));
        assert_eq!(parse("18446744073709551615", now), Some(limits::MAX_DURATION));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT", now), seconds(37));
        assert_eq!(parse("Sun, 06 Nov 1994 08:40:00 GMT", now), seconds(0));
        for wrong in ["", "-1", "soon", "1.5", "Sun, 99 Nov 1994"] {
            assert_eq!(parse(wrong, now), None, "{wrong}");
        }
    }
}
