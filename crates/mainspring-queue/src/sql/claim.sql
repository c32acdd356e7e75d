-- For queues that were never created; of others it brings nothing.
-- MATERIALIZED is a fence: without it the planner may run the limited subquery once per row and claim far too many.
-- The order of locks is the order of the index, and locked rows are skipped, so two claims never wait for each other.
WITH suspects AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost >= 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0 ELSE $5::bigint END
  FOR UPDATE SKIP LOCKED
), others AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost < 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0
                                    ELSE $2::bigint - (SELECT count(*) FROM suspects) END
  FOR UPDATE SKIP LOCKED
), next AS MATERIALIZED (
  SELECT row FROM suspects UNION ALL SELECT row FROM others
), claim AS MATERIALIZED (
  SELECT nextval('{claim_token}') AS token FROM next LIMIT 1
), alive AS (
  INSERT INTO {workers} AS w (id, expires_at, started_at)
  SELECT $3, {now}() + $4::bigint * interval '1 microsecond', {now}() FROM claim
  ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
  WHERE w.expires_at < excluded.expires_at - $4::bigint * interval '0.5 microsecond'
)
UPDATE {messages} m SET holder = $3, token = claim.token
FROM next, claim
WHERE m.ctid = next.row
RETURNING m.priority, m.seq, m.token, m.failures, m.lost, m.delays, m.max_attempts, m.created_at, m.id, m.tenant, m.type,
  m.source, m.subject, m.recipient, m.data, m.headers, (SELECT {now}()), m.managed
