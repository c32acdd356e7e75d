-- Locked in one order, so that two commits that cancel overlapping families cannot deadlock.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
alive AS MATERIALIZED (
  SELECT id FROM {jobs} WHERE execution_id = ANY($1::text[]) AND finished_at IS NULL ORDER BY id FOR UPDATE
)
UPDATE {jobs} j SET
  status = 'cancelled',
  holder = NULL,
  heartbeat_at = NULL,
  updated_at = c.at,
  finished_at = c.at
FROM c, alive
WHERE j.id = alive.id
RETURNING j.id
