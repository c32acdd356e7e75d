//! The log as one sequence: what is settled, and pages of it.
//!
//! Positions are given out before their transactions commit, in any order, and some never commit. So a reader must not go by
//! the last position it saw: whoever commits later with a smaller one would be skipped. Here a reader asks first below which
//! position everything is *settled*, and reads no further.
//!
//! ```text
//! writer   fence: shared lock named after the last position given out ─► positions ─► commit (visible, then unlocked)
//! reader   1. H = the last position given out    2. L = the lowest lock held    3. new snapshot: position <= least(H, L)
//! ```
//! A writer whose lock is not seen in 2 has ended, and 3 sees what it wrote, or takes its positions after 1, above H. Locks
//! of other databases, other logs and transactions that append nothing do not count. In a stream the order of global
//! positions is that of stream positions: a stream's head is locked from the first position of an append to its commit.

use std::time::{Duration, SystemTime};

use mainspring_core::{Error, RecordedEvent, Result, Timestamp, limits};
use mainspring_pg::{
    Db, Query, Row,
    row::{get, time},
};

use crate::row::{event_from_row, select};

/// What [`Hints`](mainspring_pg::Hints) call "there is something new in the log". Whoever appends may
/// [mention](mainspring_pg::Hints::mention) or [notify](mainspring_pg::Hints::notify) it after the commit; readers that wait
/// for it look by themselves as well.
pub const LOG_HINT: &str = "mainspring/log";

/// Positions one page of a filtered read looks at, at most, so that a filter nothing passes costs bounded statements.
const WINDOW: i64 = 50_000;

/// Which events a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlobalFilter {
    /// Only of these partitions; empty for all.
    pub partitions: Vec<String>,
    /// Only of this tenant. Defaults to all.
    pub tenant: Option<String>,
    /// Only of these types; empty for all.
    pub event_types: Vec<String>,
}

impl GlobalFilter {
    /// Checks names.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        for partition in &self.partitions {
            limits::check_name("filter.partition", partition)?;
        }
        if let Some(tenant) = self.tenant.as_ref().filter(|tenant| !tenant.is_empty()) {
            limits::check_id("filter.tenant", tenant)?;
        }
        self.event_types.iter().try_for_each(|name| limits::check_name("filter.event_type", name))
    }

    fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// A position up to which nothing can be committed any more. It stays true for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settled(i64);

impl Settled {
    /// The position; 0 for an empty log.
    pub fn position(self) -> i64 {
        self.0
    }
}

/// Events in the order of their global positions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The events that pass the filter, at most as many as were asked for.
    pub events: Vec<RecordedEvent>,
    /// Everything up to here was looked at: read on from it.
    pub next: i64,
    /// Bytes of the rows as they came.
    pub bytes: usize,
}

/// How far the log is, and what holds it up.
#[derive(Debug, Clone, PartialEq)]
pub struct Fence {
    /// The last position given out.
    pub last: i64,
    /// Everything up to here is settled.
    pub settled: i64,
    /// The transaction that keeps `settled` below `last`; none when nothing does.
    pub held_by: Option<HeldBy>,
}

/// An open transaction that has taken the position fence.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldBy {
    /// Its server process; `None` for a prepared transaction.
    pub pid: Option<i32>,
    /// When it began, by the clock of the server's host; `None` when this role may not see it.
    pub since: Option<Timestamp>,
    /// How long it has been open.
    pub age: Option<Duration>,
    /// What its connection calls itself.
    pub application: Option<String>,
    /// What it is doing, such as `idle in transaction`.
    pub state: Option<String>,
}

/// Reads the log in the order of global positions: never skips a committed event, never shows a stream out of order, and
/// waits for no transaction but those that append to this log.
///
/// A clone is cheap. It keeps no position: see [`read`](Self::read).
#[derive(Clone)]
pub struct GlobalReader {
    db: Db<'static>,
    filter: GlobalFilter,
}

impl GlobalReader {
    /// A reader of everything. It needs a pool: a transaction might see an older snapshot than it is told is settled.
    ///
    /// # Errors
    /// Invalid, inside a transaction.
    pub fn new(db: &Db<'static>) -> Result<Self> {
        if db.in_transaction() {
            return Err(Error::invalid("db", "the log is read on the pool, not inside a transaction"));
        }
        Ok(Self { db: db.clone(), filter: GlobalFilter::default() })
    }

    /// The same, of these events only.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn only(mut self, filter: GlobalFilter) -> Result<Self> {
        filter.check()?;
        self.filter = filter;
        Ok(self)
    }

    /// The last position given out, settled or not; 0 for an empty log. The cheapest way to see that nothing is new.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn last(&self) -> Result<i64> {
        get(&self.db.one(LAST, &[]).await?, 0)
    }

    /// Below which position everything is settled, at this moment.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn settled(&self) -> Result<Settled> {
        let rows = self.db.look(vec![Query::new(LAST), Query::new(LOWEST)]).await?;
        let mut rows = rows.iter().filter_map(|rows| rows.first());
        let (last, lowest) = (first(rows.next())?, first(rows.next())?);
        let last = last.unwrap_or_default();
        Ok(Settled(lowest.map_or(last, |lowest| lowest.min(last))))
    }

    /// The events beyond `after` that are settled, at most `limit` (1 to 10,000).
    ///
    /// # Errors
    /// Invalid for a limit out of range; else as [`Db::run`].
    pub async fn read(&self, after: i64, settled: Settled, limit: u32) -> Result<Page> {
        let rows_wanted = crate::read::page_size(limit)?;
        if after >= settled.0 {
            return Ok(Page { next: after, ..Page::default() });
        }
        let to = if self.filter.is_all() { settled.0 } else { settled.0.min(after.saturating_add(WINDOW)) };
        let query = match self.filter.partitions.as_slice() {
            [partition] => Query::new(PAGE_OF_ONE).bind(partition.clone()),
            partitions => Query::new(PAGE).bind(partitions.to_vec()),
        };
        let query = query
            .bind(self.filter.tenant.clone())
            .bind(self.filter.event_types.clone())
            .bind(after)
            .bind(to)
            .bind(rows_wanted);
        let rows = self.db.look(vec![query]).await?.pop().unwrap_or_default();
        let bytes = rows.iter().map(Row::raw_size_bytes).sum();
        let events = rows.iter().map(event_from_row).collect::<Result<Vec<_>>>()?;
        let full = i64::try_from(events.len()).is_ok_and(|n| n == rows_wanted);
        let next = match events.last() {
            Some(event) if full => event.global_position,
            _ => to,
        };
        Ok(Page { events, next, bytes })
    }

    /// How far the log is, and which transaction holds it up: for people and for metrics.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn fence(&self) -> Result<Fence> {
        let rows = self.db.look(vec![Query::new(LAST), Query::new(HOLDER)]).await?;
        let last = first(rows.first().and_then(|rows| rows.first()))?.unwrap_or_default();
        let mut fence = Fence { last, settled: last, held_by: None };
        if let Some(row) = rows.get(1).and_then(|rows| rows.first()) {
            let at: i64 = get(row, 0)?;
            if at < last {
                fence.settled = at;
                let since = time(row, 2)?;
                let now = Timestamp::from(get::<SystemTime>(row, 3)?);
                fence.held_by = Some(HeldBy {
                    pid: get(row, 1)?,
                    since,
                    age: since.map(|since| now.since(since)),
                    application: get(row, 4)?,
                    state: get(row, 5)?,
                });
            }
        }
        Ok(fence)
    }
}

fn first(row: Option<&Row>) -> Result<Option<i64>> {
    row.map_or(Ok(None), |row| get(row, 0))
}

const LAST: &str = "SELECT last_value - (NOT is_called)::int FROM {event_position}";

/// The position a lock is named after, and whose lock is one: see the function `event_fence`.
macro_rules! locks {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM (SELECT pid, ((classid::bigint & 65535) << 32) | objid::bigint AS position FROM pg_catalog.pg_locks
               WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock'
                 AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                 AND (classid::bigint >> 16) = (pg_catalog.hashtext('{event_position}') & 32767)) l ",
            $rest
        )
    };
}

const LOWEST: &str = locks!("min(l.position)", "");

const HOLDER: &str = locks!(
    "l.position, l.pid, a.xact_start, clock_timestamp(), a.application_name, a.state",
    "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid ORDER BY l.position, l.pid LIMIT 1"
);

/// One partition by a parameter of its own, so that the others are not even opened.
const PAGE_OF_ONE: &str = select!(
    "WHERE e.partition = $1 AND ($2::text IS NULL OR e.tenant = $2)
       AND (cardinality($3::text[]) = 0 OR e.type = ANY($3))
       AND e.global_position > $4 AND e.global_position <= $5
     ORDER BY e.global_position LIMIT $6"
);

const PAGE: &str = select!(
    "WHERE (cardinality($1::text[]) = 0 OR e.partition = ANY($1)) AND ($2::text IS NULL OR e.tenant = $2)
       AND (cardinality($3::text[]) = 0 OR e.type = ANY($3))
       AND e.global_position > $4 AND e.global_position <= $5
     ORDER BY e.global_position LIMIT $6"
);
