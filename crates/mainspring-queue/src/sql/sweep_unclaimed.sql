-- Messages nobody has claimed for too long: those that say until when, and the oldest of each queue and priority. What is
-- claimed at this moment has another token and stays.
WITH RECURSIVE c AS MATERIALIZED (
  SELECT {now}() AS at
), level AS (
  SELECT q.name, coalesce((q.options->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond' AS keep,
    (SELECT m.priority FROM {messages} m WHERE m.queue = q.name ORDER BY m.priority DESC LIMIT 1) AS priority
  FROM {queues} q
  UNION ALL
  SELECT l.name, l.keep,
    (SELECT m.priority FROM {messages} m WHERE m.queue = l.name AND m.priority < l.priority ORDER BY m.priority DESC LIMIT 1)
  FROM level l WHERE l.priority IS NOT NULL
), old AS MATERIALIZED (
  (SELECT m.queue, m.priority, m.seq FROM {messages} m
   WHERE m.keep_until <= (SELECT c.at FROM c) AND m.holder IS NULL ORDER BY m.keep_until LIMIT 1000)
  UNION ALL
  (SELECT o.queue, o.priority, o.seq FROM level l CROSS JOIN LATERAL (
     SELECT m.queue, m.priority, m.seq, m.created_at, m.keep_until, m.holder, m.managed FROM {messages} m
     WHERE m.queue = l.name AND m.priority = l.priority ORDER BY m.seq LIMIT 1000) o
   WHERE o.keep_until IS NULL AND o.holder IS NULL AND o.managed AND o.created_at + l.keep <= (SELECT c.at FROM c) LIMIT 1000)
), all_of AS MATERIALIZED (
  SELECT array_agg(o.queue) AS queues, array_agg(o.priority) AS priorities, array_agg(o.seq) AS seqs, count(*)::integer AS n
  FROM old o
), gone AS MATERIALIZED (
  SELECT s.settled_seq FROM all_of a CROSS JOIN LATERAL {settle}(a.queues, a.priorities, a.seqs, array_fill(0::bigint, ARRAY[a.n]),
    array_fill('drop'::text, ARRAY[a.n]), array_fill(NULL::timestamptz, ARRAY[a.n]), array_fill(NULL::bigint, ARRAY[a.n]),
    array_fill(NULL::jsonb, ARRAY[a.n]), array_fill(NULL::jsonb, ARRAY[a.n])) s
  WHERE a.n > 0
)
SELECT count(*) FROM gone
