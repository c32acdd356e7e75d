//! Signs of life for single messages.

use std::collections::HashSet;

use mainspring_core::{MessageLease, Result};
use mainspring_pg::Query;

use crate::{PgQueue, settle::settled};

/// Those that are still held, whether they ask for a sign of life or not.
const TOUCH: &str = "WITH held AS MATERIALIZED (
    SELECT m.seq, m.token FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS i(queue, priority, seq, token)
    CROSS JOIN LATERAL (SELECT x.seq, x.token FROM {messages} x
      WHERE x.queue = i.queue AND x.priority = i.priority AND x.seq = i.seq AND x.token = i.token OFFSET 0) m
  ), locked AS MATERIALIZED (
    SELECT b.seq FROM held h JOIN {beats} b ON b.seq = h.seq AND b.token = h.token ORDER BY b.seq FOR UPDATE OF b
  ), touched AS (
    UPDATE {beats} b SET expires_at = {now}() + b.every_us * interval '1 microsecond' FROM locked l WHERE b.seq = l.seq
  )
  SELECT seq, token FROM held";

impl PgQueue<'_> {
    pub(crate) async fn touch_all(&self, leases: Vec<MessageLease>) -> Result<Vec<Result<()>>> {
        let query = Query::new(TOUCH)
            .bind(leases.iter().map(|lease| lease.queue.clone()).collect::<Vec<_>>())
            .bind(leases.iter().map(|lease| lease.priority).collect::<Vec<_>>())
            .bind(leases.iter().map(|lease| lease.seq).collect::<Vec<_>>())
            .bind(leases.iter().map(|lease| lease.token).collect::<Vec<_>>());
        let held: HashSet<(i64, i64)> = settled(&self.db.run(query).await?)?;
        let answer = |lease: &MessageLease| match held.contains(&(lease.seq, lease.token)) {
            true => Ok(()),
            false => Err(lease.fenced()),
        };
        Ok(leases.iter().map(answer).collect())
    }
}
