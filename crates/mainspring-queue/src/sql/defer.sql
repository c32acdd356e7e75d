-- As `push.sql`, for messages that are not yet due.
WITH managed AS MATERIALIZED (
  SELECT array_agg(q.name) AS names FROM {queues} q WHERE q.name = ANY ($12::text[])
), plain AS (
  INSERT INTO {deferred} (available_at, queue, priority, max_attempts, created_at, id, tenant, type, source, subject,
                          recipient, data, headers)
  SELECT coalesce(u.at, c.at + u.delay_us * interval '1 microsecond'), u.queue, coalesce(u.priority, 0),
         coalesce(u.max_attempts, 3), c.at, u.id, u.tenant, u.type, u.source, u.subject, u.recipient, u.data, u.headers
  FROM (SELECT {now}() AS at OFFSET 0) c, unnest(
    $1::text[], $2::smallint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::jsonb[], $11::jsonb[], $13::timestamptz[], $14::bigint[]
  ) AS u(queue, priority, max_attempts, id, tenant, type, source, subject, recipient, data, headers, at, delay_us)
  WHERE (u.queue = ANY ((SELECT m.names FROM managed m)::text[])) IS NOT TRUE
)
SELECT p.n, p.duplicate_of
FROM managed m CROSS JOIN LATERAL {place_some}(m.names, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13, $14) p
WHERE m.names IS NOT NULL
