-- The same as history.sql for events of one tenant that have nothing beside their data.
INSERT INTO {events_executions} (partition, tenant, stream, stream_position, created_at, type, subject, data)
SELECT 'executions', $6, u.stream, u.stream_position, c.at, u.type, u.subject, u.data
FROM (SELECT {now}() AS at, {event_fence}() OFFSET 0) c, unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[])
  AS u(stream, stream_position, type, subject, data)
