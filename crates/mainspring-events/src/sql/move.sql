-- Moves the heads of the streams that are where their append expects them; nothing else decides who wins. Who waited here for
-- another writer looks again at where that one left the stream. Ids that are recorded were looked for under the same lock. The
-- fence is taken here, before the first event is there and so before the first global position.
UPDATE {streams} s SET stream_position = s.stream_position + w.events
FROM (SELECT {now}() AS at, {event_fence}() OFFSET 0) c, (SELECT
  unnest($1::text[]) AS partition, unnest($2::text[]) AS tenant, unnest($3::text[]) AS stream, unnest($4::bigint[]) AS events,
  unnest($5::bigint[]) AS low, unnest($6::bigint[]) AS high, unnest($7::jsonb[]) AS ids,
  generate_series(1::bigint, cardinality($1::text[])) AS n
) w
WHERE s.partition = w.partition AND s.tenant = w.tenant AND s.stream = w.stream AND s.archived_at IS NULL
  AND CASE WHEN s.stream_position >= s.live_from THEN s.stream_position ELSE 0 END BETWEEN w.low AND w.high
  AND (w.ids IS NULL OR NOT EXISTS (
    SELECT FROM jsonb_array_elements_text(w.ids) AS i(id), {events} e
    WHERE e.partition = w.partition AND e.stream = w.stream AND e.tenant = w.tenant AND e.event_id = i.id))
RETURNING w.n, s.stream_position, s.live_from, c.at
