-- The verdict is reached on the locked row: only runs that were not lost use up attempts.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
held AS MATERIALIZED (
  SELECT id, CASE WHEN attempts - lost < max_attempts THEN 'pending' ELSE 'failed' END AS verdict
  FROM {jobs} WHERE id = $1 AND token = $2 AND status = 'running' FOR UPDATE
)
UPDATE {jobs} j SET
  status = held.verdict,
  error = $3,
  holder = NULL,
  heartbeat_at = NULL,
  updated_at = c.at,
  finished_at = CASE WHEN held.verdict = 'failed' THEN c.at END
FROM c, held
WHERE j.id = held.id
RETURNING j.id, j.status
