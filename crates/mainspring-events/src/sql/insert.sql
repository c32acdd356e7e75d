-- Events whose positions were fixed when the heads of their streams moved.
INSERT INTO {events} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
                      correlation_id, causation_id, event_id, schema_version)
SELECT u.partition, u.tenant, u.stream, u.stream_position, c.at, u.type, u.subject, u.data, u.metadata,
       u.correlation_id, u.causation_id, u.event_id, u.schema_version
FROM (SELECT {now}() AS at OFFSET 0) c, (SELECT
  unnest($1::text[]) AS stream, unnest($2::bigint[]) AS stream_position, unnest($3::text[]) AS type,
  unnest($4::jsonb[]) AS data, unnest($5::text[]) AS tenant, unnest($6::text[]) AS partition, unnest($7::text[]) AS subject,
  unnest($8::jsonb[]) AS metadata, unnest($9::text[]) AS correlation_id, unnest($10::text[]) AS causation_id,
  unnest($11::text[]) AS event_id, unnest($12::int[]) AS schema_version
) u
RETURNING global_position, created_at
