-- A message with a gate it has no place in has to go through it again.
WITH due AS MATERIALIZED (
  SELECT seq FROM {deferred} WHERE available_at <= (SELECT {now}())
  ORDER BY available_at, seq LIMIT 1000
  FOR UPDATE SKIP LOCKED
), moved AS (
  DELETE FROM {deferred} d USING due WHERE d.seq = due.seq
  RETURNING d.*
), hold AS (
  INSERT INTO {held} (queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject,
                      recipient, data, headers, key, gate, keep_until, options, managed)
  SELECT queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject, recipient,
         data, headers, key, gate, keep_until, options, managed
  FROM moved WHERE gate IS NOT NULL AND NOT placed
), arrive AS (
  INSERT INTO {arrivals} (queue, gate) SELECT DISTINCT queue, gate FROM moved WHERE gate IS NOT NULL AND NOT placed
), ready AS (
  INSERT INTO {messages} (queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
                          subject, recipient, data, headers, key, gate, keep_until, options, managed)
  SELECT queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject, recipient,
         data, headers, key, gate, keep_until, options, managed
  FROM moved WHERE gate IS NULL OR placed ORDER BY available_at, seq
)
SELECT queue FROM moved
