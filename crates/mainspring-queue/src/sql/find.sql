-- Managed messages of one queue, wherever they are, the newest first. No table gives more than a page, so that those with an index on
-- the order are not read to their end.
SELECT * FROM (
  (SELECT CASE WHEN m.holder IS NULL THEN 'ready' ELSE 'claimed' END AS status, NULL::timestamptz AS available_at, NULL::timestamptz AS finished_at, NULL::jsonb AS output, NULL::jsonb AS reason,
    m.priority, m.seq, m.failures, m.lost, m.delays, m.max_attempts, m.created_at, m.id, m.tenant, m.type, m.source, m.subject, m.recipient, m.data, m.headers, m.options, m.key, NULL::jsonb AS depends_on
  FROM {messages} m
  WHERE m.queue = $1 AND m.managed AND ($2::text[] IS NULL OR m.id = ANY ($2)) AND ($3::text IS NULL OR m.key = $3)
    AND ($4::jsonb IS NULL OR m.data @> $4)
    AND $5::text[] && ARRAY['ready', 'claimed']
    AND CASE WHEN m.holder IS NULL THEN 'ready' ELSE 'claimed' END = ANY ($5)
    AND m.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY m.seq DESC LIMIT $6)
  UNION ALL
  (SELECT 'deferred' AS status, d.available_at AS available_at, NULL AS finished_at, NULL AS output, NULL AS reason,
    d.priority, d.seq, d.failures, d.lost, d.delays, d.max_attempts, d.created_at, d.id, d.tenant, d.type, d.source, d.subject, d.recipient, d.data, d.headers, d.options, d.key, NULL
  FROM {deferred} d
  WHERE d.queue = $1 AND d.managed AND ($2::text[] IS NULL OR d.id = ANY ($2)) AND ($3::text IS NULL OR d.key = $3)
    AND ($4::jsonb IS NULL OR d.data @> $4) AND 'deferred' = ANY ($5)
    AND d.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY d.seq DESC LIMIT $6)
  UNION ALL
  (SELECT 'held' AS status, NULL AS available_at, NULL AS finished_at, NULL AS output, NULL AS reason,
    h.priority, h.seq, h.failures, h.lost, h.delays, h.max_attempts, h.created_at, h.id, h.tenant, h.type, h.source, h.subject, h.recipient, h.data, h.headers, h.options, h.key, NULL
  FROM {held} h
  WHERE h.queue = $1 AND h.managed AND ($2::text[] IS NULL OR h.id = ANY ($2)) AND ($3::text IS NULL OR h.key = $3)
    AND ($4::jsonb IS NULL OR h.data @> $4) AND 'held' = ANY ($5)
    AND h.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY h.seq DESC LIMIT $6)
  UNION ALL
  (SELECT 'blocked' AS status, NULL AS available_at, NULL AS finished_at, NULL AS output, NULL AS reason,
    b.priority, b.seq, 0, 0, 0, b.max_attempts, b.created_at, b.id, b.tenant, b.type, b.source, b.subject, b.recipient, b.data, b.headers, b.options, b.key,
    (SELECT jsonb_agg(jsonb_build_object('queue', x.queue, 'id', x.id) ORDER BY x.parent) FROM {dependencies} x WHERE x.child = b.seq)
  FROM {blocked} b
  WHERE b.queue = $1 AND ($2::text[] IS NULL OR b.id = ANY ($2)) AND ($3::text IS NULL OR b.key = $3)
    AND ($4::jsonb IS NULL OR b.data @> $4) AND 'blocked' = ANY ($5)
    AND b.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY b.seq DESC LIMIT $6)
  UNION ALL
  (SELECT f.state AS status, NULL AS available_at, f.finished_at AS finished_at, f.output AS output, NULL AS reason,
    f.priority, f.seq, f.failures, f.lost, f.delays, f.max_attempts, f.created_at, f.id, f.tenant, f.type, f.source, f.subject, f.recipient, f.data, f.headers, f.options, f.key, NULL
  FROM {finished} f
  WHERE f.queue = $1 AND f.managed AND ($2::text[] IS NULL OR f.id = ANY ($2)) AND ($3::text IS NULL OR f.key = $3)
    AND ($4::jsonb IS NULL OR f.data @> $4) AND $5 && ARRAY['done', 'cancelled'] AND f.state = ANY ($5)
    AND f.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY f.seq DESC LIMIT $6)
  UNION ALL
  (SELECT 'dead' AS status, NULL AS available_at, l.dead_at AS finished_at, NULL AS output, l.reason AS reason,
    l.priority, l.seq, l.failures, l.lost, l.delays, l.max_attempts, l.created_at, l.id, l.tenant, l.type, l.source, l.subject, l.recipient, l.data, l.headers, l.options, l.key, NULL
  FROM {dead_letters} l
  WHERE l.queue = $1 AND l.managed AND ($2::text[] IS NULL OR l.id = ANY ($2)) AND ($3::text IS NULL OR l.key = $3)
    AND ($4::jsonb IS NULL OR l.data @> $4) AND 'dead' = ANY ($5)
    AND l.seq < coalesce($7::bigint, 9223372036854775807)
  ORDER BY l.seq DESC LIMIT $6)
) x
ORDER BY x.seq DESC LIMIT $6
