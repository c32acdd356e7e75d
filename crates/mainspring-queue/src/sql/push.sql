-- Messages of queues that were never created go straight in; those of the others through `place`, which knows their options.
WITH managed AS MATERIALIZED (
  SELECT array_agg(q.name) AS names FROM {queues} q WHERE q.name = ANY ($12::text[])
), plain AS (
  INSERT INTO {messages} (queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers)
  SELECT u.queue, coalesce(u.priority, 0), coalesce(u.max_attempts, 3), c.at, u.id, u.tenant, u.type, u.source, u.subject,
         u.recipient, u.data, u.headers
  FROM (SELECT {now}() AS at OFFSET 0) c, unnest(
    $1::text[], $2::smallint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::jsonb[], $11::jsonb[]
  ) AS u(queue, priority, max_attempts, id, tenant, type, source, subject, recipient, data, headers)
  WHERE (u.queue = ANY ((SELECT m.names FROM managed m)::text[])) IS NOT TRUE
)
SELECT coalesce(s.positions[p.n], 0), p.duplicate_of
FROM managed m
CROSS JOIN LATERAL (
  SELECT array_agg(u.n::int) AS positions, array_agg(u.queue) AS queues, array_agg(u.priority) AS priorities,
    array_agg(u.max_attempts) AS attempts, array_agg(u.id) AS ids, array_agg(u.tenant) AS tenants, array_agg(u.type) AS types,
    array_agg(u.source) AS sources, array_agg(u.subject) AS subjects, array_agg(u.recipient) AS recipients,
    array_agg(u.data) AS payloads, array_agg(u.headers) AS headers, array_agg(NULL::text) AS nothing,
    array_agg(NULL::jsonb) AS own, array_agg(NULL::timestamptz) AS ats, array_agg(u.delay_us) AS delays,
    array_agg(NULL::bigint) AS lengths
  FROM unnest(
    $1::text[], $2::smallint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::jsonb[], $11::jsonb[], $13::bigint[]
  ) WITH ORDINALITY AS u(queue, priority, max_attempts, id, tenant, type, source, subject, recipient, data, headers, delay_us, n)
  WHERE u.queue = ANY (m.names)
) s
CROSS JOIN LATERAL {place}(s.queues, s.priorities, s.attempts, s.ids, s.tenants, s.types, s.sources, s.subjects, s.recipients,
  s.payloads, s.headers, s.nothing, s.own, s.ats, s.delays, s.nothing, s.lengths) p
WHERE m.names IS NOT NULL
