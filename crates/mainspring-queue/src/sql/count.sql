-- One snapshot for all tables, so a message that is moving is counted once. A queue that was created, or
-- was not empty the time before, gets a row even when there is nothing in it.
WITH counted AS MATERIALIZED (
  SELECT queue, count(*) FILTER (WHERE holder IS NULL) AS ready, count(*) FILTER (WHERE holder IS NOT NULL) AS claimed,
         0::bigint AS deferred, 0::bigint AS held, 0::bigint AS blocked, 0::bigint AS dead,
         min(created_at) FILTER (WHERE holder IS NULL) AS oldest
  FROM {messages} GROUP BY queue
  UNION ALL SELECT queue, 0, 0, count(*), 0, 0, 0, NULL FROM {deferred} GROUP BY queue
  UNION ALL SELECT queue, 0, 0, 0, count(*), 0, 0, NULL FROM {held} GROUP BY queue
  UNION ALL SELECT queue, 0, 0, 0, 0, count(*), 0, NULL FROM {blocked} GROUP BY queue
  UNION ALL SELECT queue, 0, 0, 0, 0, 0, count(*), NULL FROM {dead_letters} GROUP BY queue
  UNION ALL SELECT name, 0, 0, 0, 0, 0, 0, NULL FROM {queues}
  UNION ALL SELECT queue, 0, 0, 0, 0, 0, 0, NULL FROM {queue_stats}
    WHERE at = (SELECT max(at) FROM {queue_stats}) AND ready + claimed + deferred + held + blocked + dead > 0
)
INSERT INTO {queue_stats} (queue, at, ready, claimed, deferred, held, blocked, dead, oldest_us)
SELECT n.queue, c.at, sum(n.ready), sum(n.claimed), sum(n.deferred), sum(n.held), sum(n.blocked), sum(n.dead),
       greatest(0, coalesce((extract(epoch FROM c.at - min(n.oldest)) * 1000000)::bigint, 0))
FROM (SELECT {now}() AS at OFFSET 0) c, counted n
GROUP BY n.queue, c.at
ON CONFLICT (queue, at) DO NOTHING
RETURNING queue, at, ready, claimed, deferred, held, blocked, dead, oldest_us
