//! What was kept long enough goes, and what must hold is looked at.

use mainspring_core::Result;
use mainspring_pg::{Query, row::get};

use crate::PgQueue;

/// Nothing that keeps its place goes: its key would go on as if nothing had happened.
const ENDED: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at), done AS (
    DELETE FROM {finished} f WHERE f.ctid = ANY (ARRAY(SELECT x.ctid FROM {finished} x WHERE x.keep_until <= (SELECT at FROM c)
      ORDER BY x.keep_until LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING 1
  ), dead AS (
    DELETE FROM {dead_letters} d WHERE d.ctid = ANY (ARRAY(SELECT x.ctid FROM {dead_letters} x
      WHERE x.keep_until <= (SELECT at FROM c) AND NOT x.placed ORDER BY x.keep_until LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING 1
  ), old AS (
    DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM {keys} x WHERE x.until <= (SELECT at FROM c)
      ORDER BY x.until LIMIT 1000 FOR UPDATE SKIP LOCKED))
  )
  SELECT (SELECT count(*) FROM done) + (SELECT count(*) FROM dead)";

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
        let mut gone = 0;
        for sql in [ENDED, UNCLAIMED, UNADMITTED] {
            for row in self.db.run(Query::new(sql)).await? {
                gone += u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0);
            }
        }
        Ok(gone)
    }

    pub(crate) async fn problems(&self) -> Result<Vec<String>> {
        self.db.all(PROBLEMS, &[]).await?.iter().map(|row| get(row, 0)).collect()
    }
}
