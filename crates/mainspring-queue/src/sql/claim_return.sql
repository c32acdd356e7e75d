)
UPDATE {messages} m SET holder = $3, token = claim.token
FROM claim
WHERE m.ctid = ANY (ARRAY(SELECT row FROM next))
RETURNING m.priority, m.seq, m.token, m.failures, m.lost, m.delays, m.max_attempts, m.created_at, m.id, m.tenant, m.type,
  m.source, m.subject, m.recipient, m.data, m.headers, (SELECT {now}()), m.managed
