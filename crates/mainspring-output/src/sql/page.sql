-- $1 owner, $2 name, $3 first index, or how many from the end, $4 most chunks, $5 most bytes unless the first has more.
SELECT s.chunks, s.done, s.start, c.index, c.data
FROM (
  SELECT id, chunks, closed_at IS NOT NULL AS done,
    CASE WHEN $3::bigint < 0 THEN greatest(chunks + $3, 0) ELSE $3 END AS start
  FROM {output_streams} WHERE owner = $1 AND name = $2
) s LEFT JOIN LATERAL (
  SELECT weighed.index, weighed.data FROM (
    SELECT page.index, page.data, sum(octet_length(page.data)) OVER (ORDER BY page.index) AS bytes FROM (
      SELECT o.index, o.data FROM {output_chunks} o WHERE o.stream = s.id AND o.index >= s.start ORDER BY o.index LIMIT $4
    ) page
  ) weighed WHERE weighed.bytes <= $5 OR weighed.index = s.start
) c ON true ORDER BY c.index
