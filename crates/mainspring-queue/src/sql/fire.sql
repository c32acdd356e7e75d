-- The compare-and-set of every tick: whoever is late, or has seen an older definition, finds nothing. Rows another process
-- is firing at this moment are skipped; they are its.
WITH input AS MATERIALIZED (
  SELECT s.ctid AS row, u.queue, u.key, u.next, u.last
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
    AS u(queue, key, revision, tick, next, last)
  JOIN {schedules} s ON s.queue = u.queue AND s.key = u.key AND s.revision = u.revision AND s.next_fire_at = u.tick
    AND s.paused_at IS NULL
  ORDER BY s.queue, s.key
  FOR UPDATE OF s SKIP LOCKED
)
UPDATE {schedules} s
SET next_fire_at = i.next, due_at = i.next, last_fire_at = coalesce(i.last, s.last_fire_at), last_error = NULL
FROM input i WHERE s.ctid = i.row
RETURNING i.queue, i.key
