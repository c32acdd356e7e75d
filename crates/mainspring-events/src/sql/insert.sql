-- Events whose positions were fixed when the heads of their streams moved.
INSERT INTO {events} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
                      correlation_id, causation_id, event_id, schema_version)
SELECT u.partition, u.tenant, u.stream, u.stream_position, c.at, u.type, u.subject, u.data, u.metadata,
       u.correlation_id, u.causation_id, u.event_id, u.schema_version
FROM (SELECT {now}() AS at OFFSET 0) c, unnest(
  $1::text[], $2::bigint[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[], $10::text[],
  $11::text[], $12::int[]
) AS u(stream, stream_position, type, data, tenant, partition, subject, metadata, correlation_id, causation_id, event_id,
       schema_version)
RETURNING global_position, created_at
