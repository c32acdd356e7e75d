-- A stalled run uses up an attempt. It is given up when none is left, or when the job has cost $3 workers already.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
stalled AS MATERIALIZED (
  SELECT s.id, CASE WHEN s.attempts - s.lost < s.max_attempts AND s.lost < $3 THEN 'pending' ELSE 'failed' END AS verdict
  FROM {jobs} s, c
  WHERE s.id = $1 AND s.status = 'running' AND extract(epoch FROM c.at - s.heartbeat_at) * 1000 >= s.stalled_after_ms
  FOR UPDATE OF s
)
UPDATE {jobs} j SET
  status = stalled.verdict,
  error = $2,
  holder = NULL,
  heartbeat_at = NULL,
  updated_at = c.at,
  finished_at = CASE WHEN stalled.verdict = 'failed' THEN c.at END
FROM c, stalled
WHERE j.id = stalled.id
RETURNING j.id, j.status
