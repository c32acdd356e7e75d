), claimed AS (
  UPDATE {messages} m SET holder = $3, token = claim.token
  FROM claim
  WHERE m.ctid = ANY (ARRAY(SELECT row FROM next))
  RETURNING m.*
), timed AS MATERIALIZED (
  SELECT c.*, coalesce((c.options->>'timeout_us')::bigint, (SELECT q.timeout_us FROM q)) AS timeout_us,
    coalesce((c.options->>'heartbeat_us')::bigint, (SELECT q.heartbeat_us FROM q)) AS heartbeat_us FROM claimed c
), try AS (
  INSERT INTO {tries} (expires_at, queue, token, priorities, seqs)
  SELECT r.at + t.timeout_us * interval '1 microsecond', $1, min(t.token), array_agg(t.priority), array_agg(t.seq)
  FROM timed t, room r WHERE t.timeout_us IS NOT NULL AND t.managed GROUP BY r.at, t.timeout_us
), beat AS (
  INSERT INTO {beats} (seq, token, queue, priority, every_us, expires_at)
  SELECT t.seq, t.token, $1, t.priority, t.heartbeat_us, r.at + t.heartbeat_us * interval '1 microsecond'
  FROM timed t, room r WHERE t.heartbeat_us IS NOT NULL AND t.managed ORDER BY t.seq
  ON CONFLICT (seq) DO UPDATE SET token = excluded.token, priority = excluded.priority, every_us = excluded.every_us,
    expires_at = excluded.expires_at
), spend AS (
  UPDATE {rates} x SET tokens = r.tokens - (SELECT count(*) FROM timed), at = r.at
  FROM room r WHERE x.queue = $1 AND r.tokens IS NOT NULL
)
SELECT t.priority, t.seq, t.token, t.failures, t.lost, t.delays, t.max_attempts, t.created_at, t.id, t.tenant, t.type,
  t.source, t.subject, t.recipient, t.data, t.headers, r.at, t.managed, t.key, t.options,
  CASE WHEN t.managed THEN t.timeout_us END, CASE WHEN t.managed THEN t.heartbeat_us END
FROM timed t, room r
