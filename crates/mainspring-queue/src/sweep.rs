//! What was kept long enough goes, and what must hold is looked at.

use mainspring_core::Result;
use mainspring_pg::{Db, Query, row::get};
use mainspring_retention::expire;

use crate::PgQueue;

/// Keys whose window is over.
const KEYS: &str = "WITH old AS (
    DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM {keys} x WHERE x.until <= (SELECT {now}())
      ORDER BY x.until LIMIT 1000 FOR UPDATE SKIP LOCKED)))
  SELECT 0::bigint";

/// Keys without an end whose message is in none of the places where it would keep them: it ended while somebody held the lock.
/// A stretch of the table, somewhere, each time. Locked first and looked at again then: what was taken anew meanwhile has a
/// message that the first look cannot see.
const STALE: &str = "WITH s AS MATERIALIZED (
    SELECT format('(%s,0)', p.page)::tid AS page, format('(%s,0)', p.page + 100)::tid AS last
    FROM (SELECT floor(random() * greatest(pg_relation_size('{keys}') / current_setting('block_size')::bigint - 99, 0))::bigint AS page) p
  )
  SELECT x.queue, x.key, x.scope FROM {keys} x
  WHERE x.until IS NULL
    AND x.ctid >= (SELECT s.page FROM s) AND x.ctid < (SELECT s.last FROM s)
    AND NOT EXISTS (SELECT FROM {messages} m WHERE m.managed AND m.id = x.id AND m.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {deferred} d WHERE d.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {held} h WHERE h.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {blocked} b WHERE b.seq = x.seq)
  LIMIT 1000 FOR UPDATE OF x SKIP LOCKED";

const FORGET: &str =
    "DELETE FROM {keys} x USING unnest($1::text[], $2::text[], $3::text[]) AS u(queue, key, scope)
  WHERE x.queue = u.queue AND x.key = u.key AND x.scope = u.scope AND x.until IS NULL
    AND NOT EXISTS (SELECT FROM {messages} m WHERE m.managed AND m.id = x.id AND m.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {deferred} d WHERE d.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {held} h WHERE h.seq = x.seq)
    AND NOT EXISTS (SELECT FROM {blocked} b WHERE b.seq = x.seq)";

const UNCLAIMED: &str = include_str!("sql/sweep_unclaimed.sql");

/// Also those that wait for one that failed.
const UNADMITTED: &str = "WITH old AS MATERIALIZED (
    (SELECT h.queue, h.id FROM {held} h LEFT JOIN {queues} q ON q.name = h.queue
     WHERE coalesce(h.keep_until, h.created_at + coalesce((q.options->>'keep_queued_us')::bigint, 1209600000000)
       * interval '1 microsecond') <= {now}() ORDER BY h.seq LIMIT 1000)
    UNION ALL
    (SELECT b.queue, b.id FROM {blocked} b WHERE b.keep_until <= (SELECT {now}()) ORDER BY b.keep_until LIMIT 1000)
  ), ids AS MATERIALIZED (
    SELECT o.queue, array_agg(o.id) AS ids FROM old o GROUP BY o.queue ORDER BY o.queue
  ), gone AS MATERIALIZED (
    SELECT e.id FROM ids i CROSS JOIN LATERAL {end_messages}(i.queue, i.ids, 'drop', NULL) AS e(id)
  ) SELECT count(*) FROM gone";

const PROBLEMS: &str = include_str!("sql/problems.sql");

impl PgQueue<'_> {
    pub(crate) async fn sweep_once(&self) -> Result<u64> {
        Ok(expire(&self.db).await? + self.sweep_unclaimed().await?)
    }

    /// The rest of it, when what has ended is somebody else's to take out.
    pub(crate) async fn sweep_unclaimed(&self) -> Result<u64> {
        let mut gone = 0;
        for sql in [KEYS, UNCLAIMED, UNADMITTED] {
            for row in self.db.run(Query::new(sql)).await? {
                gone += u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0);
            }
        }
        self.forget_keys().await?;
        Ok(gone)
    }

    async fn forget_keys(&self) -> Result<()> {
        self.db
            .with_tx(async |tx: &Db<'_>| {
                let stale = tx.all(STALE, &[]).await?;
                if stale.is_empty() {
                    return Ok(());
                }
                let column = |n| stale.iter().map(|row| get(row, n)).collect::<Result<Vec<String>>>();
                let (queues, keys, scopes) = (column(0)?, column(1)?, column(2)?);
                tx.exec(FORGET, &[&queues, &keys, &scopes]).await.map(drop)
            })
            .await
    }

    pub(crate) async fn problems(&self) -> Result<Vec<String>> {
        self.db.all(PROBLEMS, &[]).await?.iter().map(|row| get(row, 0)).collect()
    }
}
