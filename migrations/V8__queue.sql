-- The queue. Where a message is says what state it is in: ready or claimed in `messages`, not yet due in `deferred`, held
-- back by its key or group in `held`, given up in `dead_letters`, done or cancelled in `finished` or nowhere. A claim changes
-- only columns without an index, so it stays within its page (HOT).
CREATE SEQUENCE {message_seq};
CREATE SEQUENCE {claim_token};

-- Queues that were created. Others are plain: their messages have `managed` false, and nothing here concerns them.
CREATE TABLE {queues} (
  name       text COLLATE "C" PRIMARY KEY,
  options    jsonb NOT NULL,
  policy     text NOT NULL GENERATED ALWAYS AS (coalesce(options->>'policy', 'standard')) STORED,
  -- Whether messages may be held back.
  gated      boolean NOT NULL GENERATED ALWAYS AS (options ? 'groups'
               OR coalesce(options->>'policy', 'standard') IN ('singleton', 'stately', 'key_strict_fifo')) STORED,
  paused     boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CONSTRAINT {prefix}queues_policy CHECK (policy IN ('standard', 'short', 'singleton', 'stately', 'exclusive', 'key_strict_fifo')),
  CONSTRAINT {prefix}queues_options CHECK (jsonb_typeof(options) = 'object')
) WITH (fillfactor = 80);

CREATE TABLE {messages} (
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint NOT NULL DEFAULT nextval('{message_seq}'),
  token        bigint NOT NULL DEFAULT 0,
  holder       text,
  failures     integer NOT NULL DEFAULT 0,
  lost         integer NOT NULL DEFAULT 0,
  delays       integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  key          text,
  gate         text,        -- whose count it is in
  keep_until   timestamptz, -- unless its queue says
  options      jsonb,       -- its own; group, tier and origin too
  managed      boolean NOT NULL DEFAULT false,
  CONSTRAINT {prefix}messages_claimed CHECK ((holder IS NULL) = (token = 0))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX {prefix}messages_order ON {messages} (queue, priority DESC, seq);
-- Messages that have cost two workers: claimed one at a time. It is nearly always empty.
CREATE INDEX {prefix}messages_suspects ON {messages} (queue, priority DESC, seq) WHERE lost >= 2;
CREATE INDEX {prefix}messages_id ON {messages} (id) WHERE managed;
CREATE INDEX {prefix}messages_key ON {messages} (queue, key) WHERE key IS NOT NULL;
CREATE INDEX {prefix}messages_keep ON {messages} (keep_until) WHERE keep_until IS NOT NULL;

CREATE TABLE {deferred} (
  available_at timestamptz NOT NULL CHECK (isfinite(available_at)),
  placed       boolean NOT NULL DEFAULT false, -- keeps its place in the count of its gate
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY DEFAULT nextval('{message_seq}'),
  failures     integer NOT NULL DEFAULT 0,
  lost         integer NOT NULL DEFAULT 0,
  delays       integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  key          text,
  gate         text,
  keep_until   timestamptz,
  options      jsonb,
  managed      boolean NOT NULL DEFAULT false
);
CREATE INDEX {prefix}deferred_due ON {deferred} (available_at, seq);
CREATE INDEX {prefix}deferred_id ON {deferred} (queue, id) WHERE managed;

-- Due messages whose gate has no room, or that were not looked at yet. A claim never sees them.
CREATE TABLE {held} (
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY,
  failures     integer NOT NULL,
  lost         integer NOT NULL,
  delays       integer NOT NULL,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  key          text,
  gate         text NOT NULL,
  keep_until   timestamptz,
  options      jsonb,
  managed      boolean NOT NULL
);
CREATE INDEX {prefix}held_next ON {held} (queue, gate, priority DESC, seq);
CREATE INDEX {prefix}held_id ON {held} (queue, id);

-- One row for each key or group that has messages admitted: in `messages`, or keeping their place in `deferred` or
-- `dead_letters`. Whoever changes the count, or takes a row out of `held`, holds the lock on this row; locks are taken in the
-- order of the key, all at once, and after the locks on messages. Pushes take none: they leave a row in `arrivals`.
CREATE TABLE {gates} (
  queue    text COLLATE "C" NOT NULL,
  gate     text COLLATE "C" NOT NULL,
  admitted integer NOT NULL DEFAULT 0 CHECK (admitted >= 0),
  PRIMARY KEY (queue, gate)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE {arrivals} (
  queue text COLLATE "C" NOT NULL,
  gate  text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX {prefix}arrivals_queue ON {arrivals} (queue);

-- What a message is the only one of: `queued`, `unfinished`, `retry`, `for`, `slot <length> <number>`. A row whose message is
-- gone or whose time is over counts for nothing, so nobody has to remove it in time.
CREATE TABLE {keys} (
  queue text COLLATE "C" NOT NULL,
  key   text COLLATE "C" NOT NULL,
  scope text COLLATE "C" NOT NULL,
  seq   bigint NOT NULL DEFAULT 0,
  id    text NOT NULL DEFAULT '',
  until timestamptz,
  PRIMARY KEY (queue, key, scope)
) WITH (fillfactor = 80);
CREATE INDEX {prefix}keys_until ON {keys} (until) WHERE until IS NOT NULL;

-- How many messages may still be claimed, as it was at that time.
CREATE TABLE {rates} (
  queue  text COLLATE "C" PRIMARY KEY,
  tokens double precision NOT NULL,
  at     timestamptz NOT NULL
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Tries that may not take for ever, one row for each claim and length. What was settled in time is simply not found again.
CREATE TABLE {tries} (
  expires_at timestamptz NOT NULL,
  queue      text COLLATE "C" NOT NULL,
  token      bigint NOT NULL,
  priorities smallint[] NOT NULL,
  seqs       bigint[] NOT NULL
);
CREATE INDEX {prefix}tries_expire ON {tries} (expires_at);

CREATE TABLE {finished} (
  state        text NOT NULL CHECK (state IN ('done', 'cancelled')),
  finished_at  timestamptz NOT NULL,
  output       jsonb,
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY,
  failures     integer NOT NULL,
  lost         integer NOT NULL,
  delays       integer NOT NULL,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  key          text,
  gate         text,
  keep_until   timestamptz NOT NULL,
  options      jsonb,
  managed      boolean NOT NULL
);
CREATE INDEX {prefix}finished_keep ON {finished} (keep_until);
CREATE INDEX {prefix}finished_id ON {finished} (queue, id);

CREATE TABLE {dead_letters} (
  reason       jsonb NOT NULL,
  dead_at      timestamptz NOT NULL,
  placed       boolean NOT NULL DEFAULT false, -- keeps its place, and so blocks its key
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY,
  failures     integer NOT NULL,
  lost         integer NOT NULL,
  delays       integer NOT NULL,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  key          text,
  gate         text,
  keep_until   timestamptz,
  options      jsonb,
  managed      boolean NOT NULL DEFAULT false
);
CREATE INDEX {prefix}dead_letters_queue ON {dead_letters} (queue, dead_at);
CREATE INDEX {prefix}dead_letters_id ON {dead_letters} (queue, id) WHERE managed;
CREATE INDEX {prefix}dead_letters_keep ON {dead_letters} (keep_until) WHERE keep_until IS NOT NULL;

-- One liveness row per holder of leases. When it is out of date, all it holds is taken back at once and the row goes.
CREATE TABLE {workers} (
  id         text COLLATE "C" PRIMARY KEY,
  expires_at timestamptz NOT NULL,
  started_at timestamptz NOT NULL
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The functions below are what needs several statements that each see what was committed before their locks were granted,
-- which one statement cannot. They go by index whatever the planner believes of tables it has no statistics of.

-- Locks the rows of these gates, made where there are none, in their order.
CREATE FUNCTION {lock_gates}(the_queues text[], the_gates text[]) RETURNS void LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE wanted integer; found_rows integer;
BEGIN
  SELECT count(*) INTO wanted FROM (SELECT DISTINCT w.queue, w.gate FROM unnest(the_queues, the_gates) AS w(queue, gate)) d;
  LOOP
    INSERT INTO {gates} (queue, gate)
    SELECT DISTINCT w.queue COLLATE "C", w.gate COLLATE "C" FROM unnest(the_queues, the_gates) AS w(queue, gate)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    PERFORM FROM (SELECT DISTINCT w.queue COLLATE "C" AS queue, w.gate COLLATE "C" AS gate
                  FROM unnest(the_queues, the_gates) AS w(queue, gate)) w
      JOIN {gates} g ON g.queue = w.queue AND g.gate = w.gate
      ORDER BY g.queue, g.gate FOR UPDATE OF g;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    EXIT WHEN found_rows = wanted; -- else one was deleted while we waited for it
  END LOOP;
END $$;

-- Takes so many off the counts of these gates, admits what waits there as far as there is room, and forgets empty gates.
-- Answers how many were admitted.
CREATE FUNCTION {open_gates}(the_queues text[], the_gates text[], freed integer[]) RETURNS integer LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE moved integer;
BEGIN
  PERFORM {lock_gates}(the_queues, the_gates);
  WITH wanted AS MATERIALIZED (
    SELECT w.queue, w.gate, sum(w.freed)::integer AS freed FROM unnest(the_queues, the_gates, freed) AS w(queue, gate, freed)
    GROUP BY w.queue, w.gate
  ), open AS MATERIALIZED (
    SELECT g.queue, g.gate, g.admitted - w.freed AS admitted, q.options->'groups'->'tiers' AS tiers,
           CASE WHEN left(g.gate, 1) = 'k' THEN 1 ELSE coalesce((q.options->'groups'->>'limit')::integer, 2147483647) END AS most
    FROM wanted w JOIN {gates} g ON g.queue = w.queue AND g.gate = w.gate LEFT JOIN {queues} q ON q.name = w.queue
  ), next AS MATERIALIZED (
    SELECT n.seq, o.queue, o.gate
    FROM (SELECT o.*, greatest(o.most, coalesce((SELECT max(t.value::integer) FROM jsonb_each_text(o.tiers) t), 0))::bigint AS widest
          FROM open o) o
    CROSS JOIN LATERAL (
      SELECT h.seq, h.options->>'tier' AS tier, row_number() OVER (ORDER BY h.priority DESC, h.seq) AS n
      FROM (SELECT h.seq, h.priority, h.options FROM {held} h WHERE h.queue = o.queue AND h.gate = o.gate
            ORDER BY h.priority DESC, h.seq LIMIT greatest(o.widest - o.admitted, 0)) h) n
    WHERE o.admitted + n.n <= coalesce((o.tiers->>n.tier)::integer, o.most)
  ), taken AS (
    DELETE FROM {held} h USING next n WHERE h.seq = n.seq RETURNING h.*
  ), put AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM taken
  ), counted AS (
    SELECT t.queue, t.gate, count(*)::integer AS n FROM taken t GROUP BY t.queue, t.gate
  ), changed AS (
    UPDATE {gates} g SET admitted = o.admitted + coalesce(c.n, 0)
    FROM open o LEFT JOIN counted c ON c.queue = o.queue AND c.gate = o.gate
    WHERE g.queue = o.queue AND g.gate = o.gate AND g.admitted <> o.admitted + coalesce(c.n, 0)
  )
  SELECT coalesce(sum(c.n), 0) INTO moved FROM counted c;
  DELETE FROM {gates} g USING (SELECT DISTINCT w.queue, w.gate FROM unnest(the_queues, the_gates) AS w(queue, gate)) w
  WHERE g.queue = w.queue AND g.gate = w.gate AND g.admitted = 0
    AND NOT EXISTS (SELECT FROM {held} h WHERE h.queue = w.queue AND h.gate = w.gate);
  RETURN moved;
END $$;

-- Looks at what was pushed to a queue since the last time. Answers how many were admitted.
CREATE FUNCTION {admit}(the_queue text) RETURNS integer LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE arrived text[];
BEGIN
  WITH looked_at AS (
    DELETE FROM {arrivals} a
    WHERE a.ctid = ANY (ARRAY(SELECT x.ctid FROM {arrivals} x WHERE x.queue = the_queue LIMIT 1000 FOR UPDATE SKIP LOCKED))
    RETURNING a.gate
  ) SELECT array_agg(DISTINCT l.gate) INTO arrived FROM looked_at l;
  IF arrived IS NULL THEN RETURN 0; END IF;
  RETURN {open_gates}(array_fill(the_queue, ARRAY[cardinality(arrived)]), arrived, array_fill(0, ARRAY[cardinality(arrived)]));
END $$;

-- The id of the message that keeps this key taken, if any. Its row in `keys` is locked. `fresh` are messages about to be
-- stored. One that is only queued keeps it until the end of our transaction: a claim passes by it until then, so that its
-- handler sees what we commit.
CREATE FUNCTION {key_holder}(the_queue text, the_key text, the_scope text, at timestamptz, fresh bigint[]) RETURNS text
  LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE k record;
BEGIN
  SELECT x.seq, x.id, x.until INTO k FROM {keys} x WHERE x.queue = the_queue AND x.key = the_key AND x.scope = the_scope;
  IF NOT FOUND OR k.seq = 0 THEN RETURN NULL; END IF;
  IF k.until IS NOT NULL THEN RETURN CASE WHEN k.until > at THEN k.id END; END IF;
  IF k.seq = ANY (fresh) THEN RETURN k.id; END IF;
  IF the_scope = 'queued' THEN
    PERFORM FROM {messages} m WHERE m.managed AND m.id = k.id AND m.seq = k.seq AND m.holder IS NULL AND m.failures + m.lost + m.delays = 0
      FOR SHARE SKIP LOCKED;
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {deferred} d WHERE d.seq = k.seq AND d.failures + d.lost + d.delays = 0;
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {held} h WHERE h.seq = k.seq AND h.failures + h.lost + h.delays = 0;
  ELSE -- unfinished, or waiting for a retry
    PERFORM FROM {messages} m WHERE m.managed AND m.id = k.id AND m.seq = k.seq
      AND (the_scope = 'unfinished' OR (m.holder IS NULL AND m.failures > 0));
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {deferred} d WHERE d.seq = k.seq AND (the_scope = 'unfinished' OR d.failures > 0);
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {held} h WHERE h.seq = k.seq AND (the_scope = 'unfinished' OR h.failures > 0);
  END IF;
  RETURN CASE WHEN FOUND THEN k.id END;
END $$;

-- Takes these keys for one message, whatever was there.
CREATE FUNCTION {take_key}(the_queue text, the_key text, the_scope text, its_seq bigint, its_id text, its_until timestamptz)
  RETURNS void LANGUAGE sql AS $$
  INSERT INTO {keys} (queue, key, scope, seq, id, until) VALUES (the_queue, the_key, the_scope, its_seq, its_id, its_until)
  ON CONFLICT (queue, key, scope) DO UPDATE SET seq = excluded.seq, id = excluded.id, until = excluded.until
$$;

-- Stores messages of queues that were created: ready, deferred or held. Answers one row for each that was left out as a
-- duplicate (its number from 1, and the id of the message there), and the row (0, null) when one was held.
-- `unique_by` is `unfinished`, `for`, `throttle` or `debounce`; `seqs` when they are known already.
CREATE FUNCTION {place}(
  queues text[], priorities smallint[], attempts integer[], ids text[], tenants text[], types text[], sources text[],
  subjects text[], recipients text[], payloads jsonb[], header_maps jsonb[], keys text[], own jsonb[], ats timestamptz[],
  delays_us bigint[], unique_by text[], unique_us bigint[]
) RETURNS TABLE (n integer, duplicate_of text) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  now_us bigint := (extract(epoch FROM now_at) * 1000000)::bigint;
  total integer := cardinality(ids);
  seqs bigint[] := ARRAY(SELECT nextval('{message_seq}') FROM generate_series(1, total));
  taken text[] := array_fill(NULL::text, ARRAY[total]);
  shifted timestamptz[] := array_fill(NULL::timestamptz, ARRAY[total]);
  problem text; w record; in_queue text[]; of_key text[]; in_scope text[]; found_rows integer; waiting bigint;
  policy_scope text; own_scope text; own_until timestamptz; slot bigint; there text;
BEGIN
  IF EXISTS (SELECT FROM unnest(own) o(own) WHERE o.own ? 'dead_letter') THEN
    INSERT INTO {queues} (name, options, created_at, updated_at)
    SELECT DISTINCT o.own->>'dead_letter', '{"policy": "standard"}'::jsonb, now_at, now_at FROM unnest(own) o(own)
    WHERE o.own ? 'dead_letter' ORDER BY 1 ON CONFLICT DO NOTHING;
  END IF;
  SELECT u.name INTO problem FROM unnest(queues) u(name)
    WHERE NOT EXISTS (SELECT FROM {queues} q WHERE q.name = u.name) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'message.queue: a key, a group or options need a queue that was created, and `%` was not', problem
      USING ERRCODE = '22023';
  END IF;
  SELECT u.name INTO problem FROM unnest(queues, keys) u(name, key) JOIN {queues} q ON q.name = u.name
    WHERE u.key IS NULL AND q.policy = 'key_strict_fifo' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'message.key: the policy of the queue `%` needs one', problem USING ERRCODE = '22023';
  END IF;

  -- All keys these messages may need are locked first, in their order; a row that is deleted meanwhile is made again.
  SELECT array_agg(d.queue), array_agg(d.key), array_agg(d.scope) INTO in_queue, of_key, in_scope FROM (
    SELECT DISTINCT u.queue, coalesce(u.key, '') AS key, s.scope
    FROM unnest(queues, keys, unique_by, unique_us) AS u(queue, key, rule, us) JOIN {queues} q ON q.name = u.queue
    CROSS JOIN LATERAL (VALUES
      (CASE q.policy WHEN 'short' THEN 'queued' WHEN 'stately' THEN 'queued' WHEN 'exclusive' THEN 'unfinished' END),
      (CASE WHEN u.rule IN ('unfinished', 'for') THEN u.rule
            WHEN u.rule IN ('throttle', 'debounce') THEN format('slot %s %s', u.us, now_us / u.us) END),
      (CASE WHEN u.rule = 'debounce' THEN format('slot %s %s', u.us, now_us / u.us + 1) END)) s(scope)
    WHERE s.scope IS NOT NULL) d;
  WHILE in_queue IS NOT NULL LOOP
    INSERT INTO {keys} (queue, key, scope)
    SELECT k.queue, k.key, k.scope FROM unnest(in_queue, of_key, in_scope) AS k(queue, key, scope)
    ORDER BY k.queue COLLATE "C", k.key COLLATE "C", k.scope COLLATE "C" ON CONFLICT DO NOTHING;
    PERFORM FROM unnest(in_queue, of_key, in_scope) AS k(queue, key, scope)
      JOIN {keys} x ON x.queue = k.queue AND x.key = k.key AND x.scope = k.scope
      ORDER BY x.queue, x.key, x.scope FOR UPDATE OF x;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    EXIT WHEN found_rows = cardinality(in_queue);
  END LOOP;
  IF in_queue IS NOT NULL THEN
    FOR w IN
      SELECT u.n, u.queue, coalesce(u.key, '') AS key, u.id, u.rule, u.us, q.policy
      FROM unnest(queues, keys, ids, unique_by, unique_us) WITH ORDINALITY AS u(queue, key, id, rule, us, n)
      JOIN {queues} q ON q.name = u.queue
      WHERE u.rule IS NOT NULL OR q.policy IN ('short', 'stately', 'exclusive') ORDER BY u.n
    LOOP
      policy_scope := CASE w.policy WHEN 'short' THEN 'queued' WHEN 'stately' THEN 'queued' WHEN 'exclusive' THEN 'unfinished' END;
      own_scope := CASE WHEN w.rule IN ('unfinished', 'for') THEN w.rule END;
      own_until := CASE WHEN w.rule = 'for' THEN now_at + w.us * interval '1 microsecond' END;
      there := NULL;
      IF policy_scope IS NOT NULL THEN
        there := {key_holder}(w.queue, w.key, policy_scope, now_at, seqs);
      END IF;
      IF there IS NULL AND own_scope IS NOT NULL THEN
        there := {key_holder}(w.queue, w.key, own_scope, now_at, seqs);
      ELSIF there IS NULL AND w.rule IN ('throttle', 'debounce') THEN
        slot := now_us / w.us;
        own_scope := format('slot %s %s', w.us, slot);
        there := {key_holder}(w.queue, w.key, own_scope, now_at, seqs);
        IF there IS NOT NULL AND w.rule = 'debounce' THEN
          slot := slot + 1;
          own_scope := format('slot %s %s', w.us, slot);
          there := {key_holder}(w.queue, w.key, own_scope, now_at, seqs);
          shifted[w.n] := timestamptz 'epoch' + slot * w.us * interval '1 microsecond';
        END IF;
        own_until := timestamptz 'epoch' + (slot + 1) * w.us * interval '1 microsecond';
      END IF;
      IF there IS NOT NULL THEN
        taken[w.n] := there;
        CONTINUE;
      END IF;
      IF policy_scope IS NOT NULL THEN
        PERFORM {take_key}(w.queue, w.key, policy_scope, seqs[w.n], w.id, NULL);
      END IF;
      IF own_scope IS NOT NULL AND own_scope IS DISTINCT FROM policy_scope THEN
        PERFORM {take_key}(w.queue, w.key, own_scope, seqs[w.n], w.id, own_until);
      END IF;
    END LOOP;
  END IF;

  WITH q AS MATERIALIZED (
    SELECT x.name, x.policy, x.options ? 'groups' AS grouped, (x.options->>'priority')::smallint AS priority,
           (x.options->>'max_attempts')::integer AS max_attempts, (x.options->>'delay_us')::bigint AS delay_us,
           coalesce((x.options->>'keep_queued_us')::bigint, 1209600000000) AS keep_us
    FROM {queues} x WHERE x.name = ANY (queues)
  ), given AS MATERIALIZED (
    SELECT u.*, q.policy, coalesce(u.priority_given, q.priority, 0) AS priority,
           coalesce(u.attempts_given, q.max_attempts, 3) AS max_attempts,
           coalesce((u.options->>'keep_queued_us')::bigint, q.keep_us) AS keep_us,
           greatest(coalesce(u.at, now_at + coalesce(u.delay_us, q.delay_us, 0) * interval '1 microsecond'), shifted[u.n]) AS due,
           CASE WHEN q.policy IN ('singleton', 'stately', 'key_strict_fifo') THEN 'k' || coalesce(u.key, '')
                WHEN q.grouped AND u.options ? 'group' THEN 'g' || (u.options->>'group') END AS gate
    FROM unnest(queues, priorities, attempts, ids, tenants, types, sources, subjects, recipients, payloads, header_maps,
                keys, own, ats, delays_us) WITH ORDINALITY
      AS u(queue, priority_given, attempts_given, id, tenant, type, source, subject, recipient, data, headers, key, options, at,
           delay_us, n)
    JOIN q ON q.name = u.queue
    WHERE taken[u.n] IS NULL
  ), m AS MATERIALIZED (
    SELECT g.n, g.due, g.queue, g.priority, seqs[g.n] AS seq, 0 AS failures, 0 AS lost, 0 AS delays, g.max_attempts,
           now_at AS created_at, g.id, g.tenant, g.type, g.source, g.subject, g.recipient, g.data, g.headers, g.key, g.gate,
           CASE WHEN g.due > now_at OR g.options ? 'keep_queued_us'
                THEN greatest(g.due, now_at) + g.keep_us * interval '1 microsecond' END AS keep_until,
           g.options, true AS managed
    FROM given g
  ), ready AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.due <= now_at AND m.gate IS NULL ORDER BY m.n
  ), hold AS (
    INSERT INTO {held} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.due <= now_at AND m.gate IS NOT NULL ORDER BY m.n
  ), later AS (
    INSERT INTO {deferred} (
      available_at,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      due,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.due > now_at ORDER BY m.n
  ), arrive AS (
    INSERT INTO {arrivals} (queue, gate)
    SELECT DISTINCT m.queue, m.gate FROM m WHERE m.due <= now_at AND m.gate IS NOT NULL
  )
  SELECT count(*) INTO waiting FROM m WHERE m.due <= now_at AND m.gate IS NOT NULL;
  RETURN QUERY SELECT t.n::integer, t.id FROM unnest(taken) WITH ORDINALITY AS t(id, n) WHERE t.id IS NOT NULL ORDER BY t.n;
  IF waiting > 0 THEN RETURN QUERY SELECT 0, NULL::text; END IF;
END $$;

-- `place` for those of a push that are for queues of these names; the numbers it answers are those of the push. A function, so
-- that the statement of a push for plain queues stays small.
CREATE FUNCTION {place_some}(
  names text[], queues text[], priorities smallint[], attempts integer[], ids text[], tenants text[], types text[],
  sources text[], subjects text[], recipients text[], payloads jsonb[], header_maps jsonb[], ats timestamptz[], delays_us bigint[]
) RETURNS TABLE (n integer, duplicate_of text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE s record;
BEGIN
  SELECT array_agg(u.n::integer) AS positions, array_agg(u.queue) AS queues, array_agg(u.priority) AS priorities,
    array_agg(u.max_attempts) AS attempts, array_agg(u.id) AS ids, array_agg(u.tenant) AS tenants, array_agg(u.type) AS types,
    array_agg(u.source) AS sources, array_agg(u.subject) AS subjects, array_agg(u.recipient) AS recipients,
    array_agg(u.data) AS payloads, array_agg(u.headers) AS headers, array_agg(u.at) AS ats, array_agg(u.delay_us) AS delays,
    count(*)::integer AS total
  INTO s FROM unnest(queues, priorities, attempts, ids, tenants, types, sources, subjects, recipients, payloads, header_maps, ats,
    delays_us) WITH ORDINALITY
    AS u(queue, priority, max_attempts, id, tenant, type, source, subject, recipient, data, headers, at, delay_us, n)
  WHERE u.queue = ANY (names);
  RETURN QUERY SELECT coalesce(s.positions[p.n], 0), p.duplicate_of
  FROM {place}(s.queues, s.priorities, s.attempts, s.ids, s.tenants, s.types, s.sources, s.subjects, s.recipients, s.payloads,
    s.headers, array_fill(NULL::text, ARRAY[s.total]), array_fill(NULL::jsonb, ARRAY[s.total]), s.ats, s.delays,
    array_fill(NULL::text, ARRAY[s.total]), array_fill(NULL::bigint, ARRAY[s.total])) p;
END $$;

-- Settles managed messages, each fenced by its token (null: whatever it is). Verdicts: done, retry, snooze, dead, cancel, drop.
-- Answers those that were held, and in each row how many messages that admitted.
CREATE FUNCTION {settle}(
  queues text[], priorities smallint[], seqs bigint[], tokens bigint[], verdicts text[], ats timestamptz[], delays_us bigint[],
  reasons jsonb[], outputs jsonb[]
) RETURNS TABLE (settled_seq bigint, settled_token bigint, admitted integer) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  crowded bigint[] := '{}'; w record; there text; did record; opened integer := 0;
BEGIN
  -- One of a key may wait for a retry where the policy says so.
  IF 'retry' = ANY (verdicts) THEN
    FOR w IN
      SELECT m.queue, coalesce(m.key, '') AS key, m.seq, m.id
      FROM unnest(queues, priorities, seqs, tokens, verdicts) AS u(queue, priority, seq, token, verdict)
      JOIN {queues} q ON q.name = u.queue AND q.policy = 'stately'
      JOIN {messages} m ON m.queue = u.queue AND m.priority = u.priority AND m.seq = u.seq AND m.token = u.token
      WHERE u.verdict = 'retry' AND m.failures + 1 < m.max_attempts ORDER BY 1, 2, 3
    LOOP
      INSERT INTO {keys} AS k (queue, key, scope) VALUES (w.queue, w.key, 'retry')
      ON CONFLICT (queue, key, scope) DO UPDATE SET seq = k.seq;
      there := {key_holder}(w.queue, w.key, 'retry', now_at, '{}');
      IF there IS NULL OR there = w.id THEN
        PERFORM {take_key}(w.queue, w.key, 'retry', w.seq, w.id, NULL);
      ELSE
        crowded := crowded || w.seq;
      END IF;
    END LOOP;
  END IF;

  WITH input AS MATERIALIZED (
    SELECT u.*, r.row
    FROM unnest(queues, priorities, seqs, tokens, verdicts, ats, delays_us, reasons, outputs)
      AS u(queue, priority, seq, token, verdict, until, delay_us, reason, output)
    CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {messages} x
      WHERE x.queue = u.queue AND x.priority = u.priority AND x.seq = u.seq OFFSET 0) r
  ), gone AS (
    DELETE FROM {messages} m USING input i
    WHERE m.ctid = i.row AND (m.token = i.token OR i.token IS NULL)
    RETURNING m.*, i.verdict, i.until, i.delay_us, i.reason, i.output
  ), j AS MATERIALIZED (
    SELECT g.*, q.policy, x.*, x.asked ? 'dead_letter' AS copies, coalesce((x.asked->>'keep_finished_us')::bigint, 604800000000) AS keep_us,
      x.fate IN ('retry', 'snooze', 'dead') AND g.gate IS NOT NULL AND q.policy IS NOT DISTINCT FROM 'key_strict_fifo' AS placed,
      CASE x.fate WHEN 'snooze' THEN g.until WHEN 'retry' THEN now_at + interval '1 microsecond' * coalesce(g.delay_us,
        least(coalesce((x.asked->'retry'->>'longest_us')::bigint, 3600000000),
              coalesce((x.asked->'retry'->>'delay_us')::bigint, 1000000)
              * CASE WHEN x.asked->'retry'->>'backoff' = 'fixed' THEN 1 ELSE power(2, least(g.failures, 30)) END)
        * CASE WHEN (x.asked->'retry'->>'jitter')::boolean IS FALSE THEN 1 ELSE random() END) END AS due
    FROM gone g LEFT JOIN {queues} q ON q.name = g.queue
    CROSS JOIN LATERAL (SELECT
      coalesce(q.options, '{}') || coalesce(g.options, '{}') AS asked,
      CASE WHEN g.verdict = 'retry' AND (g.failures + 1 >= g.max_attempts OR g.seq = ANY (crowded)) THEN 'dead' ELSE g.verdict END AS fate,
      (g.verdict = 'retry')::integer AS failed OFFSET 0) x
  ), kept AS (
    INSERT INTO {finished} (
      state, finished_at, output,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      CASE j.fate WHEN 'done' THEN 'done' ELSE 'cancelled' END, now_at, j.output,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source, subject, recipient,
      data, headers, key, gate, now_at + j.keep_us * interval '1 microsecond', options, managed
    FROM j WHERE j.fate IN ('done', 'cancel') AND j.keep_us > 0
  ), later AS (
    INSERT INTO {deferred} (
      available_at, placed,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      j.due, j.placed,
      queue, priority, seq, CASE j.fate WHEN 'snooze' THEN 0 ELSE failures + 1 END, CASE j.fate WHEN 'snooze' THEN 0 ELSE lost END,
      delays + (j.fate = 'snooze')::integer, max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers,
      key, gate, greatest(j.due, now_at) + coalesce((j.asked->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond',
      options, managed
    FROM j WHERE j.fate IN ('retry', 'snooze')
  ), dead AS (
    INSERT INTO {dead_letters} (
      reason, dead_at, placed,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      coalesce(j.reason, '{}'), now_at, j.placed,
      queue, priority, seq, failures + j.failed, lost, delays, max_attempts, created_at, id, tenant, type, source, subject,
      recipient, data, headers, key, gate, CASE WHEN j.keep_us > 0 THEN now_at + j.keep_us * interval '1 microsecond' END,
      options, managed
    FROM j WHERE j.fate = 'dead'
  )
  SELECT array_agg(j.seq) AS seqs, array_agg(j.token) AS tokens,
    array_agg(j.queue) FILTER (WHERE j.gate IS NOT NULL AND NOT j.placed) AS freed_queues,
    array_agg(j.gate) FILTER (WHERE j.gate IS NOT NULL AND NOT j.placed) AS freed_gates,
    array_agg(j.seq) FILTER (WHERE j.fate = 'dead' AND j.copies) AS copied,
    array_agg(j.queue) FILTER (WHERE ended) AS ended_queues, array_agg(coalesce(j.key, '')) FILTER (WHERE ended) AS ended_keys,
    array_agg(j.seq) FILTER (WHERE ended) AS ended_seqs, array_agg(j.fate IN ('cancel', 'drop')) FILTER (WHERE ended) AS ended_void
  INTO did
  FROM (SELECT j.*, j.fate NOT IN ('retry', 'snooze') AND (j.key IS NOT NULL OR j.policy IN ('short', 'stately', 'exclusive')) AS ended
        FROM j) j;

  IF did.ended_queues IS NOT NULL THEN
    DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(
      SELECT x.ctid FROM unnest(did.ended_queues, did.ended_keys, did.ended_seqs, did.ended_void) AS e(queue, key, seq, void)
      JOIN {keys} x ON x.queue = e.queue AND x.key = e.key AND x.seq = e.seq
      WHERE x.scope IN ('queued', 'unfinished', 'retry') OR (e.void AND x.scope LIKE 'slot %')
      FOR UPDATE OF x SKIP LOCKED));
  END IF;
  IF did.copied IS NOT NULL THEN
    PERFORM {bury}(did.copied);
  END IF;
  IF did.freed_gates IS NOT NULL THEN
    opened := {open_gates}(did.freed_queues, did.freed_gates, array_fill(1, ARRAY[cardinality(did.freed_gates)]));
  END IF;
  RETURN QUERY SELECT s.seq, s.token, opened FROM unnest(did.seqs, did.tokens) AS s(seq, token);
END $$;

-- Copies dead letters to the queues they are meant for, as fresh messages that know where they come from. Those that need
-- not be kept where they failed go from there.
CREATE FUNCTION {bury}(its_seqs bigint[]) RETURNS void LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE c record; left_out integer[];
BEGIN
  SELECT array_agg(d.target) AS queues, array_agg(d.priority) AS priorities, array_agg(d.fresh) AS ids, array_agg(d.tenant) AS tenants,
    array_agg(d.type) AS types, array_agg(d.source) AS sources, array_agg(d.subject) AS subjects, array_agg(d.recipient) AS recipients,
    array_agg(d.data) AS payloads, array_agg(d.headers) AS headers, array_agg(d.key) AS keys, array_agg(d.own) AS own,
    array_agg(d.seq) AS seqs, array_agg(d.keeps) AS keeps, count(*)::integer AS total
  INTO c FROM (
    SELECT d.*, t.name AS target,
      d.placed OR t.policy <> 'standard' OR coalesce(((coalesce(q.options, '{}') || coalesce(d.options, '{}'))->>'keep_finished_us')::bigint, 1) > 0 AS keeps,
      'msg_' || lpad(to_hex((extract(epoch FROM d.dead_at) * 1000)::bigint), 12, '0') || left(replace(gen_random_uuid()::text, '-', ''), 14) AS fresh,
      coalesce((SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(d.options) o WHERE o.key IN ('group', 'tier')), '{}')
        || jsonb_build_object('origin', jsonb_build_object('queue', d.queue, 'id', d.id, 'failures', d.failures, 'lost', d.lost,
             'reason', d.reason, 'created_us', (extract(epoch FROM d.created_at) * 1000000)::bigint, 'options', coalesce(d.options, '{}'))) AS own
    FROM {dead_letters} d LEFT JOIN {queues} q ON q.name = d.queue
    JOIN {queues} t ON t.name = coalesce(d.options->>'dead_letter', q.options->>'dead_letter')
    WHERE d.seq = ANY (its_seqs) AND (t.policy <> 'key_strict_fifo' OR d.key IS NOT NULL) ORDER BY d.seq) d;
  IF c.total = 0 THEN RETURN; END IF;
  SELECT array_agg(p.n) INTO left_out FROM {place}(c.queues, c.priorities, array_fill(NULL::integer, ARRAY[c.total]), c.ids, c.tenants,
    c.types, c.sources, c.subjects, c.recipients, c.payloads, c.headers, c.keys, c.own, array_fill(NULL::timestamptz, ARRAY[c.total]),
    array_fill(NULL::bigint, ARRAY[c.total]), array_fill(NULL::text, ARRAY[c.total]), array_fill(NULL::bigint, ARRAY[c.total])) p;
  DELETE FROM {dead_letters} d USING unnest(c.seqs, c.keeps) WITH ORDINALITY AS s(seq, keeps, n)
  WHERE d.seq = s.seq AND NOT s.keeps AND NOT coalesce(s.n = ANY (left_out), false);
END $$;

-- Takes back tries that take longer than they may, as failed; how many.
CREATE FUNCTION {expire_tries}() RETURNS bigint LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE late record; timed_out bigint;
BEGIN
  WITH gone AS (
    DELETE FROM {tries} t WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM {tries} x WHERE x.expires_at <= {now}()
      ORDER BY x.expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING t.*
  )
  SELECT array_agg(g.queue) AS queues, array_agg(s.priority) AS priorities, array_agg(s.seq) AS seqs, array_agg(g.token) AS tokens,
         count(*)::integer AS total
  INTO late FROM gone g, unnest(g.priorities, g.seqs) AS s(priority, seq);
  IF late.total = 0 THEN RETURN 0; END IF;
  SELECT count(*) INTO timed_out FROM {settle}(late.queues, late.priorities, late.seqs, late.tokens,
    array_fill('retry'::text, ARRAY[late.total]), array_fill(NULL::timestamptz, ARRAY[late.total]),
    array_fill(NULL::bigint, ARRAY[late.total]),
    array_fill('{"code": "TIMEOUT", "message": "the try took longer than it may"}'::jsonb, ARRAY[late.total]),
    array_fill(NULL::jsonb, ARRAY[late.total]));
  RETURN timed_out;
END $$;

-- Ends messages wherever they wait: cancel (the claimed too), drop (the claimed and ended too), or done. Answers which.
CREATE FUNCTION {end_messages}(the_queue text, the_ids text[], verdict text, its_output jsonb) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  options jsonb := (SELECT q.options FROM {queues} q WHERE q.name = the_queue);
  m record; d record; h record; gates text[]; ended text[];
BEGIN
  -- Locked first: who settles or claims them at this moment is waited for, and what is left is ours.
  SELECT array_agg(x.priority) AS priorities, array_agg(x.seq) AS seqs, array_agg(x.id) AS ids, count(*)::integer AS total,
         array_agg(x.gate) AS gates
  INTO m FROM (SELECT x.priority, x.seq, x.id, x.gate FROM {messages} x
    WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue AND (verdict <> 'done' OR x.holder IS NULL)
    ORDER BY x.seq FOR UPDATE) x;
  WITH gone AS (
    DELETE FROM {deferred} x WHERE x.managed AND x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.*
  ), kept AS (
    INSERT INTO {finished} (
      state, finished_at, output,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT CASE verdict WHEN 'done' THEN 'done' ELSE 'cancelled' END, now_at, its_output,
      g.queue, g.priority, g.seq, g.failures, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant, g.type, g.source,
      g.subject, g.recipient, g.data, g.headers, g.key, g.gate, now_at + k.keep_us * interval '1 microsecond', g.options, g.managed
    FROM gone g CROSS JOIN LATERAL (SELECT coalesce(((coalesce(options, '{}') || coalesce(g.options, '{}'))->>'keep_finished_us')::bigint,
      604800000000) AS keep_us) k WHERE verdict <> 'drop' AND k.keep_us > 0
  )
  SELECT array_agg(g.id) AS ids, array_agg(g.gate) FILTER (WHERE g.placed) AS placed, array_agg(coalesce(g.key, '')) AS keys,
         array_agg(g.seq) AS seqs INTO d FROM gone g;
  gates := ARRAY(SELECT DISTINCT g.gate FROM (
    SELECT x.gate FROM {held} x WHERE x.queue = the_queue AND x.id = ANY (the_ids)
    UNION ALL SELECT unnest(m.gates) UNION ALL SELECT unnest(d.placed)
    UNION ALL SELECT x.gate FROM {dead_letters} x WHERE verdict = 'drop' AND x.managed AND x.queue = the_queue AND x.id = ANY (the_ids) AND x.placed
    ) g WHERE g.gate IS NOT NULL);
  IF cardinality(gates) > 0 THEN
    PERFORM {lock_gates}(array_fill(the_queue, ARRAY[cardinality(gates)]), gates);
  END IF;
  WITH gone AS (
    DELETE FROM {held} x WHERE x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.*
  ), kept AS (
    INSERT INTO {finished} (
      state, finished_at, output,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT CASE verdict WHEN 'done' THEN 'done' ELSE 'cancelled' END, now_at, its_output,
      g.queue, g.priority, g.seq, g.failures, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant, g.type, g.source,
      g.subject, g.recipient, g.data, g.headers, g.key, g.gate, now_at + k.keep_us * interval '1 microsecond', g.options, g.managed
    FROM gone g CROSS JOIN LATERAL (SELECT coalesce(((coalesce(options, '{}') || coalesce(g.options, '{}'))->>'keep_finished_us')::bigint,
      604800000000) AS keep_us) k WHERE verdict <> 'drop' AND k.keep_us > 0
  )
  SELECT array_agg(g.id) AS ids, array_agg(g.gate) AS gates, array_agg(coalesce(g.key, '')) AS keys, array_agg(g.seq) AS seqs
  INTO h FROM gone g;
  ended := coalesce(m.ids, '{}') || coalesce(d.ids, '{}') || coalesce(h.ids, '{}');
  DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(
    SELECT x.ctid FROM unnest(d.keys || h.keys, d.seqs || h.seqs) AS e(key, seq)
    JOIN {keys} x ON x.queue = the_queue AND x.key = e.key AND x.seq = e.seq
    WHERE x.scope IN ('queued', 'unfinished', 'retry') OR (verdict <> 'done' AND x.scope LIKE 'slot %')
    FOR UPDATE OF x SKIP LOCKED));
  IF m.total > 0 THEN
    PERFORM FROM {settle}(array_fill(the_queue, ARRAY[m.total]), m.priorities, m.seqs, array_fill(NULL::bigint, ARRAY[m.total]),
      array_fill(verdict, ARRAY[m.total]), array_fill(NULL::timestamptz, ARRAY[m.total]), array_fill(NULL::bigint, ARRAY[m.total]),
      array_fill(NULL::jsonb, ARRAY[m.total]), array_fill(its_output, ARRAY[m.total]));
  END IF;
  gates := coalesce(d.placed, '{}');
  IF verdict = 'drop' THEN
    WITH gone AS (
      DELETE FROM {dead_letters} x WHERE x.managed AND x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.id, x.gate, x.placed
    ), too AS (
      DELETE FROM {finished} x WHERE x.managed AND x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.id
    )
    SELECT ended || coalesce((SELECT array_agg(g.id) FROM gone g), '{}') || coalesce((SELECT array_agg(t.id) FROM too t), '{}'),
           gates || coalesce((SELECT array_agg(g.gate) FROM gone g WHERE g.placed), '{}')
    INTO ended, gates;
  END IF;
  IF cardinality(gates) > 0 OR h.gates IS NOT NULL THEN
    PERFORM {open_gates}(array_fill(the_queue, ARRAY[cardinality(gates || h.gates)]), gates || h.gates,
      array_fill(1, ARRAY[cardinality(gates)]) || array_fill(0, ARRAY[coalesce(cardinality(h.gates), 0)]));
  END IF;
  RETURN QUERY SELECT unnest(ended);
END $$;

-- Deletes all messages of a queue that wait, are claimed, or have ended; how many.
CREATE FUNCTION {empty_queue}(the_queue text, waiting boolean, claimed boolean, ended boolean) RETURNS bigint LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE total bigint := 0; n bigint;
BEGIN
  DELETE FROM {messages} m WHERE m.queue = the_queue AND ((m.holder IS NULL AND waiting) OR (m.holder IS NOT NULL AND claimed));
  GET DIAGNOSTICS n = ROW_COUNT; total := total + n;
  IF waiting THEN
    DELETE FROM {deferred} d WHERE d.queue = the_queue;
    GET DIAGNOSTICS n = ROW_COUNT; total := total + n;
  END IF;
  PERFORM FROM {gates} g WHERE g.queue = the_queue ORDER BY g.gate FOR UPDATE;
  IF waiting THEN
    DELETE FROM {held} h WHERE h.queue = the_queue;
    GET DIAGNOSTICS n = ROW_COUNT; total := total + n;
  END IF;
  IF ended THEN
    DELETE FROM {finished} f WHERE f.queue = the_queue;
    GET DIAGNOSTICS n = ROW_COUNT; total := total + n;
    DELETE FROM {dead_letters} d WHERE d.queue = the_queue;
    GET DIAGNOSTICS n = ROW_COUNT; total := total + n;
  END IF;
  IF waiting AND claimed THEN
    DELETE FROM {keys} k WHERE k.queue = the_queue;
  END IF;
  -- What is being settled at this moment is still counted here, and takes itself off when we are done.
  UPDATE {gates} g SET admitted = c.n FROM (
    SELECT x.gate,
      (SELECT count(*) FROM {messages} m WHERE m.queue = the_queue AND m.gate = x.gate)
      + (SELECT count(*) FROM {deferred} d WHERE d.queue = the_queue AND d.gate = x.gate AND d.placed)
      + (SELECT count(*) FROM {dead_letters} d WHERE d.queue = the_queue AND d.gate = x.gate AND d.placed) AS n
    FROM {gates} x WHERE x.queue = the_queue) c
  WHERE g.queue = the_queue AND g.gate = c.gate AND g.admitted <> c.n;
  PERFORM {open_waiting}(the_queue);
  RETURN total;
END $$;

-- Opens every gate of a queue, after its limits have changed.
CREATE FUNCTION {open_waiting}(the_queue text) RETURNS void LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE all_gates text[] := ARRAY(SELECT g.gate FROM {gates} g WHERE g.queue = the_queue);
BEGIN
  IF cardinality(all_gates) > 0 THEN
    PERFORM {open_gates}(array_fill(the_queue, ARRAY[cardinality(all_gates)]), all_gates, array_fill(0, ARRAY[cardinality(all_gates)]));
  END IF;
END $$;

-- Brings back messages that were given up or cancelled, unless the policy says there is one already. Answers which.
CREATE FUNCTION {revive}(the_queue text, the_ids text[], state_was text) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  q record; w record; back bigint[] := '{}'; the_scope text; there text; revived text[];
BEGIN
  SELECT x.policy, x.options INTO q FROM {queues} x WHERE x.name = the_queue;
  the_scope := CASE q.policy WHEN 'short' THEN 'queued' WHEN 'stately' THEN 'queued' WHEN 'exclusive' THEN 'unfinished' END;
  FOR w IN
    SELECT x.seq, x.id, coalesce(x.key, '') AS key FROM (
      SELECT d.seq, d.id, d.key FROM {dead_letters} d WHERE state_was = 'dead' AND d.managed AND d.queue = the_queue AND d.id = ANY (the_ids)
      UNION ALL
      SELECT f.seq, f.id, f.key FROM {finished} f WHERE state_was = f.state AND f.managed AND f.queue = the_queue AND f.id = ANY (the_ids)
    ) x ORDER BY x.key COLLATE "C", x.seq
  LOOP
    IF the_scope IS NOT NULL THEN
      INSERT INTO {keys} AS k (queue, key, scope) VALUES (the_queue, w.key, the_scope)
      ON CONFLICT (queue, key, scope) DO UPDATE SET seq = k.seq;
      there := {key_holder}(the_queue, w.key, the_scope, now_at, back);
      CONTINUE WHEN there IS NOT NULL;
      PERFORM {take_key}(the_queue, w.key, the_scope, w.seq, w.id, NULL);
    END IF;
    back := back || w.seq;
  END LOOP;
  WITH gone AS (
    DELETE FROM {dead_letters} d WHERE state_was = 'dead' AND d.seq = ANY (back) RETURNING d.*
  ), over AS (
    DELETE FROM {finished} f WHERE state_was <> 'dead' AND f.seq = ANY (back) RETURNING f.*
  ), m AS MATERIALIZED (
    SELECT x.placed, x.queue, x.priority, x.seq, x.failures, x.lost, x.delays, greatest(x.max_attempts, x.failures + 1) AS max_attempts,
      x.created_at, x.id, x.tenant, x.type, x.source, x.subject, x.recipient, x.data, x.headers, x.key, x.gate,
      now_at + coalesce(((q.options || coalesce(x.options, '{}'))->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond' AS keep_until,
      x.options, x.managed
    FROM (SELECT g.placed,
      g.queue, g.priority, g.seq, g.failures, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant,
      g.type, g.source, g.subject, g.recipient, g.data, g.headers, g.key, g.gate, g.keep_until, g.options,
      g.managed
      FROM gone g UNION ALL SELECT false,
      o.queue, o.priority, o.seq, o.failures, o.lost, o.delays, o.max_attempts, o.created_at, o.id, o.tenant,
      o.type, o.source, o.subject, o.recipient, o.data, o.headers, o.key, o.gate, o.keep_until, o.options,
      o.managed
      FROM over o) x
  ), ready AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.gate IS NULL OR m.placed
  ), hold AS (
    INSERT INTO {held} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.gate IS NOT NULL AND NOT m.placed
  ), arrive AS (
    INSERT INTO {arrivals} (queue, gate) SELECT DISTINCT m.queue, m.gate FROM m WHERE m.gate IS NOT NULL AND NOT m.placed
  )
  SELECT array_agg(m.id) INTO revived FROM m;
  PERFORM {admit}(the_queue);
  RETURN QUERY SELECT unnest(revived);
END $$;

-- Changes messages that wait: what is null stays as it is. `new_due` puts off or pulls forward. Answers which.
CREATE FUNCTION {change_messages}(the_queue text, the_ids text[], new_data jsonb, new_headers jsonb, new_priority smallint,
  new_attempts integer, new_options jsonb, new_due timestamptz) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  q record; m record; changed text[]; gates text[]; put_off record; until timestamptz;
BEGIN
  SELECT x.policy = 'key_strict_fifo' AS in_order, x.options INTO q FROM {queues} x WHERE x.name = the_queue;
  SELECT array_agg(x.seq) AS seqs, array_agg(x.gate) AS gates INTO m FROM (SELECT x.seq, x.gate FROM {messages} x
    WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue AND x.holder IS NULL ORDER BY x.seq FOR UPDATE) x;
  gates := ARRAY(SELECT DISTINCT g.gate FROM (SELECT x.gate FROM {held} x WHERE x.queue = the_queue AND x.id = ANY (the_ids)
    UNION ALL SELECT unnest(m.gates)) g WHERE g.gate IS NOT NULL);
  IF cardinality(gates) > 0 AND (new_due IS NOT NULL OR new_priority IS NOT NULL) THEN
    PERFORM {lock_gates}(array_fill(the_queue, ARRAY[cardinality(gates)]), gates);
  END IF;
  WITH one AS (
    UPDATE {messages} x SET data = coalesce(new_data, x.data), headers = coalesce(new_headers, x.headers),
      priority = coalesce(new_priority, x.priority), max_attempts = coalesce(new_attempts, x.max_attempts),
      options = CASE WHEN new_options IS NULL THEN x.options ELSE coalesce(x.options, '{}') || new_options END
    WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue AND x.holder IS NULL RETURNING x.id
  ), two AS (
    UPDATE {deferred} x SET data = coalesce(new_data, x.data), headers = coalesce(new_headers, x.headers),
      priority = coalesce(new_priority, x.priority), max_attempts = coalesce(new_attempts, x.max_attempts),
      options = CASE WHEN new_options IS NULL THEN x.options ELSE coalesce(x.options, '{}') || new_options END,
      available_at = coalesce(new_due, x.available_at),
      keep_until = CASE WHEN new_due IS NULL THEN x.keep_until ELSE greatest(new_due, now_at)
        + coalesce(((q.options || coalesce(x.options, '{}'))->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond' END
    WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue RETURNING x.id
  ), three AS (
    UPDATE {held} x SET data = coalesce(new_data, x.data), headers = coalesce(new_headers, x.headers),
      priority = coalesce(new_priority, x.priority), max_attempts = coalesce(new_attempts, x.max_attempts),
      options = CASE WHEN new_options IS NULL THEN x.options ELSE coalesce(x.options, '{}') || new_options END
    WHERE x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.id
  )
  SELECT array_agg(u.id) INTO changed FROM (SELECT id FROM one UNION ALL SELECT id FROM two UNION ALL SELECT id FROM three) u;
  IF new_due > now_at THEN
    WITH gone AS (
      DELETE FROM {messages} x WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue AND x.holder IS NULL RETURNING x.*
    ), unheld AS (
      DELETE FROM {held} x WHERE x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.*
    ), x AS MATERIALIZED (
      SELECT true AS admitted, q.in_order AND g.gate IS NOT NULL AS placed,
      g.queue, g.priority, g.seq, g.failures, g.lost, g.delays, g.max_attempts, g.created_at, g.id, g.tenant,
      g.type, g.source, g.subject, g.recipient, g.data, g.headers, g.key, g.gate, g.keep_until, g.options,
      g.managed
      FROM gone g UNION ALL SELECT false, false,
      u.queue, u.priority, u.seq, u.failures, u.lost, u.delays, u.max_attempts, u.created_at, u.id, u.tenant,
      u.type, u.source, u.subject, u.recipient, u.data, u.headers, u.key, u.gate, u.keep_until, u.options,
      u.managed
      FROM unheld u
    ), later AS (
      INSERT INTO {deferred} (available_at, placed,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
      SELECT new_due, x.placed, x.queue, x.priority, x.seq, x.failures, x.lost, x.delays, x.max_attempts, x.created_at, x.id, x.tenant,
        x.type, x.source, x.subject, x.recipient, x.data, x.headers, x.key, x.gate,
        new_due + coalesce(((q.options || coalesce(x.options, '{}'))->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond',
        x.options, x.managed
      FROM x
    )
    SELECT array_agg(x.gate) AS gates, array_agg((x.admitted AND NOT x.placed)::integer) AS freed INTO put_off
    FROM x WHERE x.gate IS NOT NULL;
    IF put_off.gates IS NOT NULL THEN
      PERFORM {open_gates}(array_fill(the_queue, ARRAY[cardinality(put_off.gates)]), put_off.gates, put_off.freed);
    END IF;
  ELSIF new_due IS NOT NULL THEN
    UPDATE {messages} x SET keep_until = now_at
      + coalesce(((q.options || coalesce(x.options, '{}'))->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond'
    WHERE x.managed AND x.id = ANY (the_ids) AND x.queue = the_queue AND x.holder IS NULL;
  END IF;
  RETURN QUERY SELECT unnest(changed);
END $$;

-- The waiting messages of one key, the oldest first.
CREATE FUNCTION {waiting_of_key}(the_queue text, the_key text) RETURNS TABLE (id text, seq bigint) LANGUAGE sql STABLE AS $$
  SELECT m.id, m.seq FROM {messages} m WHERE m.queue = the_queue AND m.key = the_key AND m.holder IS NULL
  UNION ALL SELECT d.id, d.seq FROM {deferred} d WHERE d.queue = the_queue AND d.key = the_key
  UNION ALL SELECT h.id, h.seq FROM {held} h WHERE h.queue = the_queue AND h.key = the_key
  ORDER BY 2
$$;

-- Makes the oldest waiting message of a key like this one, or stores it. Answers the id that stands for it.
CREATE FUNCTION {upsert}(
  queues text[], priorities smallint[], attempts integer[], ids text[], tenants text[], types text[], sources text[],
  subjects text[], recipients text[], payloads jsonb[], header_maps jsonb[], keys text[], own jsonb[], ats timestamptz[],
  delays_us bigint[], unique_by text[], unique_us bigint[]
) RETURNS TABLE (n integer, duplicate_of text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE there text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(format('{prefix}upsert %s %s', queues[1], keys[1]), 0));
  SELECT w.id INTO there FROM {waiting_of_key}(queues[1], keys[1]) w ORDER BY w.seq LIMIT 1;
  IF FOUND THEN
    PERFORM FROM {change_messages}(queues[1], ARRAY[there], payloads[1], coalesce(header_maps[1], '{}'), priorities[1], attempts[1],
      own[1], coalesce(ats[1], {now}() + delays_us[1] * interval '1 microsecond')) c;
    IF FOUND THEN RETURN QUERY SELECT 1, there; RETURN; END IF;
  END IF;
  RETURN QUERY SELECT p.n, p.duplicate_of FROM {place}(queues, priorities, attempts, ids, tenants, types, sources, subjects, recipients,
    payloads, header_maps, keys, own, ats, delays_us, unique_by, unique_us) p;
END $$;

-- Brings dead letters back from the queue they were copied to, the oldest first, as fresh messages.
CREATE FUNCTION {redrive}(the_queue text, to_queue text, from_queue text, most integer)
  RETURNS TABLE (moved bigint, skipped bigint) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}(); total bigint; c record; left_out integer[]; done text[];
BEGIN
  WITH ready AS (
    SELECT m.seq, m.id, m.priority, m.tenant, m.type, m.source, m.subject, m.recipient, m.data, m.headers, m.key, m.options FROM {messages} m
    WHERE m.queue = the_queue AND m.managed AND m.holder IS NULL AND m.options ? 'origin'
      AND (from_queue IS NULL OR m.options->'origin'->>'queue' = from_queue) ORDER BY m.seq LIMIT most FOR UPDATE SKIP LOCKED
  ), later AS (
    SELECT d.seq, d.id, d.priority, d.tenant, d.type, d.source, d.subject, d.recipient, d.data, d.headers, d.key, d.options FROM {deferred} d
    WHERE d.queue = the_queue AND d.managed AND d.options ? 'origin'
      AND (from_queue IS NULL OR d.options->'origin'->>'queue' = from_queue) ORDER BY d.seq LIMIT most FOR UPDATE SKIP LOCKED
  )
  SELECT count(*), array_agg(x.target) FILTER (WHERE x.fits) AS queues, array_agg(x.priority) FILTER (WHERE x.fits) AS priorities,
    array_agg(x.fresh) FILTER (WHERE x.fits) AS ids, array_agg(x.tenant) FILTER (WHERE x.fits) AS tenants,
    array_agg(x.type) FILTER (WHERE x.fits) AS types, array_agg(x.source) FILTER (WHERE x.fits) AS sources,
    array_agg(x.subject) FILTER (WHERE x.fits) AS subjects, array_agg(x.recipient) FILTER (WHERE x.fits) AS recipients,
    array_agg(x.data) FILTER (WHERE x.fits) AS payloads, array_agg(x.headers) FILTER (WHERE x.fits) AS headers,
    array_agg(x.key) FILTER (WHERE x.fits) AS keys, array_agg(nullif(x.own, '{}')) FILTER (WHERE x.fits) AS own,
    array_agg(x.id) FILTER (WHERE x.fits) AS old_ids, (count(*) FILTER (WHERE x.fits))::integer AS fitting
  INTO c FROM (
    SELECT l.*, t.name AS target, coalesce(t.policy <> 'key_strict_fifo' OR l.key IS NOT NULL, false) AND t.name IS NOT NULL AS fits,
      'msg_' || lpad(to_hex((extract(epoch FROM now_at) * 1000)::bigint), 12, '0') || left(replace(gen_random_uuid()::text, '-', ''), 14) AS fresh,
      coalesce(l.options->'origin'->'options', '{}')
        || coalesce((SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(l.options) o WHERE o.key IN ('group', 'tier')), '{}') AS own
    FROM (SELECT a.* FROM (SELECT * FROM ready UNION ALL SELECT * FROM later) a ORDER BY a.seq LIMIT most
    ) l LEFT JOIN {queues} t ON t.name = coalesce(to_queue, l.options->'origin'->>'queue')
    ORDER BY l.seq) x;
  total := c.count;
  IF coalesce(c.fitting, 0) = 0 THEN RETURN QUERY SELECT 0::bigint, total; RETURN; END IF;
  SELECT array_agg(p.n) INTO left_out FROM {place}(c.queues, c.priorities, array_fill(NULL::integer, ARRAY[c.fitting]), c.ids, c.tenants,
    c.types, c.sources, c.subjects, c.recipients, c.payloads, c.headers, c.keys, c.own, array_fill(NULL::timestamptz, ARRAY[c.fitting]),
    array_fill(NULL::bigint, ARRAY[c.fitting]), array_fill(NULL::text, ARRAY[c.fitting]), array_fill(NULL::bigint, ARRAY[c.fitting])) p
    WHERE p.n > 0;
  done := ARRAY(SELECT o.id FROM unnest(c.old_ids) WITH ORDINALITY AS o(id, n) WHERE NOT coalesce(o.n = ANY (left_out), false));
  PERFORM FROM {end_messages}(the_queue, done, 'drop', NULL);
  RETURN QUERY SELECT cardinality(done)::bigint, total - cardinality(done);
END $$;
