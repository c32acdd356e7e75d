//! Invariants that SQL can check. Each reads whole tables.

use mainspring_core::{QueueStore, Result};
use mainspring_pg::{Db, row::get};
use mainspring_queue::PgQueue;

use crate::{Code, Finding};

/// What each statement looks for; it answers a sentence for each violation.
const INVARIANTS: [&str; 7] = [ONE_PLACE, ATTEMPTS, STATES, HISTORIES, STREAMS, CHECKPOINTS, OUTPUTS];

pub(crate) async fn check(db: &Db<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for sql in INVARIANTS {
        for row in db.all(sql, &[]).await? {
            found.push(Finding::new(Code::InvariantBroken, get::<String>(&row, 0)?, get::<String>(&row, 1)?));
        }
    }
    for problem in PgQueue::new(db).check_queues().await? {
        found.push(Finding::new(Code::InvariantBroken, "queues", problem));
    }
    Ok(found)
}

/// I1: a message is in exactly one place.
const ONE_PLACE: &str = "SELECT format('message %s', min(m.id)), format('is in %s', string_agg(m.place, ' and ')) FROM (
    SELECT seq, id, 'messages' AS place FROM {messages} UNION ALL SELECT seq, id, 'deferred' FROM {deferred}
    UNION ALL SELECT seq, id, 'held' FROM {held} UNION ALL SELECT seq, id, 'blocked' FROM {blocked}
    UNION ALL SELECT seq, id, 'dead_letters' FROM {dead_letters} UNION ALL SELECT seq, id, 'finished' FROM {finished}
  ) m GROUP BY m.seq HAVING count(*) > 1 LIMIT 100";

/// I3: nothing is tried more often than it may be.
const ATTEMPTS: &str =
    "SELECT format('job %s', j.id), format('was tried %s times of %s', j.attempts, j.max_attempts)
  FROM {jobs} j WHERE j.attempts > j.max_attempts LIMIT 100";

/// What an execution says of itself agrees. These are no checks of the table: each statement that writes would pay for them.
const STATES: &str = "SELECT format('execution %s', x.id), format('is %s, ended %s, wakes %s, revision %s',
    x.status, coalesce(x.finished_at::text, 'never'), coalesce(x.wake_at::text, 'never'), x.revision)
  FROM {executions} x
  WHERE x.status NOT IN ('pending', 'running', 'waiting', 'cancelling', 'completed', 'failed', 'cancelled')
    OR (x.finished_at IS NOT NULL) <> (x.status IN ('completed', 'failed', 'cancelled'))
    OR (x.wake_at IS NOT NULL AND x.status <> 'waiting') OR NOT isfinite(x.wake_at) OR x.revision < 1
    OR x.parent_execution_id = x.id OR (x.idempotency_key IS NULL) <> (x.idempotency_expires_at IS NULL) LIMIT 100";

/// I5: a history has no gaps, and its row says where it ends.
const HISTORIES: &str = "SELECT format('execution %s', x.id),
    format('has %s events from %s to %s, and its row says %s', h.n, h.first, h.last, x.position)
  FROM {executions} x LEFT JOIN (
    SELECT e.tenant, e.stream, count(*) AS n, min(e.stream_position) AS first, max(e.stream_position) AS last
    FROM {events_executions} e GROUP BY e.tenant, e.stream
  ) h ON h.tenant = x.tenant AND h.stream = 'execution-' || x.id
  WHERE (coalesce(h.n, 0), coalesce(h.last, 0)) IS DISTINCT FROM (x.position, x.position) LIMIT 100";

/// I7: so has every stream.
const STREAMS: &str = "SELECT format('stream %s of %s', s.stream, s.partition),
    format('has %s events, and its head says %s to %s', coalesce(h.n, 0), s.live_from, s.stream_position)
  FROM {streams} s LEFT JOIN (
    SELECT a.partition, a.tenant, a.stream, count(*) AS n FROM (
      SELECT e.partition, e.tenant, e.stream FROM {events} e WHERE e.partition <> 'executions'
      UNION ALL SELECT e.partition, e.tenant, e.stream FROM {events_archive} e
    ) a GROUP BY a.partition, a.tenant, a.stream
  ) h USING (partition, tenant, stream)
  WHERE coalesce(h.n, 0) <> s.stream_position - s.live_from + 1 LIMIT 100";

/// I7: nobody has read what was not written.
const CHECKPOINTS: &str = "SELECT format('processor %s', p.name), format('has come to %s, and the log ends at %s', p.position, s.last)
  FROM {processors} p, (SELECT last_value - (NOT is_called)::int AS last FROM {event_position}) s WHERE p.position > s.last LIMIT 100";

/// Chunks of an output stream are numbered without gaps.
const OUTPUTS: &str = "SELECT format('output stream %s', o.name), format('has %s chunks, and its head says %s', count(c.index), o.chunks)
  FROM {output_streams} o LEFT JOIN {output_chunks} c ON c.stream = o.id
  GROUP BY o.id HAVING count(c.index) <> o.chunks OR max(c.index) + 1 <> o.chunks LIMIT 100";
