-- The same as insert.sql for events of one tenant, in streams of the partition that is always there, that have nothing beside
-- their data: straight into the table of that partition.
INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, data)
SELECT 'streams', $5, u.stream, u.stream_position, c.at, u.type, u.data
FROM (SELECT {now}() AS at OFFSET 0) c, (SELECT
  unnest($1::text[]) AS stream, unnest($2::bigint[]) AS stream_position, unnest($3::text[]) AS type, unnest($4::jsonb[]) AS data
) u
RETURNING global_position, created_at
