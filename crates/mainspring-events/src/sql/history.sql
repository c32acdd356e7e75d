-- The histories of many executions. Their positions were fixed by the compare-and-set on the executions' rows. The fence is
-- taken before the first row is there, so before the first global position.
INSERT INTO {events_executions} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
                                 correlation_id, causation_id)
SELECT 'executions', u.tenant, u.stream, u.stream_position, c.at, u.type, u.subject, u.data, u.metadata,
       u.correlation_id, u.causation_id
FROM (SELECT {now}() AS at, {event_fence}() OFFSET 0) c, unnest(
  $1::text[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::jsonb[], $8::text[], $9::text[]
) AS u(stream, stream_position, type, subject, data, tenant, metadata, correlation_id, causation_id)
