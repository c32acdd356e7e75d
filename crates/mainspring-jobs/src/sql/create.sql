WITH c AS MATERIALIZED (SELECT {now}() AS at)
INSERT INTO {jobs} (
  id, tenant, execution_id, step_id, handler, status, input, result, error, holder, token, heartbeat_at, stalled_after_ms,
  attempts, lost, max_attempts, checkpoint, progress, reply, created_at, updated_at, finished_at)
SELECT
  u.id, u.tenant, u.execution_id, u.step_id, u.handler, u.status, u.input, u.result, u.error, u.holder, u.token,
  u.heartbeat_at, u.stalled_after_ms, u.attempts, u.lost, u.max_attempts, u.checkpoint, u.progress, u.reply, c.at, c.at,
  CASE WHEN u.status IN ('completed', 'failed', 'cancelled') THEN c.at END
FROM c, unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[], $9::jsonb[],
  $10::text[], $11::bigint[], $12::timestamptz[], $13::bigint[], $14::int[], $15::int[], $16::int[], $17::jsonb[],
  $18::jsonb[], $19::jsonb[]
) AS u(id, tenant, execution_id, step_id, handler, status, input, result, error, holder, token, heartbeat_at,
       stalled_after_ms, attempts, lost, max_attempts, checkpoint, progress, reply)
RETURNING created_at, finished_at
