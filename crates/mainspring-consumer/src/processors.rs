//! What is known of processors: how far they are, how late, and what they gave up on. For operators and metrics.

use std::time::Duration;

use mainspring_core::{Error, Result, Timestamp};
use mainspring_pg::{
    Db, Row,
    row::{count, get, time},
};

use crate::{lease::ALL, parked::Parked};

/// The rows of all processors.
#[derive(Clone)]
pub struct Processors<'t> {
    db: Db<'t>,
}

/// One processor, as its row has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessorState {
    /// Names it in [`Processors::reset`] and the like.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The partitions it reads, with commas; `None` for all.
    pub partition: Option<String>,
    /// The tenant it reads; `None` for all.
    pub tenant: Option<String>,
    /// Which part of the streams it handles, from 0.
    pub shard: u32,
    /// Into how many parts they are split.
    pub shards: u32,
    /// Everything up to this global position is handled.
    pub position: i64,
    /// Positions given out since, not all of them events for it.
    pub behind: i64,
    /// How long the oldest event behind its position has been waiting; `None` when there is none. A processor that wants few
    /// of the events writes its position once a second, so up to that is normal.
    pub late: Option<Duration>,
    /// The instance that runs it; `None` when it was stopped.
    pub holder: Option<String>,
    /// When its lease runs out, unless it is renewed.
    pub expires_at: Option<Timestamp>,
    /// Events it gave up on.
    pub parked: u64,
    /// When its position last moved.
    pub updated_at: Timestamp,
}

impl<'t> Processors<'t> {
    /// All processors of this log.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    pub(crate) fn db(&self) -> &Db<'t> {
        &self.db
    }

    /// All of them, by name, version and shard.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn list(&self) -> Result<Vec<ProcessorState>> {
        self.db.all(LIST, &[]).await?.iter().map(from_row).collect()
    }

    /// Those of one name.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn named(&self, name: &str) -> Result<Vec<ProcessorState>> {
        Ok(self.list().await?.into_iter().filter(|state| state.name == name).collect())
    }

    /// Sets one back or forward, to handle again or to leave out what lies between. A projector's tables are not changed.
    ///
    /// # Errors
    /// Conflict while an instance runs it; invalid for a position below 0; not found.
    pub async fn reset(&self, id: i64, position: i64) -> Result<()> {
        if position < 0 {
            return Err(Error::invalid("position", format!("{position} is below 0")));
        }
        self.changed(id, self.db.exec(RESET, &[&id, &position]).await?).await
    }

    /// Forgets one, with its checkpoint and its parked events.
    ///
    /// # Errors
    /// Conflict while an instance runs it; not found.
    pub async fn delete(&self, id: i64) -> Result<()> {
        self.changed(id, self.db.exec(DELETE, &[&id]).await?).await
    }

    async fn changed(&self, id: i64, rows: u64) -> Result<()> {
        if rows > 0 {
            return Ok(());
        }
        match self.db.opt("SELECT name FROM {processors} WHERE id = $1", &[&id]).await? {
            Some(row) => {
                Err(Error::conflict(format!("processor `{}` runs in an instance", get::<String>(&row, 0)?)))
            }
            None => Err(Error::not_found("processor", id)),
        }
    }

    /// The events processors of this name gave up on, oldest first.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn parked(&self, name: &str, limit: u32) -> Result<Vec<Parked>> {
        let rows = self.db.all(PARKED, &[&name, &i64::from(limit)]).await?;
        rows.iter().map(Parked::from_row).collect()
    }

    /// Has parked events of this name handled again by whoever runs it, before it goes on: those at `positions`, or all with
    /// none. How many. It notices within a third of its lease, or at its next checkpoint.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn redrive(&self, name: &str, positions: &[i64]) -> Result<u64> {
        self.db.exec(REDRIVE, &[&name, &positions]).await
    }

    /// Forgets parked events of this name: those at `positions`, or all with none. How many.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn discard(&self, name: &str, positions: &[i64]) -> Result<u64> {
        self.db.exec(DISCARD, &[&name, &positions]).await
    }
}

fn from_row(row: &Row) -> Result<ProcessorState> {
    let one = |index| Ok::<_, Error>(Some(get::<String>(row, index)?).filter(|text| text != ALL));
    let missing = || Error::internal("a processor has no time");
    Ok(ProcessorState {
        id: get(row, 0)?,
        name: get(row, 1)?,
        version: count(row, 2)?,
        partition: one(3)?,
        tenant: one(4)?,
        shard: count(row, 5)?,
        shards: count(row, 6)?,
        position: get(row, 7)?,
        behind: get(row, 8)?,
        late: time(row, 9)?.zip(time(row, 10)?).map(|(oldest, now)| now.since(oldest)),
        holder: get(row, 11)?,
        expires_at: time(row, 12)?,
        parked: u64::try_from(get::<i64>(row, 13)?).unwrap_or_default(),
        updated_at: time(row, 14)?.ok_or_else(missing)?,
    })
}

const LIST: &str = "SELECT p.id, p.name, p.version, p.partition, p.tenant, p.shard, p.shards, p.position,
    greatest(s.last_value - (NOT s.is_called)::int - p.position, 0),
    (SELECT e.created_at FROM {events} e WHERE e.global_position > p.position ORDER BY e.global_position LIMIT 1),
    {now}(), p.holder, p.expires_at, (SELECT count(*) FROM {parked} k WHERE k.processor = p.id), p.updated_at
  FROM {processors} p, {event_position} s ORDER BY p.name, p.version, p.partition, p.tenant, p.shard";

const RESET: &str =
    "UPDATE {processors} SET position = $2, token = token + 1, holder = NULL, expires_at = NULL,
  updated_at = {now}() WHERE id = $1 AND (holder IS NULL OR expires_at <= {now}())";
const DELETE: &str = "DELETE FROM {processors} WHERE id = $1 AND (holder IS NULL OR expires_at <= {now}())";

const PARKED: &str =
    "SELECT p.name, p.version, k.global_position, k.partition, k.tenant, k.stream, k.stream_position,
    k.type, k.attempts, k.error, k.redrive, k.parked_at
  FROM {parked} k JOIN {processors} p ON p.id = k.processor WHERE p.name = $1
  ORDER BY k.global_position, p.id LIMIT $2";

const REDRIVE: &str = "UPDATE {parked} k SET redrive = true FROM {processors} p
  WHERE p.id = k.processor AND p.name = $1 AND (cardinality($2::bigint[]) = 0 OR k.global_position = ANY($2))";

const DISCARD: &str = "DELETE FROM {parked} k USING {processors} p
  WHERE p.id = k.processor AND p.name = $1 AND (cardinality($2::bigint[]) = 0 OR k.global_position = ANY($2))";
