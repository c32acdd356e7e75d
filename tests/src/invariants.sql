-- What must hold at every moment, whatever has broken; one row for each thing that does not. One statement, so one snapshot.
SELECT 'execution ' || e.id || ' is ' || e.status || ' at ' || e.current_step || ' and nobody drives it'
FROM {executions} e
WHERE e.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.id = e.driver)
  AND NOT EXISTS (SELECT FROM {deferred} d WHERE d.id = e.driver)
  AND NOT EXISTS (SELECT FROM {workers} w WHERE w.id = e.holder AND w.expires_at > {now}())
  AND NOT (e.status = 'waiting' AND e.driver IS NULL AND e.wake_at IS NULL)
  AND NOT EXISTS (SELECT FROM {executions} c
    WHERE c.parent_execution_id = e.id AND c.finished_at IS NULL AND c.reply ->> 'message' = e.driver)
  AND NOT EXISTS (SELECT FROM {jobs} j
    WHERE j.execution_id = e.id AND j.finished_at IS NULL AND j.reply ->> 'message' = e.driver)
UNION ALL
SELECT 'job ' || j.id || ' is ' || j.status || ' and has no message'
FROM {jobs} j
WHERE j.finished_at IS NULL
  AND NOT EXISTS (SELECT FROM {messages} m WHERE m.type = 'job.run' AND m.subject = j.id)
  AND NOT EXISTS (SELECT FROM {deferred} d WHERE d.type = 'job.run' AND d.subject = j.id)
  AND NOT EXISTS (SELECT FROM {workers} w WHERE w.id = j.holder AND w.expires_at > {now}())
UNION ALL
SELECT 'message ' || m.id || ' is claimed by ' || m.holder || ', which is not known'
FROM {messages} m
WHERE m.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {workers} w WHERE w.id = m.holder)
UNION ALL
SELECT 'message ' || a.id || ' is there ' || count(*) || ' times'
FROM (SELECT id FROM {messages} UNION ALL SELECT id FROM {deferred}) a
GROUP BY a.id HAVING count(*) > 1
UNION ALL
SELECT 'execution ' || e.id || ' is over and its job ' || j.id || ' is ' || j.status
FROM {executions} e JOIN {jobs} j ON j.execution_id = e.id
WHERE e.finished_at IS NOT NULL AND j.finished_at IS NULL
UNION ALL
SELECT 'execution ' || e.id || ' was cancelled and its child ' || c.id || ' is ' || c.status
FROM {executions} e JOIN {executions} c ON c.parent_execution_id = e.id
WHERE e.status = 'cancelled' AND c.finished_at IS NULL
UNION ALL
SELECT 'execution ' || e.id || ' has ' || (SELECT count(*) FROM {events_executions} v 
    WHERE v.partition = 'executions' AND v.tenant = e.tenant AND v.stream = 'execution-' || e.id)
  || ' events and its row says ' || e.position
FROM {executions} e
WHERE e.position <> (SELECT count(*) FROM {events_executions} v 
    WHERE v.partition = 'executions' AND v.tenant = e.tenant AND v.stream = 'execution-' || e.id)
