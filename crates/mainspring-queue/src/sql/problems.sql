-- Every count of a gate must be that of its rows, and nobody may wait where there is room, unless it has only just arrived, or
-- for others when there are none.
WITH counted AS (
  SELECT x.queue, x.gate, count(*) AS n FROM (
    SELECT m.queue, m.gate FROM {messages} m WHERE m.gate IS NOT NULL
    UNION ALL SELECT d.queue, d.gate FROM {deferred} d WHERE d.placed
    UNION ALL SELECT d.queue, d.gate FROM {dead_letters} d WHERE d.placed) x
  GROUP BY x.queue, x.gate
), widest AS (
  SELECT h.queue, h.gate, max(CASE WHEN left(h.gate, 1) = 'k' THEN 1
    ELSE coalesce((q.options->'groups'->'tiers'->>(h.options->>'tier'))::integer, (q.options->'groups'->>'limit')::integer, 2147483647)
    END) AS most
  FROM {held} h LEFT JOIN {queues} q ON q.name = h.queue GROUP BY h.queue, h.gate
), stood AS (
  SELECT queue, gate, coalesce(g.admitted, 0) AS stored, coalesce(c.n, 0) AS real, w.most
  FROM {gates} g FULL JOIN counted c USING (queue, gate) FULL JOIN widest w USING (queue, gate)
)
SELECT format('gate `%s` of queue `%s` has admitted %s, and its count says %s', gate, queue, real, stored)
FROM stood WHERE stored <> real
UNION ALL
SELECT format('messages wait at gate `%s` of queue `%s`, which has room', gate, queue)
FROM stood s WHERE s.real < s.most
  AND NOT EXISTS (SELECT FROM {arrivals} a WHERE a.queue = s.queue AND a.gate = s.gate)
UNION ALL
SELECT format('message `%s` of queue `%s` waits for nothing', b.id, b.queue)
FROM {blocked} b WHERE NOT EXISTS (SELECT FROM {dependencies} d WHERE d.child = b.seq)
