//! Schedules as rows: put, look, pause, run by hand, remove.

use std::time::{Duration, SystemTime};

use mainspring_core::{Error, MessageId, QueueDriver, Result, Timestamp, execution::page_size, limits};
use mainspring_pg::{Db, Hints, Row, TxRef, row::get};
use serde_json::Value;

use super::{
    definition::{Schedule, check_key},
    fire,
    row::{COLUMNS, Fire, FireOutcome, ScheduleState, Template, fire_from_row, state_from_row},
};
use crate::{PgQueue, row::micros};

/// Whoever fires schedules waits for this hint beside its own timer.
pub(crate) const WAKE: &str = "mainspring.upkeep";

/// The schedules of one database; see the [module](super).
#[derive(Clone)]
pub struct PgSchedules<'t> {
    pub(crate) db: Db<'t>,
    pub(crate) hints: Option<Hints>,
}

/// Which schedules to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleFilter {
    /// Only those of this queue.
    pub queue: Option<String>,
    /// Only those with this key, in whatever queue.
    pub key: Option<String>,
    /// Only those that are paused, or with `false` those that are not.
    pub paused: Option<bool>,
    /// Only those after this queue and key: the last of the page before.
    pub after: Option<(String, String)>,
}

/// Which ticks of a schedule's past to list; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FireFilter {
    /// About which this was done.
    pub outcome: Option<FireOutcome>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Only those after this tick and outcome in the order of the list: the last of the page before.
    pub after: Option<(Timestamp, FireOutcome)>,
}

impl<'t> PgSchedules<'t> {
    /// Without hints: a change is noticed when whoever fires looks next.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone(), hints: None }
    }

    /// With hints: upkeep notices a change at once, and workers what it fires.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// The same schedules, standing on your transaction: what is put there fires after your commit, or never was.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgSchedules<'u> {
        PgSchedules { db: self.db.on(tx), hints: None }
    }

    /// Creates the schedule of this key and queue, or replaces its definition. Putting the same again changes nothing about
    /// its next tick; another timing begins now. A paused one stays paused.
    ///
    /// # Errors
    /// Invalid, naming the field: also for a pattern that never matches, an unknown time zone and an end before the first
    /// tick.
    pub async fn put(&self, schedule: &Schedule) -> Result<ScheduleState> {
        schedule.check()?;
        let state = self.db.with_tx(async |tx| put_in(tx, schedule).await).await?;
        self.wake();
        Ok(state)
    }

    /// One schedule.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn get(&self, queue: &str, key: &str) -> Result<Option<ScheduleState>> {
        check_names(queue, key)?;
        self.db.opt(GET, &[&queue, &key]).await?.as_ref().map(state_from_row).transpose()
    }

    /// Schedules by queue and key, at most `limit`, up to 10,000; 0 is 100.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    pub async fn list(&self, filter: &ScheduleFilter, limit: u32) -> Result<Vec<ScheduleState>> {
        let (queue, key) = filter.after.as_ref().map(|(queue, key)| (queue, key)).unzip();
        let rows = self
            .db
            .all(LIST, &[&filter.queue, &filter.key, &page_size(limit)?, &queue, &key, &filter.paused])
            .await?;
        rows.iter().map(state_from_row).collect()
    }

    /// Removes one schedule; what it pushed stays. Answers whether it was there.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn remove(&self, queue: &str, key: &str) -> Result<bool> {
        check_names(queue, key)?;
        Ok(self.db.exec(REMOVE, &[&queue, &Some(key)]).await? > 0)
    }

    /// Removes every schedule of a queue; answers how many there were.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn remove_all(&self, queue: &str) -> Result<u64> {
        limits::check_name("schedule.queue", queue)?;
        self.db.exec(REMOVE, &[&queue, &None::<&str>]).await
    }

    /// Stops it until it is resumed. Ticks in between are not missed, they are none. Pausing twice is pausing once.
    ///
    /// # Errors
    /// Not found; Invalid for a bad name.
    pub async fn pause(&self, queue: &str, key: &str) -> Result<ScheduleState> {
        check_names(queue, key)?;
        let row = self.db.opt(PAUSE, &[&queue, &key]).await?;
        state_from_row(&row.ok_or_else(|| absent(queue, key))?)
    }

    /// Lets it go on with the first tick after now. One that is not paused goes on as it is.
    ///
    /// # Errors
    /// Not found; Invalid for a bad name.
    pub async fn resume(&self, queue: &str, key: &str) -> Result<ScheduleState> {
        check_names(queue, key)?;
        let resumed = self.db.with_tx(async |tx| {
            let row = tx.opt(LOCK, &[&queue, &key]).await?.ok_or_else(|| absent(queue, key))?;
            let (state, now) = (state_from_row(&row)?, observed(tx, &row)?);
            if state.paused_at.is_none() {
                return Ok(state);
            }
            let next = state.ticks()?.first(now);
            state_from_row(&tx.one(RESUME, &[&queue, &key, &next.map(SystemTime::from)]).await?)
        });
        let state = resumed.await?;
        self.wake();
        Ok(state)
    }

    /// Pushes its message now, beside its ticks, also when it is paused or over. Answers the message's id.
    ///
    /// # Errors
    /// Not found; Invalid for a bad name; and as a push.
    pub async fn run_now(&self, queue: &str, key: &str) -> Result<MessageId> {
        check_names(queue, key)?;
        let pushed = self.db.with_tx(async |tx| {
            let row = tx.opt(LOCK, &[&queue, &key]).await?.ok_or_else(|| absent(queue, key))?;
            let (mut schedule, now) = (state_from_row(&row)?.schedule, observed(tx, &row)?);
            schedule.jitter = Duration::ZERO;
            let message = fire::message(&schedule, now, 0);
            let id = message.id.clone();
            PgQueue::new(tx).push(vec![message]).await?;
            let (at, outcome) = (SystemTime::from(now), FireOutcome::RunNow.as_str());
            tx.exec(RECORD, &[&queue, &key, &at, &outcome, &id.as_str()]).await?;
            Ok(id)
        });
        let id = pushed.await?;
        if let Some(hints) = &self.hints {
            hints.offer([queue]);
        }
        Ok(id)
    }

    /// The next `n` ticks, up to 10,000, as they will be unless its definition changes: those of a paused one are those it
    /// would have if it were resumed now.
    ///
    /// # Errors
    /// Not found; Invalid for a bad name or `n`.
    pub async fn preview(&self, queue: &str, key: &str, n: u32) -> Result<Vec<Timestamp>> {
        check_names(queue, key)?;
        page_size(n)?;
        let row = self.db.opt(GET, &[&queue, &key]).await?.ok_or_else(|| absent(queue, key))?;
        let (state, now) = (state_from_row(&row)?, observed(&self.db, &row)?);
        let ticks = state.ticks()?;
        let first = if state.paused_at.is_some() { ticks.first(now) } else { state.next };
        Ok(std::iter::successors(first, |tick| ticks.after(*tick)).take(n as usize).collect())
    }

    /// What became of its ticks, latest first, at most `limit`, up to 10,000; 0 is 100. Upkeep forgets them after
    /// its [policy](crate::upkeep::UpkeepOptions::retention).
    ///
    /// # Errors
    /// Invalid for a bad name or limit.
    pub async fn history(&self, queue: &str, key: &str, limit: u32) -> Result<Vec<Fire>> {
        self.fires(queue, key, &FireFilter::default(), limit).await
    }

    /// Those of its [`history`](Self::history) that match.
    ///
    /// # Errors
    /// Invalid for a bad name or limit.
    pub async fn fires(&self, queue: &str, key: &str, filter: &FireFilter, limit: u32) -> Result<Vec<Fire>> {
        check_names(queue, key)?;
        let (after, after_outcome) = filter.after.unzip();
        let rows = self
            .db
            .all(
                HISTORY,
                &[
                    &queue,
                    &key,
                    &page_size(limit)?,
                    &filter.outcome.map(FireOutcome::as_str),
                    &filter.since.map(SystemTime::from),
                    &after.map(SystemTime::from),
                    &after_outcome.map(FireOutcome::as_str),
                ],
            )
            .await?;
        rows.iter().map(fire_from_row).collect()
    }

    fn wake(&self) {
        if let Some(hints) = &self.hints {
            hints.notify([WAKE]);
        }
    }
}

impl<'t> PgQueue<'t> {
    /// The schedules beside this queue, standing where it stands and with its hints.
    pub fn schedules(&self) -> PgSchedules<'t> {
        PgSchedules { db: self.db.clone(), hints: self.hints.clone() }
    }
}

async fn put_in(tx: &Db<'_>, schedule: &Schedule) -> Result<ScheduleState> {
    let queue = &schedule.message.queue;
    let old = tx.opt(LOCK, &[queue, &schedule.key]).await?;
    let now = match &old {
        Some(row) => observed(tx, row)?,
        None => get::<SystemTime>(&tx.one(CLOCK, &[]).await?, 0)?.into(),
    };
    let old = old.as_ref().map(state_from_row).transpose()?;
    let kept = old.filter(|old| {
        let bounds = |s: &Schedule| (s.timing.clone(), s.starts_at, s.ends_at);
        bounds(&old.schedule) == bounds(schedule)
    });
    let anchor = kept.as_ref().map_or(now, |old| old.anchor);
    let ticks = super::ticks::Ticks::new(&schedule.timing, anchor, schedule.starts_at, schedule.ends_at)?;
    let next = match &kept {
        // one that is over stays over
        Some(old) if old.paused_at.is_none() => old.next,
        _ => Some(ticks.first(now).ok_or_else(|| {
            Error::invalid("schedule.timing", "it would never fire: there is no tick after now")
        })?),
    };
    let (timing, missed) = (json(&schedule.timing)?, json(&schedule.missed)?);
    let message = json(&Template::from(&schedule.message))?;
    let time = |at: Option<Timestamp>| at.map(SystemTime::from);
    let row = tx
        .one(
            PUT,
            &[
                queue,
                &schedule.key,
                &timing,
                &missed,
                &message,
                &micros(schedule.jitter),
                &time(schedule.starts_at),
                &time(schedule.ends_at),
                &SystemTime::from(anchor),
                &time(next),
            ],
        )
        .await?;
    state_from_row(&row)
}

fn json<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::internal("a schedule is not JSON").with_source(e))
}

/// The clock's column, which follows those of the schedule.
fn observed(db: &Db<'_>, row: &Row) -> Result<Timestamp> {
    let now = get::<SystemTime>(row, COLUMNS)?.into();
    db.clock().observe(now);
    Ok(now)
}

fn check_names(queue: &str, key: &str) -> Result<()> {
    limits::check_name("schedule.queue", queue)?;
    check_key(key)
}

fn absent(queue: &str, key: &str) -> Error {
    Error::not_found("schedule", format_args!("{queue}/{key}"))
}

const CLOCK: &str = "SELECT {now}()";

const GET: &str =
    "SELECT queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at, {now}() FROM {schedules}
  WHERE queue = $1 AND key = $2";

const LOCK: &str =
    "SELECT queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at, {now}() FROM {schedules}
  WHERE queue = $1 AND key = $2 FOR UPDATE";

const LIST: &str =
    "SELECT queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at FROM {schedules}
  WHERE ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR key = $2)
    AND ($6::boolean IS NULL OR (paused_at IS NOT NULL) = $6)
    AND (queue, key) > (coalesce($4::text, ''), coalesce($5::text, '')) ORDER BY queue, key LIMIT $3";

/// A paused one has a tick too, which nobody looks at.
const PUT: &str = "INSERT INTO {schedules} AS s (queue, key, timing, missed, message, jitter_us, starts_at, ends_at,
    anchor_at, next_fire_at, due_at, created_at, updated_at)
  SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, c.at, c.at FROM (SELECT {now}() AS at OFFSET 0) c
  ON CONFLICT (queue, key) DO UPDATE SET timing = excluded.timing, missed = excluded.missed, message = excluded.message,
    jitter_us = excluded.jitter_us, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
    anchor_at = excluded.anchor_at, next_fire_at = excluded.next_fire_at,
    due_at = CASE WHEN s.paused_at IS NULL THEN excluded.due_at END, updated_at = excluded.updated_at,
    last_error = NULL, revision = s.revision + 1
  RETURNING queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at";

const PAUSE: &str = "UPDATE {schedules} SET paused_at = coalesce(paused_at, {now}()), due_at = NULL,
    revision = revision + (paused_at IS NULL)::int
  WHERE queue = $1 AND key = $2
  RETURNING queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at";

const RESUME: &str = "UPDATE {schedules} SET paused_at = NULL, next_fire_at = $3, due_at = $3, revision = revision + 1
  WHERE queue = $1 AND key = $2
  RETURNING queue, key, revision, timing, missed, message, jitter_us, starts_at, ends_at, anchor_at, paused_at,
    next_fire_at, last_fire_at, last_error, created_at, updated_at";

const REMOVE: &str = "DELETE FROM {schedules} WHERE queue = $1 AND ($2::text IS NULL OR key = $2)";

const RECORD: &str = "INSERT INTO {schedule_fires} (queue, key, tick, outcome, missed, fired_at, message_id)
  VALUES ($1, $2, $3, $4, 0, {now}(), $5)";

const HISTORY: &str = "SELECT tick, outcome, missed, fired_at, message_id FROM {schedule_fires}
  WHERE queue = $1 AND key = $2 AND ($4::text IS NULL OR outcome = $4) AND ($5::timestamptz IS NULL OR tick >= $5)
    AND ($6::timestamptz IS NULL OR tick < $6 OR (tick = $6 AND outcome > $7))
  ORDER BY tick DESC, outcome LIMIT $3";
