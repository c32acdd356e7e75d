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
  retries = u.retries,
  metadata = u.metadata,
  error = u.error,
  cancellation = u.cancellation,
  attributes = u.attributes
FROM c, (SELECT i.*, r.row FROM unnest(
  $1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[], $8::text[],
  $9::timestamptz[], $10::text[], $11::timestamptz[], $12::jsonb[], $13::jsonb[], $14::jsonb[], $15::jsonb[], $16::jsonb[], $17::jsonb[]
) AS i(id, expected, status, events, step_count, current_step, driver, holder,
       wake_at, wait_reason, wait_started_at, context, retries, metadata, error, cancellation, attributes)
  CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {executions} x WHERE x.id = i.id OFFSET 0) r OFFSET 0) u
WHERE e.ctid = u.row AND e.revision = u.expected AND e.status NOT IN ('completed', 'failed', 'cancelled')
RETURNING e.id, c.at
