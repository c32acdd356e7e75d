WITH c AS MATERIALIZED (SELECT {now}() AS at)
INSERT INTO {resume_tokens} (hash, id, execution_id, step_id, status, metadata, created_at, expires_at)
SELECT u.hash, u.id, u.execution_id, u.step_id, 'pending', u.metadata, c.at, c.at + u.expires_in * interval '1 microsecond'
FROM c, unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bigint[])
  AS u(hash, id, execution_id, step_id, metadata, expires_in)
RETURNING id, created_at, expires_at
