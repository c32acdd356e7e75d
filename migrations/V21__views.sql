-- What operators read. Names and columns of these views stay as they are, whatever becomes of the tables; new columns come last.
-- They show no payload, no secret and no hash of one, so they may be granted to people who may not see the tables. A migration that
-- changes the type of a column that is used here drops the view first and creates it again.

-- One row for each execution. `attributes` is what it is searched by; a run of a World has its own there.
CREATE VIEW {v_executions} AS
  SELECT x.id AS execution_id, x.tenant, x.flow_id, x.flow_version, x.status, x.current_step, x.step_count, x.queue,
    x.parent_execution_id, x.root_execution_id, x.idempotency_key,
    CASE WHEN x.flow_version LIKE 'world-%' AND jsonb_typeof(x.context->'attributes') = 'object'
      THEN x.attributes || (x.context->'attributes') ELSE x.attributes END AS attributes,
    x.wait_reason, x.wake_at, x.deadline_at, x.holder, x.created_at, x.updated_at, x.finished_at,
    extract(epoch FROM x.finished_at - x.created_at)::double precision AS duration_seconds,
    x.error->>'code' AS error_code, x.error->>'message' AS error_message, x.error->>'stepId' AS error_step,
    x.cancellation->>'source' AS cancelled_by, x.cancellation->>'reason' AS cancel_reason
  FROM {executions} x;

-- What became of the steps: one row for each thing the history of an execution says of a step, in the order of `position`. Asked for
-- one execution, or a few, it reads their histories only.
CREATE VIEW {v_steps} AS
  SELECT x.id AS execution_id, x.tenant, x.flow_id, x.flow_version, e.stream_position AS position, e.subject AS step,
    CASE e.type WHEN 'step.retry' THEN 'retrying' WHEN 'step.timeout' THEN 'timed_out' WHEN 'child.started' THEN 'child_started'
      WHEN 'child.finished' THEN 'child_finished' ELSE substr(e.type, 6) END AS state,
    CASE WHEN jsonb_typeof(e.data->'attempt') = 'number' THEN (e.data->>'attempt')::integer END AS attempt,
    coalesce(e.data->>'code', e.data#>>'{failure,code}', e.data#>>'{error,code}') AS error_code,
    coalesce(e.data->>'message', e.data#>>'{failure,message}', e.data#>>'{error,message}') AS error_message,
    coalesce(e.data->>'childExecutionId', e.data->>'jobId') AS waits_for,
    e.created_at AS at
  FROM {executions} x JOIN {events} e
    ON e.partition = 'executions' AND e.tenant = x.tenant AND e.stream = 'execution-' || x.id
  WHERE e.type LIKE 'step.%' OR e.type IN ('child.started', 'child.finished');

-- What waiting executions wait for, one row for each thing. `signal` is what only a message, a signal or a resume can end.
CREATE VIEW {v_waits} AS
  SELECT x.id AS execution_id, x.tenant, x.flow_id, coalesce(w.step, x.current_step) AS step, coalesce(w.kind, 'signal') AS kind, w.waits_for,
    x.wait_reason AS reason, x.wait_started_at AS since, w.until, x.wait_deadline_at AS deadline_at
  FROM {executions} x LEFT JOIN LATERAL (
    SELECT 'timer' AS kind, NULL::text AS step, NULL::text AS waits_for, x.wake_at AS until WHERE x.wake_at IS NOT NULL
    UNION ALL SELECT 'token', t.step_id, t.id, t.expires_at FROM {resume_tokens} t WHERE t.execution_id = x.id AND t.status = 'pending'
    UNION ALL SELECT 'job', j.step_id, j.id, NULL FROM {jobs} j WHERE j.execution_id = x.id AND j.finished_at IS NULL
    UNION ALL SELECT 'child', NULL, c.id, NULL FROM {executions} c
      WHERE c.parent_execution_id = x.id AND c.finished_at IS NULL AND c.reply IS NOT NULL
  ) w ON true
  WHERE x.status = 'waiting';

-- Queues, as they were when they were counted last, which upkeep does every minute; nothing was counted where `counted_at` is NULL.
CREATE VIEW {v_queues} AS
  SELECT coalesce(q.name, s.queue) AS queue, q.name IS NOT NULL AS created, coalesce(q.policy, 'standard') AS policy,
    coalesce(q.paused, false) AS paused, s.ready, s.claimed, s.deferred, s.held, s.blocked, s.dead,
    s.oldest_us / 1e6::double precision AS oldest_seconds, s.at AS counted_at
  FROM {queues} q FULL JOIN (
    SELECT c.* FROM {queue_stats} c WHERE c.at = (SELECT max(m.at) FROM {queue_stats} m)
  ) s ON s.queue = q.name;

-- Messages that were given up.
CREATE VIEW {v_dead_letters} AS
  SELECT d.queue, d.id AS message_id, d.tenant, d.type, d.source, d.subject, d.recipient, d.key, d.priority, d.failures, d.lost, d.delays,
    d.max_attempts, d.reason->>'code' AS reason_code, d.reason->>'message' AS reason_message, d.placed AS blocks_its_key, d.created_at,
    d.dead_at, d.keep_until
  FROM {dead_letters} d;

-- Who holds up what. `log_fence`: a transaction that appends, and behind which no reader of the log gets. `key` and `group`: messages
-- that wait for others of their key or group. `parent`: messages that wait for another to be done. `lock`: sessions that wait for a lock.
CREATE VIEW {v_blockers} AS
  SELECT 'log_fence' AS kind, 'the log' AS what,
    coalesce(nullif(a.application_name, ''), CASE WHEN f.pid IS NULL THEN 'a prepared transaction' ELSE 'a session' END) AS held_by,
    f.pid, a.xact_start AS since, s.last - f.position AS waiting, a.state AS detail
  FROM (SELECT last_value - (NOT is_called)::int AS last FROM {event_position}) s
  CROSS JOIN LATERAL (
    SELECT l.pid, ((l.classid::bigint & 65535) << 32) | l.objid::bigint AS position FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.mode = 'ShareLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
      AND (l.classid::bigint >> 16) = (pg_catalog.hashtext('{event_position}') & 32767)
  ) f LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = f.pid
  WHERE f.position < s.last
  UNION ALL
  SELECT 'paused_queue', q.name, 'whoever paused it', NULL, NULL,
    (SELECT c.ready + c.deferred + c.held + c.blocked FROM {queue_stats} c WHERE c.queue = q.name ORDER BY c.at DESC LIMIT 1), NULL
  FROM {queues} q WHERE q.paused
  UNION ALL
  SELECT 'paused_schedule', s.queue || '/' || s.key, 'whoever paused it', NULL, s.paused_at, NULL, NULL
  FROM {schedules} s WHERE s.paused_at IS NOT NULL
  UNION ALL
  SELECT CASE WHEN h.gate LIKE 'k%' THEN 'key' ELSE 'group' END, h.queue || '/' || substr(h.gate, 2),
    coalesce('message ' || m.id, 'dead letter ' || d.id, 'message ' || r.id || ', put off', 'messages at work'), NULL, h.since, h.waiting,
    CASE WHEN m.holder IS NOT NULL THEN 'claimed by ' || m.holder END
  FROM (SELECT x.queue, x.gate, count(*) AS waiting, min(x.created_at) AS since FROM {held} x GROUP BY x.queue, x.gate) h
  LEFT JOIN LATERAL (
    SELECT x.id, x.holder FROM {messages} x WHERE h.gate LIKE 'k%' AND x.queue = h.queue AND x.key = substr(h.gate, 2) AND x.gate = h.gate LIMIT 1
  ) m ON true
  LEFT JOIN (SELECT x.queue, x.gate, min(x.id) AS id FROM {dead_letters} x WHERE x.placed GROUP BY x.queue, x.gate) d USING (queue, gate)
  LEFT JOIN (SELECT x.queue, x.gate, min(x.id) AS id FROM {deferred} x WHERE x.placed GROUP BY x.queue, x.gate) r USING (queue, gate)
  UNION ALL
  SELECT 'parent', b.queue, 'message ' || d.queue || '/' || d.id, NULL, min(b.created_at), count(*), NULL
  FROM {dependencies} d JOIN {blocked} b ON b.seq = d.child GROUP BY b.queue, d.queue, d.id
  UNION ALL
  SELECT 'lock', 'session ' || w.pid, coalesce(nullif(a.application_name, ''), 'a session'), b.pid, a.xact_start, NULL, a.state
  FROM pg_catalog.pg_stat_activity w CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid)
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
  WHERE w.wait_event_type = 'Lock' AND w.datname = current_database();
