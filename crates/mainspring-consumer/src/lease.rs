//! The row of a processor: who may move it on, and how far it is.
//!
//! ```text
//! free ──acquire──► held(holder, token, expires_at) ──release · expiry──► free
//! ```
//! Every acquisition makes a new token, and every write of a checkpoint carries token and position it expects. A holder whose
//! transaction is open has the row locked, so it is alive whatever its `expires_at` says: an acquisition skips locked rows.

use std::time::Duration;

use mainspring_core::{Error, Result};
use mainspring_events::GlobalFilter;
use mainspring_pg::{
    Db, Query, Row,
    row::{get, micros},
};

/// Which row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) version: i32,
    pub(crate) partition: String,
    pub(crate) tenant: String,
    pub(crate) shard: i32,
    pub(crate) shards: i32,
}

/// Every partition, or every tenant.
pub(crate) const ALL: &str = "*";

impl Key {
    pub(crate) fn new(name: &str, version: u32, filter: &GlobalFilter, shard: u32, shards: u32) -> Self {
        let mut partitions = filter.partitions.clone();
        partitions.sort();
        partitions.dedup();
        let small = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        Self {
            name: name.to_owned(),
            version: small(version),
            partition: if partitions.is_empty() { ALL.to_owned() } else { partitions.join(",") },
            tenant: filter.tenant.clone().unwrap_or_else(|| ALL.to_owned()),
            shard: small(shard),
            shards: small(shards),
        }
    }
}

/// The right to move a processor on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) token: i64,
}

/// A lease that was just acquired, and where the processor is.
pub(crate) struct Acquired {
    pub(crate) lease: Lease,
    pub(crate) position: i64,
}

impl Lease {
    /// Takes the row when it is free; `None` when another instance has it. `first` is the position of a new row, and `jump`
    /// replaces the position of an old one.
    ///
    /// # Errors
    /// Conflict when the processor is split into another number of shards.
    pub(crate) async fn acquire(
        db: &Db<'_>,
        key: &Key,
        holder: &str,
        lasts: Duration,
        first: i64,
        jump: Option<i64>,
    ) -> Result<Option<Acquired>> {
        let Key { name, version, partition, tenant, shard, shards } = key;
        db.exec(ENSURE, &[name, version, partition, tenant, shard, shards, &first]).await?;
        let row = db
            .opt(ACQUIRE, &[name, version, partition, tenant, shard, shards, &holder, &micros(lasts), &jump])
            .await?;
        if let Some(row) = row {
            let lease = Self { id: get(&row, 0)?, token: get(&row, 1)? };
            return Ok(Some(Acquired { lease, position: get(&row, 2)? }));
        }
        let row = db.opt(SHARDS, &[name, version, partition, tenant, shards]).await?;
        if let Some(row) = row {
            let others: i32 = get(&row, 0)?;
            return Err(Error::conflict(format!(
                "processor `{name}` is split into {others} shards; finish and delete those before it is split into {shards}"
            )));
        }
        Ok(None)
    }

    /// Moves on from one position to another and keeps the lease; read its row with [`checked`].
    pub(crate) fn advance(self, from: i64, to: i64, lasts: Duration) -> Query {
        Query::new(ADVANCE).bind(self.id).bind(self.token).bind(from).bind(to).bind(micros(lasts))
    }

    /// Keeps the lease; read its row with [`checked`].
    pub(crate) fn renew(self, lasts: Duration) -> Query {
        Query::new(RENEW).bind(self.id).bind(self.token).bind(micros(lasts))
    }

    /// Gives the lease back.
    pub(crate) async fn release(self, db: &Db<'_>) -> Result<()> {
        db.exec(RELEASE, &[&self.id, &self.token]).await.map(drop)
    }

    /// Where the processor is, if the lease still holds.
    pub(crate) async fn position(self, db: &Db<'_>) -> Result<Option<i64>> {
        let row = db.opt(POSITION, &[&self.id, &self.token]).await?;
        row.map(|row| get(&row, 0)).transpose()
    }
}

/// Whether there are parked events to be tried again.
///
/// # Errors
/// Fenced, when nothing was written.
pub(crate) fn checked(rows: &[Row]) -> Result<bool> {
    match rows.first() {
        Some(row) => get(row, 0),
        None => Err(fenced()),
    }
}

pub(crate) fn fenced() -> Error {
    Error::fenced("the lease of the processor was taken over, or its checkpoint was moved")
}

const ENSURE: &str = "INSERT INTO {processors}
    (name, version, partition, tenant, shard, shards, position, created_at, updated_at)
  SELECT $1::text, $2::integer, $3::text, $4::text, $5::integer, $6::integer, $7::bigint, c.at, c.at
  FROM (SELECT {now}() AS at OFFSET 0) c
  WHERE NOT EXISTS (SELECT FROM {processors} p
    WHERE p.name = $1 AND p.version = $2 AND p.partition = $3 AND p.tenant = $4 AND (p.shard = $5 OR p.shards <> $6))
  ON CONFLICT DO NOTHING";

const ACQUIRE: &str = "WITH free AS MATERIALIZED (
    SELECT p.id, c.at FROM (SELECT {now}() AS at OFFSET 0) c, {processors} p
    WHERE p.name = $1 AND p.version = $2 AND p.partition = $3 AND p.tenant = $4 AND p.shard = $5 AND p.shards = $6
      AND (p.holder IS NULL OR p.holder = $7 OR p.expires_at <= c.at)
    FOR UPDATE OF p SKIP LOCKED)
  UPDATE {processors} p SET holder = $7, token = p.token + 1 + floor(random() * 1048576)::bigint, position = coalesce($9::bigint, p.position),
    expires_at = free.at + $8::bigint * interval '1 microsecond', updated_at = free.at
  FROM free WHERE p.id = free.id
  RETURNING p.id, p.token, p.position";

const SHARDS: &str = "SELECT shards FROM {processors}
  WHERE name = $1 AND version = $2 AND partition = $3 AND tenant = $4 AND shards <> $5 LIMIT 1";

const ADVANCE: &str = "UPDATE {processors} p
  SET position = $4, expires_at = {now}() + $5::bigint * interval '1 microsecond', updated_at = {now}()
  WHERE id = $1 AND token = $2 AND position = $3
  RETURNING EXISTS (SELECT FROM {parked} k WHERE k.processor = p.id AND k.redrive)";

const RENEW: &str = "UPDATE {processors} p SET expires_at = {now}() + $3::bigint * interval '1 microsecond'
  WHERE id = $1 AND token = $2
  RETURNING EXISTS (SELECT FROM {parked} k WHERE k.processor = p.id AND k.redrive)";

const POSITION: &str = "SELECT position FROM {processors} WHERE id = $1 AND token = $2";

const RELEASE: &str = "UPDATE {processors} SET holder = NULL, expires_at = NULL WHERE id = $1 AND token = $2";
