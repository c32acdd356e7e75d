-- As `claim.sql`, from where earlier claims left off. Each of $6 to $8 is a stretch of the order, the best first: its best and
-- its worst priority and the number it begins with. They are walked one after the other until there are enough.
WITH suspects AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost >= 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0 ELSE $5::bigint END
  FOR UPDATE SKIP LOCKED
), others AS MATERIALIZED (
  SELECT x.row FROM unnest($6::smallint[], $7::smallint[], $8::bigint[]) AS s(best, worst, first)
  CROSS JOIN LATERAL (
    SELECT m.ctid AS row FROM {messages} m
    WHERE m.queue = $1 AND m.priority BETWEEN s.worst AND s.best AND m.seq >= s.first AND m.holder IS NULL AND m.lost < 2
    ORDER BY m.priority DESC, m.seq
    FOR UPDATE SKIP LOCKED) x
  LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0
             ELSE $2::bigint - (SELECT count(*) FROM suspects) END
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
