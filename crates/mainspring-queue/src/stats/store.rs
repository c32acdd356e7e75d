//! Reading what was counted, and saying what to watch.

use std::time::{Duration, SystemTime};

use mainspring_core::{Result, Timestamp, execution::page_size, limits};
use mainspring_pg::{Db, row::get};

use super::{
    count::{self, QueueCount, count_from_row},
    history::HistoryQuery,
    warning::{self, Thresholds, Warning, WarningKind, Watch, warning_from_row},
};
use crate::{PgQueue, row::micros};

/// How full queues are and were; see the [module](super).
#[derive(Clone)]
pub struct PgStats<'t> {
    db: Db<'t>,
}

impl<'t> PgStats<'t> {
    /// The counts of this database.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// Counts now, at the cost of a pass over all messages, and warns as upkeep would.
    ///
    /// # Errors
    /// Of the database.
    pub async fn count(&self, thresholds: &Thresholds) -> Result<Vec<Warning>> {
        thresholds.check()?;
        self.db.with_tx(async |tx| count::count(tx, thresholds).await).await
    }

    /// The latest count of every queue, by name. A queue that is not there was empty. Costs as much as there are queues.
    ///
    /// # Errors
    /// Of the database.
    pub async fn latest(&self) -> Result<Vec<QueueCount>> {
        self.db.all(LATEST, &[]).await?.iter().map(count_from_row).collect()
    }

    /// The latest count of one queue; `None` when nothing was counted yet, or it was empty then and before.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn latest_of(&self, queue: &str) -> Result<Option<QueueCount>> {
        limits::check_name("stats.queue", queue)?;
        self.db.opt(LATEST_OF, &[&queue]).await?.as_ref().map(count_from_row).transpose()
    }

    /// A queue's counts over time, oldest first. A point's time is that of its count, or the beginning of its bucket; a
    /// bucket in which nothing was counted has none.
    ///
    /// # Errors
    /// Invalid, naming the argument and its limit.
    pub async fn history(&self, queue: &str, query: &HistoryQuery) -> Result<Vec<QueueCount>> {
        limits::check_name("stats.queue", queue)?;
        let now = match query.to {
            Some(to) => to,
            None => get::<SystemTime>(&self.db.one("SELECT {now}()", &[]).await?, 0)?.into(),
        };
        let plan = query.plan(now)?;
        let rows = self
            .db
            .all(HISTORY, &[&queue, &plan.from, &plan.to, &plan.width_us, &plan.limit, &plan.aggregate])
            .await?;
        rows.iter().map(count_from_row).collect()
    }

    /// Warns about this queue by thresholds of its own, in every process.
    ///
    /// # Errors
    /// Invalid, naming the field.
    pub async fn watch(&self, queue: &str, watch: Watch) -> Result<()> {
        limits::check_name("stats.queue", queue)?;
        watch.check()?;
        let backlog = watch.backlog.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        self.db.exec(WATCH, &[&queue, &backlog, &watch.oldest.map(micros)]).await.map(drop)
    }

    /// Warns about it as about every other queue; whether it was different.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn unwatch(&self, queue: &str) -> Result<bool> {
        limits::check_name("stats.queue", queue)?;
        Ok(self.db.exec(UNWATCH, &[&queue]).await? > 0)
    }

    /// What is watched in this queue; `None` when it is as every other.
    ///
    /// # Errors
    /// Invalid for a bad name.
    pub async fn watch_of(&self, queue: &str) -> Result<Option<Watch>> {
        limits::check_name("stats.queue", queue)?;
        Ok(warning::watches(&self.db).await?.remove(queue))
    }

    /// Warnings that were given since `since`, latest first, at most `limit`, up to 10,000; 0 is 100.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    pub async fn warnings(
        &self,
        kind: Option<WarningKind>,
        since: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Warning>> {
        let (kind, since) = (kind.map(WarningKind::as_str), since.map(SystemTime::from));
        let rows = self.db.all(WARNINGS, &[&kind, &since, &page_size(limit)?]).await?;
        rows.iter().map(warning_from_row).collect()
    }

    /// How long ago was counted; `None` when it never was.
    ///
    /// # Errors
    /// Of the database.
    pub async fn age(&self) -> Result<Option<Duration>> {
        let row = self.db.one(AGE, &[]).await?;
        let (at, now) = (get::<Option<SystemTime>>(&row, 0)?, get::<SystemTime>(&row, 1)?);
        Ok(at.map(|at| Timestamp::from(now).since(at.into())))
    }
}

impl<'t> PgQueue<'t> {
    /// How full this and all other queues are and were.
    pub fn counts(&self) -> PgStats<'t> {
        PgStats::new(&self.db)
    }
}

const LATEST: &str =
    "SELECT queue, at, ready, claimed, deferred, held, blocked, dead, oldest_us FROM {queue_stats}
  WHERE at = (SELECT max(at) FROM {queue_stats}) ORDER BY queue";

const LATEST_OF: &str =
    "SELECT queue, at, ready, claimed, deferred, held, blocked, dead, oldest_us FROM {queue_stats}
  WHERE queue = $1 AND at = (SELECT max(at) FROM {queue_stats})";

const HISTORY: &str = include_str!("../sql/history.sql");

const WATCH: &str = "INSERT INTO {queue_watches} (queue, backlog, oldest_us) VALUES ($1, $2, $3)
  ON CONFLICT (queue) DO UPDATE SET backlog = excluded.backlog, oldest_us = excluded.oldest_us";

const UNWATCH: &str = "DELETE FROM {queue_watches} WHERE queue = $1";

const WARNINGS: &str = "SELECT kind, subject, value, most, at FROM {queue_warnings}
  WHERE ($1::text IS NULL OR kind = $1) AND ($2::timestamptz IS NULL OR at >= $2) ORDER BY at DESC, seq DESC LIMIT $3";

const AGE: &str = "SELECT max(at), {now}() FROM {queue_stats}";
