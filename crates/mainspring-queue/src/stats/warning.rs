//! Warnings: what is not as it should be, stored, told once and again only after a while.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime},
};

use mainspring_core::{Error, Result, Timestamp, WorkerId, limits};
use mainspring_pg::{Db, Query, Row, row::get};

use super::count::QueueCount;
use crate::row::micros;

/// When to warn; of a queue's own, see [`PgStats::watch`](super::PgStats::watch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// More messages ready in one queue than this. Defaults to 10,000; `None` is never.
    pub backlog: Option<u64>,
    /// A message ready for longer than this. Defaults to never.
    pub oldest: Option<Duration>,
    /// A part of upkeep that takes longer than this. Defaults to 30 s.
    pub slow: Duration,
    /// A process whose clock is further off the database's than this. Defaults to 1 min.
    pub clock_skew: Duration,
    /// The same warning is not given again for this long. Defaults to 1 h.
    pub repeat: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            backlog: Some(10_000),
            oldest: None,
            slow: Duration::from_secs(30),
            clock_skew: Duration::from_secs(60),
            repeat: Duration::from_secs(3_600),
        }
    }
}

impl Thresholds {
    pub(crate) fn check(&self) -> Result<()> {
        Watch { backlog: self.backlog, oldest: self.oldest }.check()?;
        limits::check_duration("thresholds.slow", self.slow)?;
        limits::check_duration("thresholds.clock_skew", self.clock_skew)?;
        limits::check_duration("thresholds.repeat", self.repeat)
    }

    /// What there is to warn about in one queue. A watch of its own replaces what is said of all queues.
    pub(super) fn judge(&self, count: &QueueCount, watch: Option<&Watch>) -> Vec<Finding> {
        let all = Watch { backlog: self.backlog, oldest: self.oldest };
        let watch = watch.unwrap_or(&all);
        let backlog = watch.backlog.filter(|most| count.ready > *most).map(|most| Finding {
            kind: WarningKind::Backlog,
            subject: count.queue.clone(),
            value: whole(count.ready),
            most: whole(most),
        });
        let oldest = watch.oldest.filter(|most| count.oldest > *most).map(|most| Finding {
            kind: WarningKind::Oldest,
            subject: count.queue.clone(),
            value: micros(count.oldest),
            most: micros(most),
        });
        backlog.into_iter().chain(oldest).collect()
    }
}

/// When to warn about one queue. `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// More messages ready than this, at least 1.
    pub backlog: Option<u64>,
    /// A message ready for longer than this, at least a microsecond.
    pub oldest: Option<Duration>,
}

impl Watch {
    pub(super) fn check(&self) -> Result<()> {
        if self.backlog == Some(0) {
            return Err(Error::invalid(
                "watch.backlog",
                "0 is not a number of messages to warn of; none is never",
            ));
        }
        if self.oldest.is_some_and(|oldest| micros(oldest) == 0) {
            return Err(Error::invalid("watch.oldest", "0 would warn of every message; none is never"));
        }
        limits::check_duration("watch.oldest", self.oldest.unwrap_or_default())
    }
}

/// What kind of thing is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// Too many messages are ready in a queue.
    Backlog,
    /// A message has been ready for too long.
    Oldest,
    /// A part of upkeep takes too long.
    Slow,
    /// A process' clock is off.
    ClockSkew,
}

impl WarningKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Backlog, Self::Oldest, Self::Slow, Self::ClockSkew];

    /// The name in the database and in traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backlog => "backlog",
            Self::Oldest => "oldest",
            Self::Slow => "slow",
            Self::ClockSkew => "clock_skew",
        }
    }
}

/// A warning that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Of what.
    pub kind: WarningKind,
    /// The queue, the part of upkeep, or the process.
    pub subject: String,
    /// How much it was: messages, or microseconds.
    pub value: i64,
    /// How much it may be.
    pub most: i64,
    /// When it was given.
    pub at: Timestamp,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, value, most, .. } = self;
        let time = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        let (took, may) = (time(*value), time(*most));
        match self.kind {
            WarningKind::Backlog => write!(f, "{value} messages are ready in queue `{subject}`, over {most}"),
            WarningKind::Oldest => {
                write!(f, "a message is ready in queue `{subject}` for {took:?}, over {may:?}")
            }
            WarningKind::Slow => write!(f, "upkeep of {subject} took {took:?}, over {may:?}"),
            WarningKind::ClockSkew => {
                write!(f, "the clock of `{subject}` is {took:?} off the database's, over {may:?}")
            }
        }
    }
}

/// A warning before it is known whether it was given a short time ago.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    kind: WarningKind,
    subject: String,
    value: i64,
    most: i64,
}

impl Finding {
    pub(crate) fn slow(what: &str, took: Duration, most: Duration) -> Self {
        let (value, most) = (micros(took), micros(most));
        Self { kind: WarningKind::Slow, subject: what.to_owned(), value, most }
    }

    pub(crate) fn skew(process: &WorkerId, off: Duration, most: Duration) -> Self {
        let (value, most) = (micros(off), micros(most));
        Self { kind: WarningKind::ClockSkew, subject: process.to_string(), value, most }
    }
}

/// Stores what was not said of the same subject within `repeat`, and answers it.
pub(crate) async fn record(tx: &Db<'_>, findings: &[Finding], repeat: Duration) -> Result<Vec<Warning>> {
    if findings.is_empty() {
        return Ok(Vec::new());
    }
    let query = Query::new(RECORD)
        .bind(findings.iter().map(|f| f.kind.as_str()).collect::<Vec<_>>())
        .bind(findings.iter().map(|f| f.subject.clone()).collect::<Vec<_>>())
        .bind(findings.iter().map(|f| f.value).collect::<Vec<_>>())
        .bind(findings.iter().map(|f| f.most).collect::<Vec<_>>())
        .bind(micros(repeat));
    tx.run(query).await?.iter().map(warning_from_row).collect()
}

/// Reads `kind, subject, value, most, at`.
pub(super) fn warning_from_row(row: &Row) -> Result<Warning> {
    let name: &str = get(row, 0)?;
    let kind = WarningKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    Ok(Warning {
        kind: kind.ok_or_else(|| mainspring_pg::row::unreadable(row, 0))?,
        subject: get(row, 1)?,
        value: get(row, 2)?,
        most: get(row, 3)?,
        at: get::<SystemTime>(row, 4)?.into(),
    })
}

/// Every queue with thresholds of its own.
pub(super) async fn watches(db: &Db<'_>) -> Result<HashMap<String, Watch>> {
    let rows = db.all(WATCHES, &[]).await?;
    let some = |row: &Row, index| Ok(get::<Option<i64>>(row, index)?.map(i64::unsigned_abs));
    rows.iter()
        .map(|row| {
            let watch = Watch { backlog: some(row, 1)?, oldest: some(row, 2)?.map(Duration::from_micros) };
            Ok((get(row, 0)?, watch))
        })
        .collect()
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const WATCHES: &str = "SELECT queue, backlog, oldest_us FROM {queue_watches}";

const RECORD: &str = "INSERT INTO {queue_warnings} (kind, subject, value, most, at)
  SELECT u.kind, u.subject, u.value, u.most, c.at
  FROM (SELECT {now}() AS at OFFSET 0) c,
    unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS u(kind, subject, value, most)
  WHERE NOT EXISTS (SELECT FROM {queue_warnings} w WHERE w.kind = u.kind AND w.subject = u.subject
    AND w.at > c.at - $5::bigint * interval '1 microsecond')
  RETURNING kind, subject, value, most, at";
