//! What people write for times and JSON.

use std::{io::Read, str::FromStr, time::Duration};

use mainspring_core::{Error, Timestamp};
use serde_json::Value;

use crate::output::Page;

/// A length of time: `250ms`, `30s`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            || Error::invalid("time", format!("`{}` is not like 250ms, 30s or 1h30m", text.escape_debug()));
        let mut millis = 0_u64;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, next) = tail.split_at(letters);
            let unit = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(bad()),
            };
            let number: u64 = number.parse().map_err(|_| bad())?;
            millis = number.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or_else(bad)?;
            rest = next;
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A time: RFC 3339, or how long ago as a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let bad = |_| {
            let text = text.escape_debug();
            Error::invalid(
                "time",
                format!("`{text}` is neither like 2026-01-31T12:00:00Z nor like 30s or 7d"),
            )
        };
        text.parse().map(|Span(ago)| Self::Ago(ago)).map_err(bad)
    }
}

/// A duration in seconds for JSON, with what is left of one behind the point.
pub(crate) fn seconds(duration: Duration) -> Value {
    (duration.as_millis() as f64 / 1_000.0).into()
}

/// Text of an argument: of the file behind `@`, of standard input for `-`, else itself.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn text(argument: &str) -> crate::Result<String> {
    if argument == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    match argument.strip_prefix('@') {
        Some(path) => Ok(std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?),
        None => Ok(argument.to_owned()),
    }
}

/// JSON of an argument; see [`text`].
///
/// # Errors
/// Invalid, with line and column and without the text.
pub(crate) fn json(field: &str, argument: &str) -> crate::Result<Value> {
    let read = serde_json::from_str(&text(argument)?);
    Ok(read.map_err(|error| Error::invalid(field, format!("is no JSON: {error}")))?)
}

/// The page of a list.
#[derive(clap::Args)]
pub(crate) struct PageArgs {
    /// At most so many, up to 10,000, of messages and output streams 1,000.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u32,
    /// Only those after this: what the page before said.
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

impl PageArgs {
    /// Where the page begins: something with `/` between it and what tells apart those of which it is the same.
    ///
    /// # Errors
    /// Invalid, when no list said so.
    pub(crate) fn cursor<A: FromStr, B: FromStr>(&self) -> Result<Option<(A, B)>, Error> {
        let Some(after) = &self.after else { return Ok(None) };
        let parts = after.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        parts.map(Some).ok_or_else(|| Error::invalid("after", "is not what a list said"))
    }

    /// The page of a list that is there as a whole, in the order of `name`; it need not be there any more.
    pub(crate) fn behind<T>(&self, all: Vec<T>, name: impl Fn(&T) -> &str) -> Page<T> {
        let behind = |item: &T| self.after.as_deref().is_none_or(|after| name(item) > after);
        let items = all.into_iter().filter(behind).take(self.limit as usize).collect();
        Page::keyed(items, self.limit, |last| name(last).to_owned())
    }

    /// The page of a list that is there as a whole; `key` is another for each.
    ///
    /// # Errors
    /// Invalid, when no list said so.
    pub(crate) fn of<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>, Error> {
        let begin = match &self.after {
            None => 0,
            Some(after) => {
                let last = all.iter().position(|item| key(item) == *after);
                last.ok_or_else(|| Error::invalid("after", "is not there any more, or no list said it"))? + 1
            }
        };
        let (more, limit) = (all.len().saturating_sub(begin), self.limit as usize);
        let items: Vec<T> = all.into_iter().skip(begin).take(limit).collect();
        let next = items.last().filter(|_| more > limit).map(key);
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        let read = |text: &str| text.parse::<Span>().map(|Span(span)| span.as_millis()).ok();
        assert_eq!(read("1d2h3m4s5ms"), Some(93_784_005));
        for bad in ["", "5", "s", "-5s", "5 s", "99999999999999999999d", "5x", "1h30"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
