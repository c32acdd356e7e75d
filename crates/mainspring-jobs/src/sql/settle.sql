WITH c AS MATERIALIZED (SELECT {now}() AS at)
UPDATE {jobs} j SET
  status = u.status,
  result = CASE WHEN u.status = 'completed' THEN u.payload ELSE j.result END,
  error = CASE WHEN u.status = 'completed' THEN j.error ELSE u.payload END,
  holder = NULL,
  heartbeat_at = NULL,
  updated_at = c.at,
  finished_at = CASE WHEN u.status <> 'pending' THEN c.at END
FROM c, unnest($1::text[], $2::bigint[], $3::text[], $4::jsonb[]) AS u(id, token, status, payload)
WHERE j.id = u.id AND j.token = u.token AND j.status = 'running'
RETURNING j.id, j.token
