-- $1 owner, $2 name, $3 chunks and $4 closes of each stream; $5 number of its stream, $6 place among the new ones and $7 data
-- of each chunk. Answers for the streams that were open.
WITH wanted AS MATERIALIZED (
  SELECT w.n, w.owner, w.name, w.chunks, w.closes
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[]) WITH ORDINALITY AS w (owner, name, chunks, closes, n)
), written AS (
  INSERT INTO {output_streams} AS s (owner, name, chunks, created_at, closed_at)
  SELECT w.owner, w.name, w.chunks, {now}(), CASE WHEN w.closes THEN {now}() END FROM wanted w ORDER BY w.n
  ON CONFLICT (owner, name) DO UPDATE SET chunks = s.chunks + excluded.chunks, closed_at = excluded.closed_at
    WHERE s.closed_at IS NULL
  RETURNING s.id, s.owner, s.name, s.chunks
), places AS MATERIALIZED (
  SELECT w.n, r.id, r.chunks - w.chunks AS first FROM wanted w JOIN written r ON r.owner = w.owner AND r.name = w.name
), stored AS (
  INSERT INTO {output_chunks} (stream, index, data)
  SELECT p.id, p.first + c.place, c.data
  FROM unnest($5::bigint[], $6::bigint[], $7::bytea[]) AS c (n, place, data) JOIN places p ON p.n = c.n
)
SELECT n, first FROM places
