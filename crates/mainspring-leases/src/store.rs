//! The store: one method, one statement.

use std::time::{Duration, SystemTime};

use mainspring_core::{
    BoxFuture, Lease, LeaseFilter, LeaseStore, Result, execution::page_size, lease::check_acquire,
    message::check_lease,
};
use mainspring_pg::{
    Db, Row, TxRef,
    row::{get, micros},
};

/// Leases on Postgres; see the crate.
#[derive(Clone)]
pub struct PgLeaseStore<'t> {
    db: Db<'t>,
}

impl<'t> PgLeaseStore<'t> {
    /// The store on a pool or a transaction.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone() }
    }

    /// The same store, standing on your transaction. A lease that is taken there keeps others waiting until your commit.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgLeaseStore<'u> {
        PgLeaseStore { db: self.db.on(tx) }
    }
}

/// Who waited for another's row compares with the time at which the waiting began, so that nothing is taken too early. A standby
/// that missed the last moments hands out their numbers once more, so a token also has 20 bits of chance.
const ACQUIRE: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  INSERT INTO {leases} AS l (name, holder, token, acquired_at, expires_at)
  SELECT $1, $2, nextval('{claim_token}') * 1048576 + floor(random() * 1048576)::bigint, c.at, c.at + $3::bigint * interval '1 microsecond' FROM c
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = excluded.token,
    acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
    WHERE l.expires_at <= excluded.acquired_at
  RETURNING name, holder, token, acquired_at, expires_at";

const EXTEND: &str =
    "UPDATE {leases} SET expires_at = greatest(expires_at, {now}() + $3::bigint * interval '1 microsecond')
  WHERE name = $1 AND token = $2 RETURNING name, holder, token, acquired_at, expires_at";

const RELEASE: &str = "DELETE FROM {leases} WHERE name = $1 AND token = $2";

const GET: &str = "SELECT name, holder, token, acquired_at, expires_at FROM {leases} WHERE name = $1";

const LIST: &str = "SELECT name, holder, token, acquired_at, expires_at FROM {leases}
  WHERE name > $1 AND starts_with(name, $2) AND ($3::text IS NULL OR holder = $3)
    AND ($4::boolean IS NULL OR (expires_at > (SELECT {now}())) = $4)
  ORDER BY name LIMIT $5";

const DELETE_EXPIRED: &str = "DELETE FROM {leases} WHERE name = ANY (ARRAY(
    SELECT name FROM {leases} WHERE expires_at <= {now}() LIMIT 1000 FOR UPDATE SKIP LOCKED)) AND expires_at <= {now}()";

impl LeaseStore for PgLeaseStore<'_> {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>>> {
        Box::pin(async move {
            check_acquire(name, holder, lasts)?;
            let row = self.db.opt(ACQUIRE, &[&name, &holder, &micros(lasts)]).await?;
            row.as_ref().map(decode).transpose()
        })
    }

    fn extend<'a>(&'a self, lease: &'a Lease, lasts: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move {
            check_lease(lasts)?;
            let row = self.db.opt(EXTEND, &[&lease.name, &lease.token, &micros(lasts)]).await?;
            row.as_ref().map_or_else(|| Err(lease.fenced()), decode)
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.db.exec(RELEASE, &[&lease.name, &lease.token]).await? == 1) })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>>> {
        Box::pin(async move { self.db.opt(GET, &[&name]).await?.as_ref().map(decode).transpose() })
    }

    fn list(&self, filter: LeaseFilter) -> BoxFuture<'_, Result<Vec<Lease>>> {
        Box::pin(async move {
            let LeaseFilter { prefix, holder, held, after, limit } = filter;
            let (after, prefix) = (after.unwrap_or_default(), prefix.unwrap_or_default());
            let rows = self.db.all(LIST, &[&after, &prefix, &holder, &held, &page_size(limit)?]).await?;
            rows.iter().map(decode).collect()
        })
    }

    fn delete_expired(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.db.exec(DELETE_EXPIRED, &[]))
    }
}

fn decode(row: &Row) -> Result<Lease> {
    Ok(Lease {
        name: get(row, 0)?,
        holder: get(row, 1)?,
        token: get(row, 2)?,
        acquired_at: get::<SystemTime>(row, 3)?.into(),
        expires_at: get::<SystemTime>(row, 4)?.into(),
    })
}
