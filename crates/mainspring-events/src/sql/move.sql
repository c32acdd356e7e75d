-- Moves the heads of the streams that are where their append expects them; nothing else decides who wins. Who waited here for
-- another writer looks again at where that one left the stream. Ids that are recorded were looked for under the same lock.
UPDATE {streams} s SET stream_position = s.stream_position + w.events
FROM (SELECT {now}() AS at OFFSET 0) c,
  unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::jsonb[])
    WITH ORDINALITY AS w(partition, tenant, stream, events, low, high, ids, n)
WHERE s.partition = w.partition AND s.tenant = w.tenant AND s.stream = w.stream AND s.archived_at IS NULL
  AND CASE WHEN s.stream_position >= s.live_from THEN s.stream_position ELSE 0 END BETWEEN w.low AND w.high
  AND (w.ids IS NULL OR NOT EXISTS (
    SELECT FROM jsonb_array_elements_text(w.ids) AS i(id), {events} e
    WHERE e.partition = w.partition AND e.stream = w.stream AND e.tenant = w.tenant AND e.event_id = i.id))
RETURNING w.n, s.stream_position, s.live_from, c.at
