INSERT INTO {messages} (queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers)
SELECT u.queue, u.priority, u.max_attempts, c.at, u.id, u.tenant, u.type, u.source, u.subject, u.recipient, u.data, u.headers
FROM (SELECT {now}() AS at OFFSET 0) c, unnest(
  $1::text[], $2::smallint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::jsonb[], $11::jsonb[]
) AS u(queue, priority, max_attempts, id, tenant, type, source, subject, recipient, data, headers)
