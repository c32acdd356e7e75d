//! The lease on the upkeep: who holds it, and the number that fences what it writes.
//!
//! free ──take──► held(holder, term, expires_at) ──release, or nobody renews──► free, and the next holder's term is higher
//!
//! A transaction of upkeep locks the row in share mode and finds its own term in it, or changes nothing. So a takeover waits
//! for what is being written, and whoever was put to sleep in the middle finds the term over.

use std::time::{Duration, SystemTime};

use mainspring_core::{BoxFuture, Error, Result, Timestamp, WorkerId};
use mainspring_pg::{
    Db,
    row::{get, micros, time},
};
use mainspring_retention::Guard;

/// One holder's time in office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// Whose.
    pub(crate) holder: WorkerId,
    /// Grows with every change of the holder.
    pub(crate) number: i64,
}

/// The term as its row says, at the time of the renewal.
#[derive(Debug, Clone)]
pub(crate) struct Renewed {
    pub(crate) term: Term,
    pub(crate) now: Timestamp,
    pub(crate) counted_at: Option<Timestamp>,
    pub(crate) retained_at: Option<Timestamp>,
}

impl Term {
    /// Takes or renews the lease; `None` when someone else holds it.
    pub(crate) async fn renew(db: &Db<'_>, holder: &WorkerId, lease: Duration) -> Result<Option<Renewed>> {
        let Some(row) = db.opt(RENEW, &[&holder.as_str(), &micros(lease)]).await? else { return Ok(None) };
        let now = get::<SystemTime>(&row, 3)?.into();
        db.clock().observe(now);
        let term = Self { holder: holder.clone(), number: get(&row, 0)? };
        Ok(Some(Renewed { term, now, counted_at: time(&row, 1)?, retained_at: time(&row, 2)? }))
    }

    /// When the lease of the present holder is over, and the time now.
    pub(crate) async fn free_at(db: &Db<'_>) -> Result<(Timestamp, Timestamp)> {
        let row = db.one(EXPIRES, &[]).await?;
        Ok((get::<SystemTime>(&row, 0)?.into(), get::<SystemTime>(&row, 1)?.into()))
    }

    /// Holds the term until the transaction ends; the first statement of everything upkeep writes.
    ///
    /// # Errors
    /// [`Fenced`](mainspring_core::ErrorKind::Fenced) when the term is over.
    pub(crate) async fn check(&self, tx: &Db<'_>) -> Result<()> {
        match tx.opt(CHECK, &[&self.holder.as_str(), &self.number]).await? {
            Some(_) => Ok(()),
            None => Err(Error::fenced(format!("term {} of the upkeep is over", self.number))),
        }
    }

    /// Lets the next one take over at once.
    pub(crate) async fn release(&self, db: &Db<'_>) -> Result<()> {
        db.exec(RELEASE, &[&self.holder.as_str(), &self.number]).await.map(drop)
    }

    /// Notes when upkeep last counted, or forgot what is old.
    pub(crate) async fn note(&self, tx: &Db<'_>, what: Done) -> Result<()> {
        let sql = match what {
            Done::Counted => COUNTED,
            Done::Retained => RETAINED,
        };
        tx.exec(sql, &[&self.number]).await.map(drop)
    }
}

impl Guard for Term {
    fn check<'a>(&'a self, tx: &'a Db<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(Self::check(self, tx))
    }
}

/// What upkeep remembers having done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Done {
    Counted,
    Retained,
}

/// The same holder may renew a lease that ran out, as long as nobody has taken it. Who may not have it locks nothing.
/// A lease that lasts for ten of ours is from before the clock went back.
const RENEW: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at), taken AS (
    UPDATE {upkeep} u SET holder = $1, expires_at = c.at + $2::bigint * interval '1 microsecond',
      term = u.term + (u.holder <> $1)::int
    FROM c WHERE u.name = 'queue' AND (u.holder = $1 OR u.expires_at <= c.at
      OR u.expires_at > c.at + $2::bigint * interval '10 microseconds')
    RETURNING u.term, u.counted_at, u.retained_at
  ), made AS (
    INSERT INTO {upkeep} AS u (name, holder, term, expires_at)
    SELECT 'queue', $1, 1, c.at + $2::bigint * interval '1 microsecond' FROM c
    WHERE NOT EXISTS (SELECT FROM {upkeep} WHERE name = 'queue') ON CONFLICT DO NOTHING
    RETURNING u.term, u.counted_at, u.retained_at
  )
  SELECT t.term, t.counted_at, t.retained_at, c.at FROM c, (SELECT * FROM taken UNION ALL SELECT * FROM made) t";

const EXPIRES: &str =
    "SELECT coalesce((SELECT expires_at FROM {upkeep} WHERE name = 'queue'), {now}()), {now}()";

const CHECK: &str = "SELECT term FROM {upkeep} WHERE name = 'queue' AND holder = $1 AND term = $2 FOR SHARE";

const RELEASE: &str = "UPDATE {upkeep} SET holder = '', expires_at = {now}() WHERE name = 'queue' AND holder = $1 AND term = $2";

const COUNTED: &str = "UPDATE {upkeep} SET counted_at = {now}() WHERE name = 'queue' AND term = $1";

const RETAINED: &str = "UPDATE {upkeep} SET retained_at = {now}() WHERE name = 'queue' AND term = $1";
