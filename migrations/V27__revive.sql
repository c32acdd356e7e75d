-- Who is brought back has cost no workers yet: one that was given up for those it did cost would be given up again before it ran.
CREATE OR REPLACE FUNCTION {revive}(the_queue text, the_ids text[], state_was text) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  q record; w record; back bigint[] := '{}'; the_scope text; there text; revived text[];
BEGIN
  SELECT x.policy, x.options INTO q FROM {queues} x WHERE x.name = the_queue;
  the_scope := CASE q.policy WHEN 'short' THEN 'queued' WHEN 'stately' THEN 'queued' WHEN 'exclusive' THEN 'unfinished' END;
  FOR w IN
    SELECT x.seq, x.id, coalesce(x.key, '') AS key FROM (
      SELECT d.seq, d.id, d.key FROM {dead_letters} d WHERE state_was = 'dead' AND d.managed AND d.queue = the_queue AND d.id = ANY (the_ids)
      UNION ALL
      SELECT f.seq, f.id, f.key FROM {finished} f WHERE state_was = f.state AND f.managed AND f.queue = the_queue AND f.id = ANY (the_ids)
    ) x ORDER BY x.key COLLATE "C", x.seq
  LOOP
    IF the_scope IS NOT NULL THEN
      INSERT INTO {keys} AS k (queue, key, scope) VALUES (the_queue, w.key, the_scope)
      ON CONFLICT (queue, key, scope) DO UPDATE SET seq = k.seq;
      there := {key_holder}(the_queue, w.key, the_scope, now_at, back);
      CONTINUE WHEN there IS NOT NULL;
      PERFORM {take_key}(the_queue, w.key, the_scope, w.seq, w.id, NULL);
    END IF;
    back := back || w.seq;
  END LOOP;
  WITH gone AS (
    DELETE FROM {dead_letters} d WHERE state_was = 'dead' AND d.seq = ANY (back) RETURNING d.*
  ), over AS (
    DELETE FROM {finished} f WHERE state_was <> 'dead' AND f.seq = ANY (back) RETURNING f.*
  ), m AS MATERIALIZED (
    SELECT x.placed, x.queue, x.priority, x.seq, x.failures, 0 AS lost, x.delays, greatest(x.max_attempts, x.failures + 1) AS max_attempts,
      x.created_at, x.id, x.tenant, x.type, x.source, x.subject, x.recipient, x.data, x.headers, x.key, x.gate,
      now_at + coalesce(((q.options || coalesce(x.options, '{}'))->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond' AS keep_until,
      x.options, x.managed
    FROM (SELECT g.placed,
      g.queue, g.priority, g.seq, g.failures, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant,
      g.type, g.source, g.subject, g.recipient, g.data, g.headers, g.key, g.gate, g.keep_until, g.options,
      g.managed
      FROM gone g UNION ALL SELECT false,
      o.queue, o.priority, o.seq, o.failures, o.lost, o.delays, o.max_attempts, o.created_at, o.id, o.tenant,
      o.type, o.source, o.subject, o.recipient, o.data, o.headers, o.key, o.gate, o.keep_until, o.options,
      o.managed
      FROM over o) x
  ), ready AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.gate IS NULL OR m.placed
  ), hold AS (
    INSERT INTO {held} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.gate IS NOT NULL AND NOT m.placed
  ), arrive AS (
    INSERT INTO {arrivals} (queue, gate) SELECT DISTINCT m.queue, m.gate FROM m WHERE m.gate IS NOT NULL AND NOT m.placed
  )
  SELECT array_agg(m.id) INTO revived FROM m;
  PERFORM {admit}(the_queue);
  RETURN QUERY SELECT unnest(revived);
END $$;
