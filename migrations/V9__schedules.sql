-- Schedules: messages to be pushed again and again. `next_fire_at` is the compare-and-set that makes each tick fire once;
-- `due_at` is when to look at the row, which is later than its tick after a failure and never while it is paused or over.
CREATE TABLE {schedules} (
  queue        text COLLATE "C" NOT NULL,
  key          text COLLATE "C" NOT NULL,
  revision     bigint NOT NULL DEFAULT 1,
  timing       jsonb NOT NULL,
  missed       jsonb NOT NULL,
  message      jsonb NOT NULL,
  jitter_us    bigint NOT NULL DEFAULT 0 CHECK (jitter_us >= 0),
  starts_at    timestamptz,
  ends_at      timestamptz,
  anchor_at    timestamptz NOT NULL,
  paused_at    timestamptz,
  next_fire_at timestamptz,
  due_at       timestamptz,
  last_fire_at timestamptz,
  last_error   text,
  created_at   timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL,
  PRIMARY KEY (queue, key),
  CONSTRAINT {prefix}schedules_due CHECK (due_at IS NULL OR (next_fire_at IS NOT NULL AND paused_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX {prefix}schedules_next ON {schedules} (due_at) WHERE due_at IS NOT NULL;

-- What became of each tick that was looked at. One row per tick and outcome, so that a tick cannot be recorded twice.
CREATE TABLE {schedule_fires} (
  queue      text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  tick       timestamptz NOT NULL,
  outcome    text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'run_now')),
  missed     integer NOT NULL,
  fired_at   timestamptz NOT NULL,
  message_id text,
  PRIMARY KEY (queue, key, tick, outcome)
);
CREATE INDEX {prefix}schedule_fires_old ON {schedule_fires} (fired_at);

-- Who gets what is published to a topic: one row per pattern and queue.
CREATE TABLE {subscriptions} (
  topic      text COLLATE "C" NOT NULL,
  queue      text COLLATE "C" NOT NULL,
  wild       boolean NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (topic, queue)
);
CREATE INDEX {prefix}subscriptions_wild ON {subscriptions} (topic) WHERE wild;

-- Who does the upkeep: one row, leased, with a number that grows with every holder. Every write of upkeep locks it in share
-- mode first, so that nothing of an older term is written after a newer one began.
CREATE TABLE {upkeep} (
  name        text PRIMARY KEY,
  holder      text NOT NULL,
  term        bigint NOT NULL,
  expires_at  timestamptz NOT NULL,
  counted_at  timestamptz,
  retained_at timestamptz
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- How full each queue was: one row per queue that was created, or not empty, or was not the time before. Rows of one count have one time.
CREATE TABLE {queue_stats} (
  queue     text COLLATE "C" NOT NULL,
  at        timestamptz NOT NULL,
  ready     bigint NOT NULL,
  claimed   bigint NOT NULL,
  deferred  bigint NOT NULL,
  held      bigint NOT NULL,
  dead      bigint NOT NULL,
  oldest_us bigint NOT NULL,
  PRIMARY KEY (queue, at)
);
CREATE INDEX {prefix}queue_stats_at ON {queue_stats} (at);

-- When to warn about a queue, where it is not as about all others.
CREATE TABLE {queue_watches} (
  queue     text COLLATE "C" PRIMARY KEY,
  backlog   bigint CHECK (backlog > 0),
  oldest_us bigint CHECK (oldest_us > 0)
);

CREATE TABLE {queue_warnings} (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind     text NOT NULL,
  subject  text NOT NULL,
  value    bigint NOT NULL,
  most     bigint NOT NULL,
  at       timestamptz NOT NULL
);
CREATE INDEX {prefix}queue_warnings_kind ON {queue_warnings} (kind, subject, at);
CREATE INDEX {prefix}queue_warnings_at ON {queue_warnings} (at);

-- What `limits::check_text` of the core says: 1 to `most` bytes without control characters.
CREATE FUNCTION {check_text}(field text, value text, most integer) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF coalesce(value, '') = '' THEN
    RAISE EXCEPTION '%: must not be empty', field USING ERRCODE = '22023';
  ELSIF octet_length(value) > most THEN
    RAISE EXCEPTION '%: % bytes, at most % are allowed', field, octet_length(value), most USING ERRCODE = '22023';
  ELSIF value ~ '[\u0001-\u001f\u007f-\u009f]' THEN
    RAISE EXCEPTION '%: has control characters', field USING ERRCODE = '22023';
  END IF;
END $$;

-- What `limits::check_json_within` of the core says of size, depth and keys, and that a reader's numbers can hold each number.
-- A small value without much nesting is not walked: no JSON counts for more than nine times the bytes of its text.
CREATE FUNCTION {check_json}(field text, value jsonb, most integer) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  as_text text := value::text;
  seen record;
BEGIN
  IF octet_length(as_text) <= most / 9 AND octet_length(as_text) < 20000 AND as_text !~ '[0-9]{255}'
    AND length(as_text) - length(translate(as_text, '[{', '')) <= 64 THEN
    RETURN;
  END IF;
  WITH RECURSIVE walk(v, depth) AS (
    SELECT value, 1
    UNION ALL
    SELECT c.v, w.depth + 1 FROM walk w CROSS JOIN LATERAL (
      SELECT e.value AS v FROM jsonb_array_elements(CASE jsonb_typeof(w.v) WHEN 'array' THEN w.v ELSE '[]' END) e
      UNION ALL SELECT o.value FROM jsonb_each(CASE jsonb_typeof(w.v) WHEN 'object' THEN w.v ELSE '{}' END) o
    ) c WHERE w.depth <= 65
  ), each_one AS (
    SELECT w.depth, jsonb_typeof(w.v) AS kind, w.v, k.keys, k.bytes FROM walk w
    LEFT JOIN LATERAL (SELECT count(*) AS keys, sum(octet_length(o.key) + 4) AS bytes
      FROM jsonb_object_keys(CASE jsonb_typeof(w.v) WHEN 'object' THEN w.v ELSE '{}' END) o(key)) k ON true
  )
  SELECT max(e.depth) AS depth, sum(e.keys) AS keys,
    coalesce(bool_or(CASE e.kind WHEN 'number' THEN abs((e.v #>> '{}')::numeric) > 1.7976931348623157e308 ELSE false END), false) AS huge,
    sum(CASE e.kind WHEN 'string' THEN octet_length(e.v #>> '{}') + 2 WHEN 'number' THEN 8 WHEN 'array' THEN jsonb_array_length(e.v) + 2
      WHEN 'object' THEN coalesce(e.bytes, 0) + 2 WHEN 'boolean' THEN length(e.v::text) ELSE 4 END) AS bytes
  INTO seen FROM each_one e;
  IF seen.depth > 65 THEN
    RAISE EXCEPTION '%: nested deeper than 64 levels', field USING ERRCODE = '22023';
  ELSIF seen.keys > 10000 THEN
    RAISE EXCEPTION '%: more than 10000 keys', field USING ERRCODE = '22023';
  ELSIF seen.bytes > most THEN
    RAISE EXCEPTION '%: % bytes, at most % are allowed', field, seen.bytes, most USING ERRCODE = '22023';
  ELSIF seen.huge THEN
    RAISE EXCEPTION '%: has a number larger than 1.8e308', field USING ERRCODE = '22023';
  END IF;
END $$;

-- Pushes one message from SQL, of whatever language: visible to workers with the caller's commit. Answers the id of the
-- message that stands for it, which is another one's when it is a duplicate. `wake` tells waiting workers at the commit;
-- without it they find it by polling, which keeps NOTIFY out of a busy writer's transactions.
CREATE FUNCTION {push}(
  queue text, type text, data jsonb, key text DEFAULT NULL, priority integer DEFAULT NULL, delay interval DEFAULT NULL,
  at timestamptz DEFAULT NULL, max_attempts integer DEFAULT NULL, headers jsonb DEFAULT NULL, id text DEFAULT NULL,
  tenant text DEFAULT '', source text DEFAULT NULL, subject text DEFAULT NULL, recipient text DEFAULT NULL,
  group_id text DEFAULT NULL, tier text DEFAULT NULL, unique_by text DEFAULT NULL, unique_for interval DEFAULT NULL,
  wake boolean DEFAULT false
) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  now_at timestamptz := {now}();
  own jsonb := jsonb_strip_nulls(jsonb_build_object('group', group_id, 'tier', tier));
  channel text := trim('{schema}', '"') || '.{prefix}wake';
  unique_us numeric := extract(epoch FROM unique_for) * 1000000;
  there text;
BEGIN
  PERFORM {check_text}('message.queue', queue, 128);
  PERFORM {check_text}('message.type', type, 128);
  id := coalesce(id, 'msg_' || lpad(to_hex((extract(epoch FROM now_at) * 1000)::bigint), 12, '0')
    || left(replace(gen_random_uuid()::text, '-', ''), 14));
  PERFORM {check_text}(f.field, f.value, 255) FROM (VALUES ('message.id', id), ('message.source', source),
    ('message.subject', subject), ('message.to', recipient), ('message.key', key), ('message.group.id', group_id),
    ('message.tenant', nullif(tenant, ''))) f(field, value) WHERE f.value IS NOT NULL;
  IF tier IS NOT NULL THEN
    PERFORM {check_text}('message.group.tier', tier, 128);
    IF group_id IS NULL THEN
      RAISE EXCEPTION 'message.group.tier: is the tier of a group, and there is none' USING ERRCODE = '22023';
    END IF;
  END IF;
  IF priority NOT BETWEEN -32768 AND 32767 THEN
    RAISE EXCEPTION 'message.priority: % is not within -32768 to 32767', priority USING ERRCODE = '22023';
  ELSIF max_attempts NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'message.max_attempts: % is not within 1 to 1000', max_attempts USING ERRCODE = '22023';
  ELSIF delay IS NOT NULL AND at IS NOT NULL THEN
    RAISE EXCEPTION 'message.available: either a delay or a time' USING ERRCODE = '22023';
  ELSIF delay < interval '0' OR extract(epoch FROM delay) > 3153600000 THEN
    RAISE EXCEPTION 'message.available: % is not within 0 to 36500 days', delay USING ERRCODE = '22023';
  ELSIF at NOT BETWEEN timestamptz '1970-01-01T00:00:00Z' AND timestamptz '9999-12-31T23:59:59Z' THEN
    RAISE EXCEPTION 'message.available: % is not within the years 1970 to 9999', at USING ERRCODE = '22023';
  ELSIF data IS NULL THEN
    RAISE EXCEPTION 'message.data: must not be NULL; null as JSON is allowed' USING ERRCODE = '22023';
  ELSIF jsonb_typeof(headers) <> 'object' THEN
    RAISE EXCEPTION 'message.headers: is not an object' USING ERRCODE = '22023';
  ELSIF unique_by NOT IN ('unfinished', 'for', 'throttle', 'debounce') THEN
    RAISE EXCEPTION 'message.unique: `%` is not unfinished, for, throttle or debounce', left(unique_by, 40) USING ERRCODE = '22023';
  ELSIF (unique_by IN ('for', 'throttle', 'debounce')) IS DISTINCT FROM (unique_for IS NOT NULL)
    AND (unique_by IS NOT NULL OR unique_for IS NOT NULL) THEN
    RAISE EXCEPTION 'message.unique: for, throttle and debounce need unique_for, and nothing else does' USING ERRCODE = '22023';
  ELSIF unique_us NOT BETWEEN 1000 AND 3153600000000000 THEN
    RAISE EXCEPTION 'message.unique: % is not within 1 ms to 36500 days', unique_for USING ERRCODE = '22023';
  END IF;
  PERFORM {check_json}('message.data', data, 1048576);
  headers := nullif(headers, '{}');
  IF headers IS NOT NULL THEN
    PERFORM {check_json}('message.headers', headers, 16384);
  END IF;
  at := coalesce(at, now_at + delay);
  IF own <> '{}' OR key IS NOT NULL OR unique_by IS NOT NULL OR EXISTS (SELECT FROM {queues} q WHERE q.name = queue) THEN
    SELECT p.duplicate_of INTO there FROM {place}(ARRAY[queue], ARRAY[priority::smallint], ARRAY[max_attempts], ARRAY[id],
      ARRAY[coalesce(tenant, '')], ARRAY[type], ARRAY[source], ARRAY[subject], ARRAY[recipient], ARRAY[data], ARRAY[headers],
      ARRAY[key], ARRAY[nullif(own, '{}')], ARRAY[at], ARRAY[NULL::bigint], ARRAY[unique_by], ARRAY[unique_us::bigint]) p
      WHERE p.n > 0;
  ELSIF at > now_at THEN
    INSERT INTO {deferred} (available_at, queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient,
                            data, headers)
    VALUES (at, queue, coalesce(priority, 0), coalesce(max_attempts, 3), now_at, id, coalesce(tenant, ''), type, source, subject,
            recipient, data, headers);
  ELSE
    INSERT INTO {messages} (queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers)
    VALUES (queue, coalesce(priority, 0), coalesce(max_attempts, 3), now_at, id, coalesce(tenant, ''), type, source, subject,
            recipient, data, headers);
  END IF;
  IF wake AND octet_length(channel) <= 63 THEN
    PERFORM pg_notify(channel, queue);
  END IF;
  RETURN coalesce(there, id);
END $$;
