-- Gates are opened in one pass: what each admits is counted where it is found. A join of the gates with what was admitted, by
-- nested loops, was a million comparisons for a thousand gates. Where the messages of one group have different tiers, each tier
-- is looked at by itself, so that those whose tier has no room left keep nobody waiting behind them.
CREATE INDEX {prefix}held_tier ON {held} (queue, gate, (coalesce(options->>'tier', '') COLLATE "C"), priority DESC, seq)
  WHERE options ? 'group';

-- Who of a group is admitted next, locked, when so many are and each tier has a limit of its own.
CREATE FUNCTION {next_of_tiers}(the_queue text, the_gate text, admitted bigint, most bigint, tiers jsonb) RETURNS tid[]
  LANGUAGE plpgsql
AS $$
DECLARE h record; so_far bigint := admitted; rows tid[] := '{}';
BEGIN
  FOR h IN
    WITH RECURSIVE tier AS (
      SELECT min(coalesce(x.options->>'tier', '') COLLATE "C") AS name FROM {held} x
      WHERE x.queue = the_queue AND x.gate = the_gate AND x.options ? 'group'
      UNION ALL
      SELECT (SELECT min(coalesce(x.options->>'tier', '') COLLATE "C") FROM {held} x
        WHERE x.queue = the_queue AND x.gate = the_gate AND x.options ? 'group'
          AND coalesce(x.options->>'tier', '') COLLATE "C" > t.name)
      FROM tier t WHERE t.name IS NOT NULL
    )
    SELECT n.row, l.most FROM tier t
    CROSS JOIN LATERAL (SELECT coalesce((tiers->>t.name)::bigint, most) AS most) l
    CROSS JOIN LATERAL (SELECT x.ctid AS row, x.priority, x.seq FROM {held} x
      WHERE x.queue = the_queue AND x.gate = the_gate AND x.options ? 'group' AND coalesce(x.options->>'tier', '') COLLATE "C" = t.name
      ORDER BY x.priority DESC, x.seq LIMIT greatest(l.most - admitted, 0) FOR UPDATE) n
    ORDER BY n.priority DESC, n.seq
  LOOP
    IF so_far < h.most THEN
      so_far := so_far + 1;
      rows := rows || h.row;
    END IF;
  END LOOP;
  RETURN rows;
END $$;

-- As before, and each gate is found by its key and then by its place: joined, they were all compared with each other whenever
-- there were none when the plan was made.
CREATE OR REPLACE FUNCTION {lock_gates}(the_queues text[], the_gates text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE wanted integer; found_rows integer;
BEGIN
  SELECT count(*) INTO wanted FROM (SELECT DISTINCT w.queue, w.gate FROM unnest(the_queues, the_gates) AS w(queue, gate)) d;
  LOOP
    INSERT INTO {gates} (queue, gate)
    SELECT DISTINCT w.queue COLLATE "C", w.gate COLLATE "C" FROM unnest(the_queues, the_gates) AS w(queue, gate)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    PERFORM FROM (SELECT DISTINCT w.queue COLLATE "C" AS queue, w.gate COLLATE "C" AS gate
                  FROM unnest(the_queues, the_gates) AS w(queue, gate) ORDER BY 1, 2 OFFSET 0) w
      CROSS JOIN LATERAL (SELECT FROM {gates} g WHERE g.queue = w.queue AND g.gate = w.gate OFFSET 0 FOR UPDATE) g;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    EXIT WHEN found_rows = wanted; -- else one was deleted while we waited for it
  END LOOP;
END $$;

-- As before; a gate that admits nobody is forgotten. What is taken out is locked first, so that it is where it was found.
CREATE OR REPLACE FUNCTION {open_gates}(the_queues text[], the_gates text[], freed integer[]) RETURNS integer LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE next record; moved integer;
BEGIN
  PERFORM {lock_gates}(the_queues, the_gates);
  WITH wanted AS MATERIALIZED (
    SELECT w.queue, w.gate, sum(w.freed)::integer AS freed FROM unnest(the_queues, the_gates, freed) AS w(queue, gate, freed)
    GROUP BY w.queue, w.gate
  ), open AS MATERIALIZED (
    SELECT w.queue, w.gate, g.row, g.admitted - w.freed AS admitted,
           CASE WHEN left(w.gate, 1) = 'g' THEN nullif(q.options->'groups'->'tiers', '{}') END AS tiers,
           CASE WHEN left(w.gate, 1) = 'k' THEN 1 ELSE coalesce((q.options->'groups'->>'limit')::bigint, 2147483647) END AS most
    FROM wanted w CROSS JOIN LATERAL (SELECT x.ctid AS row, x.admitted FROM {gates} x WHERE x.queue = w.queue AND x.gate = w.gate OFFSET 0) g
    LEFT JOIN {queues} q ON q.name = w.queue
  ), found AS MATERIALIZED (
    SELECT o.row, o.admitted, ARRAY(
      SELECT h.ctid FROM {held} h WHERE o.tiers IS NULL AND h.queue = o.queue AND h.gate = o.gate
      ORDER BY h.priority DESC, h.seq LIMIT greatest(o.most - o.admitted, 0) FOR UPDATE
    ) || CASE WHEN o.tiers IS NOT NULL THEN {next_of_tiers}(o.queue, o.gate, o.admitted, o.most, o.tiers) ELSE '{}' END AS rows
    FROM open o
  )
  SELECT array_agg(f.row) AS gates, array_agg(f.admitted + cardinality(f.rows)) AS counts,
         ARRAY(SELECT unnest(f.rows) FROM found f) AS rows INTO next FROM found f;
  WITH taken AS (
    DELETE FROM {held} h WHERE h.ctid = ANY (next.rows) RETURNING h.*
  ), put AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM taken
    RETURNING seq
  ), changed AS (
    UPDATE {gates} g SET admitted = c.n FROM unnest(next.gates, next.counts) AS c(row, n)
    WHERE g.ctid = c.row AND c.n > 0 AND g.admitted <> c.n
  ), forgotten AS (
    DELETE FROM {gates} g USING unnest(next.gates, next.counts) AS c(row, n) WHERE g.ctid = c.row AND c.n = 0
  )
  SELECT count(*) INTO moved FROM put;
  RETURN moved;
END $$;

-- What is called for each message of a push: without plans anew in every call, and without settings that its callers have set.
CREATE OR REPLACE FUNCTION {take_key}(the_queue text, the_key text, the_scope text, its_seq bigint, its_id text, its_until timestamptz)
  RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO {keys} AS k (queue, key, scope, seq, id, until) VALUES (the_queue, the_key, the_scope, its_seq, its_id, its_until)
  ON CONFLICT (queue, key, scope) DO UPDATE SET seq = excluded.seq, id = excluded.id, until = excluded.until;
END $$;
ALTER FUNCTION {key_holder}(text, text, text, timestamptz, bigint[]) RESET ALL;
