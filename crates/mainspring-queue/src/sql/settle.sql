-- Everything but a plain Done, of messages that are not managed: the row leaves `messages` and enters the table of its new state, in one statement.
WITH c AS MATERIALIZED (SELECT {now}() AS at),
input AS MATERIALIZED (
  SELECT u.token, u.verdict, u.at, u.delay_us, u.reason, r.row
  FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bigint[],
              $8::jsonb[]) AS u(queue, priority, seq, token, verdict, at, delay_us, reason)
  CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
    WHERE x.queue = u.queue AND x.priority = u.priority AND x.seq = u.seq OFFSET 0) r
), gone AS (
  DELETE FROM {messages} m USING input i
  WHERE m.ctid = i.row AND m.token = i.token
  RETURNING m.*, i.at, i.delay_us, i.reason,
    CASE WHEN i.verdict = 'retry' AND m.failures + 1 >= m.max_attempts THEN 'dead' ELSE i.verdict END AS verdict,
    (i.verdict = 'retry')::int AS failed
), later AS (
  INSERT INTO {deferred} (available_at, queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant,
                          type, source, subject, recipient, data, headers)
  SELECT coalesce(g.at, c.at + coalesce(g.delay_us, random() * least(3600000000, 1000000 * power(2, least(g.failures, 30))))
                          * interval '1 microsecond'), g.queue, g.priority, g.seq,
         CASE g.verdict WHEN 'snooze' THEN 0 ELSE g.failures + 1 END, CASE g.verdict WHEN 'snooze' THEN 0 ELSE g.lost END,
         g.delays + (g.verdict = 'snooze')::int, g.max_attempts, g.created_at, g.id, g.tenant, g.type, g.source, g.subject,
         g.recipient, g.data, g.headers
  FROM gone g, c WHERE g.verdict IN ('retry', 'snooze')
), dead AS (
  INSERT INTO {dead_letters} (queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type,
                              source, subject, recipient, data, headers, reason, dead_at)
  SELECT g.queue, g.priority, g.seq, g.failures + g.failed, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant,
         g.type, g.source, g.subject, g.recipient, g.data, g.headers, coalesce(g.reason, '{}'), c.at
  FROM gone g, c WHERE g.verdict = 'dead'
)
SELECT seq, token FROM gone
