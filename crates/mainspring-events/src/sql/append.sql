-- One append: the head of the stream moves on only when it is where the caller expects it, and the events hang on the head.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
head AS (
  INSERT INTO {streams} AS s (partition, tenant, stream, stream_position, created_at)
  SELECT 'streams', $1::text, $2::text, $3::bigint, c.at FROM c
  WHERE $4::boolean OR EXISTS (
    SELECT 1 FROM {streams} WHERE partition = 'streams' AND tenant = $1 AND stream = $2)
  ON CONFLICT (partition, stream, tenant) DO UPDATE SET stream_position = s.stream_position + excluded.stream_position
  WHERE $5::boolean AND s.stream_position = coalesce($6::bigint, s.stream_position)
  RETURNING s.stream_position
), written AS (
  INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata,
                                correlation_id, causation_id)
  SELECT 'streams', $1, $2, head.stream_position - $3 + u.n, c.at, u.type, u.subject, u.data, u.metadata,
         u.correlation_id, u.causation_id
  FROM c, head, unnest($7::text[], $8::text[], $9::jsonb[], $10::jsonb[], $11::text[], $12::text[])
    WITH ORDINALITY AS u(type, subject, data, metadata, correlation_id, causation_id, n)
  ORDER BY u.n
)
SELECT stream_position FROM head
