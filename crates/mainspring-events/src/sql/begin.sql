-- Heads for the streams that may be new. They stand at 0 until the next statement of the same transaction moves them.
INSERT INTO {streams} (partition, tenant, stream, stream_position, created_at, stream_type)
SELECT w.partition, w.tenant, w.stream, 0, c.at, w.stream_type
FROM (SELECT {now}() AS at OFFSET 0) c,
  unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS w(partition, tenant, stream, stream_type)
WHERE w.partition = 'streams'
  OR EXISTS (SELECT FROM {event_partitions} p WHERE p.partition = w.partition AND p.tenant = '')
ON CONFLICT (partition, stream, tenant) DO NOTHING
