-- The histories of many executions. Their positions were fixed by the compare-and-set on the executions' rows. The fence is
-- taken before the first row is there, so before the first global position.
INSERT INTO {events_executions} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
                                 correlation_id, causation_id)
SELECT 'executions', u.tenant, u.stream, u.stream_position, c.at, u.type, u.subject, u.data, u.metadata,
       u.correlation_id, u.causation_id
FROM (SELECT {now}() AS at, {event_fence}() OFFSET 0) c, (SELECT
  unnest($1::text[]) AS stream, unnest($2::bigint[]) AS stream_position, unnest($3::text[]) AS type,
  unnest($4::text[]) AS subject, unnest($5::jsonb[]) AS data, unnest($6::text[]) AS tenant, unnest($7::jsonb[]) AS metadata,
  unnest($8::text[]) AS correlation_id, unnest($9::text[]) AS causation_id
) u
