-- The same as create.sql for executions that have everything but their id, driver and context in common, and nothing special.
WITH c AS MATERIALIZED (SELECT {now}() AS at)
INSERT INTO {executions} (
  id, status, revision, position, step_count, flow_id, flow_version, current_step, tenant, queue, driver, holder,
  deadline_at, execution_timeout_ms, wait_timeout_ms, root_execution_id, created_at, updated_at, context, retries, metadata)
SELECT
  u.id, $5, 1, u.events, 0, $6, $7, $8, $9, $10, u.driver, $11,
  c.at + $12::bigint * interval '1 millisecond', $12::bigint, $13::bigint, u.id, c.at, c.at, u.context, '{}', '{}'
FROM c, unnest($1::text[], $2::bigint[], $3::text[], $4::jsonb[]) AS u(id, events, driver, context)
ON CONFLICT DO NOTHING
RETURNING id, created_at
