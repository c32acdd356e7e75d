-- Locked in one order, so that two commits that cancel overlapping families cannot deadlock.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
working AS MATERIALIZED (
  SELECT t.hash FROM {resume_tokens} t, c
  WHERE t.execution_id = ANY($1::text[]) AND t.status = 'pending' AND (t.expires_at IS NULL OR t.expires_at > c.at)
  ORDER BY t.hash FOR UPDATE OF t
)
UPDATE {resume_tokens} t SET status = 'revoked' FROM working WHERE t.hash = working.hash
RETURNING t.id
