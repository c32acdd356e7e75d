WITH due AS MATERIALIZED (
  SELECT seq FROM {deferred} WHERE available_at <= (SELECT {now}())
  ORDER BY available_at, seq LIMIT 1000
  FOR UPDATE SKIP LOCKED
), moved AS (
  DELETE FROM {deferred} d USING due WHERE d.seq = due.seq
  RETURNING d.*
)
INSERT INTO {messages} (queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
                        subject, recipient, data, headers)
SELECT queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject, recipient,
       data, headers
FROM moved ORDER BY available_at, seq
RETURNING queue
