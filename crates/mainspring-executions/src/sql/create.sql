WITH c AS MATERIALIZED (SELECT {now}() AS at)
INSERT INTO {executions} (
  id, status, revision, position, step_count, flow_id, flow_version, current_step, tenant, queue, driver, holder,
  wake_at, wait_reason, wait_started_at, wait_deadline_at, deadline_at, execution_timeout_ms, wait_timeout_ms,
  parent_execution_id, root_execution_id, idempotency_key, idempotency_expires_at, created_at, updated_at, finished_at,
  context, retries, metadata, error, cancellation, reply, attributes)
SELECT
  u.id, u.status, 1, u.events, u.step_count, u.flow_id, u.flow_version, u.current_step, u.tenant, u.queue, u.driver, u.holder,
  u.wake_at, u.wait_reason, u.wait_started_at,
  CASE WHEN u.status = 'waiting' AND u.wake_at IS NULL
    THEN coalesce(u.wait_started_at, c.at) + u.wait_timeout_ms * interval '1 millisecond' END,
  c.at + u.execution_timeout_ms * interval '1 millisecond', u.execution_timeout_ms, u.wait_timeout_ms,
  u.parent, u.root, u.idempotency_key, u.idempotency_expires_at, c.at, c.at,
  CASE WHEN u.status IN ('completed', 'failed', 'cancelled') THEN c.at END,
  u.context, u.retries, u.metadata, u.error, u.cancellation, u.reply, u.attributes
FROM c, unnest(
  $1::text[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
  $11::text[], $12::timestamptz[], $13::text[], $14::timestamptz[], $15::bigint[], $16::bigint[], $17::text[], $18::text[],
  $19::text[], $20::timestamptz[], $21::jsonb[], $22::jsonb[], $23::jsonb[], $24::jsonb[], $25::jsonb[], $26::jsonb[], $27::jsonb[]
) AS u(id, status, events, step_count, flow_id, flow_version, current_step, tenant, queue, driver,
       holder, wake_at, wait_reason, wait_started_at, execution_timeout_ms, wait_timeout_ms, parent, root,
       idempotency_key, idempotency_expires_at, context, retries, metadata, error, cancellation, reply, attributes)
ON CONFLICT DO NOTHING
RETURNING id, created_at
