-- The same as update.sql for executions that go on or end: none waits, is labelled, has failed or was cancelled. An array costs
-- about 4 us before its first element, so the columns that are empty are none here.
WITH c AS MATERIALIZED (SELECT {now}() AS at)
UPDATE {executions} e SET
  status = u.status,
  revision = e.revision + 1,
  position = e.position + u.events,
  step_count = u.step_count,
  current_step = u.current_step,
  driver = u.driver,
  holder = u.holder,
  wake_at = NULL,
  wait_reason = NULL,
  wait_started_at = NULL,
  wait_deadline_at = NULL,
  updated_at = c.at,
  finished_at = CASE WHEN u.status IN ('completed', 'failed', 'cancelled') THEN c.at END,
  context = u.context,
  retries = '{}',
  metadata = '{}',
  error = NULL,
  cancellation = NULL,
  attributes = '{}'
FROM c, (SELECT i.*, r.row FROM unnest(
  $1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[], $8::text[], $9::jsonb[]
) AS i(id, expected, status, events, step_count, current_step, driver, holder, context)
  CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {executions} x WHERE x.id = i.id OFFSET 0) r OFFSET 0) u
WHERE e.ctid = u.row AND e.revision = u.expected AND e.status NOT IN ('completed', 'failed', 'cancelled')
RETURNING e.id, c.at
