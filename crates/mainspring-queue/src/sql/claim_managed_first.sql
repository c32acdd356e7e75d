-- For any queue. What it may bring: nothing while paused, and no more than the bucket holds, whose row is locked until we
-- commit. Then as `claim_front.sql`.
WITH q AS MATERIALIZED (
  SELECT x.paused, (x.options->>'timeout_us')::bigint AS timeout_us, (x.options->>'heartbeat_us')::bigint AS heartbeat_us,
         (x.options->'rate'->>'count')::double precision AS count,
         (x.options->'rate'->>'per_us')::double precision AS per_us
  FROM {queues} x WHERE x.name = $1
), bucket AS MATERIALIZED (
  SELECT r.tokens, r.at FROM {rates} r WHERE r.queue = $1 AND (SELECT q.count FROM q) IS NOT NULL FOR UPDATE OF r
), room AS MATERIALIZED (
  SELECT c.at, b.tokens, CASE WHEN q.paused THEN 0 WHEN b.tokens IS NULL THEN $2::bigint ELSE least($2::bigint, floor(b.tokens)::bigint) END AS n
  FROM (SELECT {now}() AS at OFFSET 0) c
  LEFT JOIN q ON true
  LEFT JOIN LATERAL (
    SELECT least(q.count, x.tokens + greatest(extract(epoch FROM c.at - x.at)::double precision, 0) * 1000000 * q.count / q.per_us) AS tokens
    FROM bucket x) b ON true
), suspects AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost >= 2 AND priority BETWEEN $6::smallint AND $7::smallint
    AND coalesce(options->>'group' <> ALL ($8::text[]), true)
  ORDER BY priority DESC, seq LIMIT (SELECT least($5::bigint, r.n) FROM room r)
  FOR UPDATE SKIP LOCKED
), others AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost < 2 AND priority BETWEEN $6::smallint AND $7::smallint
    AND coalesce(options->>'group' <> ALL ($8::text[]), true)
