-- The same as insert.sql for events of one tenant, in streams of the partition that is always there, that have nothing beside
-- their data: straight into the table of that partition.
INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, data)
SELECT 'streams', $5, u.stream, u.stream_position, c.at, u.type, u.data
FROM (SELECT {now}() AS at OFFSET 0) c, unnest($1::text[], $2::bigint[], $3::text[], $4::jsonb[])
  AS u(stream, stream_position, type, data)
RETURNING global_position, created_at
