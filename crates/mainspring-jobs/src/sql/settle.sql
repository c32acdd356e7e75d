-- Running is said by holder and heartbeat (CHECK jobs_running), so that no index on status tempts the planner: rows are
-- found by id, and with that locked in the order of the array.
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
WHERE j.id = u.id AND j.token = u.token AND j.holder IS NOT NULL AND j.heartbeat_at IS NOT NULL
RETURNING j.id, j.token
