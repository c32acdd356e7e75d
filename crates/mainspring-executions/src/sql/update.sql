-- From the array to the rows by their key, and from there by their place: OFFSET 0 keeps the planner from turning it round.
-- Left to itself on a small table it walks the whole array for every row, and keeps that plan while the table grows.
WITH c AS MATERIALIZED (SELECT {now}() AS at)
UPDATE {executions} e SET
  status = u.status,
  revision = e.revision + 1,
  position = e.position + u.events,
  step_count = u.step_count,
  current_step = u.current_step,
  driver = u.driver,
  holder = u.holder,
  wake_at = u.wake_at,
  wait_reason = u.wait_reason,
  wait_started_at = u.wait_started_at,
  wait_deadline_at = CASE WHEN u.status = 'waiting' AND u.wake_at IS NULL
    THEN coalesce(u.wait_started_at, c.at) + e.wait_timeout_ms * interval '1 millisecond' END,
  updated_at = c.at,
  finished_at = CASE WHEN u.status IN ('completed', 'failed', 'cancelled') THEN c.at END,
  context = u.context,
  retries = coalesce(u.retries, '{}'),
  metadata = coalesce(u.metadata, '{}'),
  error = u.error,
  cancellation = u.cancellation,
  attributes = coalesce(u.attributes, '{}')
FROM c, (SELECT i.*, r.row FROM (SELECT
  unnest($1::text[]) AS id, unnest($2::bigint[]) AS expected, unnest($3::text[]) AS status, unnest($4::bigint[]) AS events,
  unnest($5::int[]) AS step_count, unnest($6::text[]) AS current_step, unnest($7::text[]) AS driver,
  unnest($8::text[]) AS holder, unnest($9::timestamptz[]) AS wake_at, unnest($10::text[]) AS wait_reason,
  unnest($11::timestamptz[]) AS wait_started_at, unnest($12::jsonb[]) AS context, unnest($13::jsonb[]) AS retries,
  unnest($14::jsonb[]) AS metadata, unnest($15::jsonb[]) AS error, unnest($16::jsonb[]) AS cancellation,
  unnest($17::jsonb[]) AS attributes, unnest($18::bigint[]) AS before
) i
  CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {executions} x WHERE x.id = i.id OFFSET 0) r OFFSET 0) u
WHERE e.ctid = u.row AND e.revision = u.expected AND e.status NOT IN ('completed', 'failed', 'cancelled')
  AND (u.events = 0 OR e.position = u.before)
RETURNING e.id, c.at
