-- Messages that wait for other messages to be done, and tries that must give a sign of life.

-- Messages that wait for others, wherever those are. A claim never sees them. Their keys count as those of a waiting message;
-- in the line of a key or group they stand only when nothing is left to wait for.
CREATE TABLE {blocked} (
  available_at timestamptz NOT NULL CHECK (isfinite(available_at)), -- not before this even when nothing is left to wait for
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY,
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
  keep_until   timestamptz, -- once a message it waits for has failed
  options      jsonb
);
CREATE INDEX {prefix}blocked_id ON {blocked} (queue, id);
CREATE INDEX {prefix}blocked_keep ON {blocked} (keep_until) WHERE keep_until IS NOT NULL;

-- What each of them still waits for. Whoever takes a row out locks the row of the child in `blocked` first, so that of several
-- parents that end at the same time the last one finds that it is.
CREATE TABLE {dependencies} (
  parent bigint NOT NULL,
  child  bigint NOT NULL,
  queue  text COLLATE "C" NOT NULL, -- of the parent, as is the id
  id     text NOT NULL,
  PRIMARY KEY (parent, child)
);
CREATE INDEX {prefix}dependencies_child ON {dependencies} (child);

-- Until when a claimed message must have given a sign of life. What was settled in time is simply not found again.
CREATE TABLE {beats} (
  seq        bigint PRIMARY KEY,
  token      bigint NOT NULL,
  queue      text COLLATE "C" NOT NULL,
  priority   smallint NOT NULL,
  every_us   bigint NOT NULL,
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX {prefix}beats_expire ON {beats} (expires_at);

ALTER TABLE {queue_stats} ADD COLUMN blocked bigint NOT NULL DEFAULT 0;

-- As before, with those that wait for others.
CREATE OR REPLACE FUNCTION {key_holder}(the_queue text, the_key text, the_scope text, at timestamptz, fresh bigint[]) RETURNS text
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
    PERFORM FROM {blocked} b WHERE b.seq = k.seq;
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {held} h WHERE h.seq = k.seq AND h.failures + h.lost + h.delays = 0;
  ELSE -- unfinished, or waiting for a retry
    PERFORM FROM {messages} m WHERE m.managed AND m.id = k.id AND m.seq = k.seq
      AND (the_scope = 'unfinished' OR (m.holder IS NULL AND m.failures > 0));
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {deferred} d WHERE d.seq = k.seq AND (the_scope = 'unfinished' OR d.failures > 0);
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {blocked} b WHERE b.seq = k.seq AND the_scope = 'unfinished';
    IF FOUND THEN RETURN k.id; END IF;
    PERFORM FROM {held} h WHERE h.seq = k.seq AND (the_scope = 'unfinished' OR h.failures > 0);
  END IF;
  RETURN CASE WHEN FOUND THEN k.id END;
END $$;

-- Lets go messages that have nothing left to wait for. Answers the queues in which there is more to claim.
CREATE FUNCTION {unblock}(its_seqs bigint[]) RETURNS text[] LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  awake text[];
BEGIN
  WITH gone AS (
    DELETE FROM {blocked} b WHERE b.seq = ANY (its_seqs) RETURNING b.*
  ), m AS MATERIALIZED (
    SELECT g.available_at, g.queue, g.priority, g.seq, 0 AS failures, 0 AS lost, 0 AS delays, g.max_attempts, g.created_at, g.id,
      g.tenant, g.type, g.source, g.subject, g.recipient, g.data, g.headers, g.key, g.gate,
      greatest(g.available_at, now_at) + coalesce(((coalesce(q.options, '{}') || coalesce(g.options, '{}'))->>'keep_queued_us')::bigint,
        1209600000000) * interval '1 microsecond' AS keep_until,
      g.options, true AS managed
    FROM gone g LEFT JOIN {queues} q ON q.name = g.queue
  ), ready AS (
    INSERT INTO {messages} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.available_at <= now_at AND m.gate IS NULL ORDER BY m.seq
  ), hold AS (
    INSERT INTO {held} (
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.available_at <= now_at AND m.gate IS NOT NULL ORDER BY m.seq
  ), arrive AS (
    INSERT INTO {arrivals} (queue, gate)
    SELECT DISTINCT m.queue, m.gate FROM m WHERE m.available_at <= now_at AND m.gate IS NOT NULL
  ), later AS (
    INSERT INTO {deferred} (
      available_at,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT
      available_at,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed
    FROM m WHERE m.available_at > now_at ORDER BY m.seq
  )
  SELECT array_agg(DISTINCT m.queue) INTO awake FROM m WHERE m.available_at <= now_at;
  RETURN coalesce(awake, '{}');
END $$;

-- Tells those that wait for these messages what became of them. Where one failed, its child says what that means, or the queue
-- of the child: `wait` for it to be retried, `run` all the same, or `fail` too, and so on. Answers the queues in which there is
-- more to claim.
CREATE FUNCTION {resolve}(the_parents bigint[], have_failed boolean[]) RETURNS text[] LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  parents bigint[] := the_parents; failures boolean[] := have_failed;
  children bigint[]; free bigint[]; did record; doomed bigint[]; awake text[] := '{}';
BEGIN
  LOOP
    children := ARRAY(SELECT b.seq FROM {blocked} b
      WHERE b.seq = ANY (ARRAY(SELECT d.child FROM {dependencies} d WHERE d.parent = ANY (parents))) ORDER BY b.seq FOR UPDATE);
    EXIT WHEN cardinality(children) = 0;
    WITH told AS MATERIALIZED (
      SELECT d.parent, d.child, x.asked,
        CASE WHEN p.failed THEN coalesce(x.asked->>'parent_failure', 'wait') ELSE 'run' END AS verdict
      FROM unnest(parents, failures) AS p(seq, failed) JOIN {dependencies} d ON d.parent = p.seq
      JOIN {blocked} b ON b.seq = d.child LEFT JOIN {queues} q ON q.name = b.queue
      CROSS JOIN LATERAL (SELECT coalesce(q.options, '{}') || coalesce(b.options, '{}') AS asked) x
      WHERE d.child = ANY (children)
    ), met AS (
      DELETE FROM {dependencies} d USING told t WHERE t.verdict = 'run' AND d.parent = t.parent AND d.child = t.child
    ), stuck AS (
      UPDATE {blocked} b
      SET keep_until = now_at + coalesce((t.asked->>'keep_queued_us')::bigint, 1209600000000) * interval '1 microsecond'
      FROM told t WHERE t.verdict = 'wait' AND b.seq = t.child AND b.keep_until IS NULL
    )
    SELECT array_agg(DISTINCT t.child) AS doomed INTO did FROM told t WHERE t.verdict = 'fail';
    doomed := coalesce(did.doomed, '{}');
    free := ARRAY(SELECT c.seq FROM unnest(children) AS c(seq)
      WHERE c.seq <> ALL (doomed) AND NOT EXISTS (SELECT FROM {dependencies} d WHERE d.child = c.seq));
    IF cardinality(free) > 0 THEN
      awake := awake || {unblock}(free);
    END IF;
    EXIT WHEN cardinality(doomed) = 0;
    WITH gone AS (
      DELETE FROM {blocked} b WHERE b.seq = ANY (doomed) RETURNING b.*
    ), cut AS (
      DELETE FROM {dependencies} d WHERE d.child = ANY (doomed) RETURNING d.parent, d.child, d.queue, d.id
    ), because AS (
      SELECT DISTINCT ON (c.child) c.child, c.queue, c.id FROM cut c JOIN unnest(parents, failures) AS p(seq, failed) ON p.seq = c.parent
      WHERE p.failed ORDER BY c.child, c.parent
    ), j AS MATERIALIZED (
      SELECT g.*, x.asked ? 'dead_letter' AS copies, r.queue AS parent_queue, r.id AS parent_id,
        coalesce((x.asked->>'keep_finished_us')::bigint, 604800000000) AS keep_us
      FROM gone g JOIN because r ON r.child = g.seq LEFT JOIN {queues} q ON q.name = g.queue
      CROSS JOIN LATERAL (SELECT coalesce(q.options, '{}') || coalesce(g.options, '{}') AS asked) x
    ), dead AS (
      INSERT INTO {dead_letters} (
        reason, dead_at,
        queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
        subject, recipient, data, headers, key, gate, keep_until, options, managed)
      SELECT
        jsonb_build_object('code', 'PARENT_FAILED', 'message',
          format('message `%s` of queue `%s`, which it waited for, has failed', j.parent_id, j.parent_queue)), now_at,
        queue, priority, seq, 0, 0, 0, max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers, key, gate,
        CASE WHEN j.keep_us > 0 THEN now_at + j.keep_us * interval '1 microsecond' END, options, true
      FROM j
    )
    SELECT array_agg(j.queue) AS queues, array_agg(coalesce(j.key, '')) AS keys, array_agg(j.seq) AS seqs,
      array_agg(j.seq) FILTER (WHERE j.copies) AS copied INTO did FROM j;
    DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(
      SELECT x.ctid FROM unnest(did.queues, did.keys, did.seqs) AS e(queue, key, seq)
      JOIN {keys} x ON x.queue = e.queue AND x.key = e.key AND x.seq = e.seq
      WHERE x.scope IN ('queued', 'unfinished') FOR UPDATE OF x SKIP LOCKED));
    IF did.copied IS NOT NULL THEN
      PERFORM {bury}(did.copied);
    END IF;
    parents := doomed;
    failures := array_fill(true, ARRAY[cardinality(doomed)]);
  END LOOP;
  RETURN awake;
END $$;

-- `place` for messages of which some wait for others: of the same call or there already. `parents` are arrays of
-- {"queue", "id"}; a message that waits for nothing has null. Those that are waited for cannot be settled or begun by anybody
-- before our transaction has ended, so that none of them ends without knowing who waits for it.
CREATE FUNCTION {place_dependent}(
  queues text[], priorities smallint[], attempts integer[], ids text[], tenants text[], types text[], sources text[],
  subjects text[], recipients text[], payloads jsonb[], header_maps jsonb[], keys text[], own jsonb[], ats timestamptz[],
  delays_us bigint[], unique_by text[], unique_us bigint[], parents jsonb[]
) RETURNS TABLE (n integer, duplicate_of text) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  before bigint := nextval('{message_seq}');
  p record; c record; w record; f record; missing record; wanted integer; locked integer; found_rows integer;
BEGIN
  SELECT array_agg(x.n) AS numbers, array_agg(x.duplicate_of) AS ids INTO p
  FROM {place}(queues, priorities, attempts, ids, tenants, types, sources, subjects, recipients, payloads, header_maps, keys, own, ats,
    delays_us, unique_by, unique_us) x;

  -- Stored where they would go without parents; nobody has seen them there.
  WITH child AS MATERIALIZED (
    SELECT u.queue, u.id FROM unnest(queues, ids, parents) AS u(queue, id, parents) WHERE u.parents IS NOT NULL
  ), ready AS (
    DELETE FROM {messages} m USING child x WHERE m.managed AND m.id = x.id AND m.queue = x.queue AND m.seq > before RETURNING m.*
  ), unheld AS (
    DELETE FROM {held} h USING child x WHERE h.queue = x.queue AND h.id = x.id AND h.seq > before RETURNING h.*
  ), later AS (
    DELETE FROM {deferred} d USING child x WHERE d.managed AND d.queue = x.queue AND d.id = x.id AND d.seq > before RETURNING d.*
  ), m AS MATERIALIZED (
    SELECT now_at AS available_at, queue, priority, seq, max_attempts, created_at, id, tenant, type, source, subject, recipient, data,
      headers, key, gate, options FROM ready
    UNION ALL SELECT now_at, queue, priority, seq, max_attempts, created_at, id, tenant, type, source, subject, recipient, data,
      headers, key, gate, options FROM unheld
    UNION ALL SELECT available_at, queue, priority, seq, max_attempts, created_at, id, tenant, type, source, subject, recipient, data,
      headers, key, gate, options FROM later
  ), put AS (
    INSERT INTO {blocked} (available_at, queue, priority, seq, max_attempts, created_at, id, tenant, type, source, subject, recipient,
      data, headers, key, gate, options)
    SELECT * FROM m
  )
  SELECT array_agg(m.seq) AS seqs, array_agg(m.queue) AS queues, array_agg(m.id) AS ids INTO c FROM m;

  IF c.seqs IS NOT NULL THEN
    -- One that was left out as a duplicate stands for the one that is there; when that is gone it has ended.
    SELECT array_agg(x.child) AS children, array_agg(x.queue) AS queues, array_agg(x.id) AS ids, array_agg(x.stands) AS stands INTO w
    FROM (
      SELECT DISTINCT s.seq AS child, a.queue, coalesce(there.id, a.id) AS id, there.id IS NOT NULL AS stands
      FROM unnest(c.seqs, c.queues, c.ids) AS s(seq, queue, id)
      JOIN unnest(queues, ids, parents) AS u(queue, id, parents) ON u.queue = s.queue AND u.id = s.id
      CROSS JOIN LATERAL jsonb_to_recordset(u.parents) AS a(queue text, id text)
      LEFT JOIN LATERAL (SELECT t.id FROM unnest(queues, ids) WITH ORDINALITY AS b(queue, id, n)
        JOIN unnest(p.numbers, p.ids) AS t(n, id) ON t.n = b.n WHERE b.queue = a.queue AND b.id = a.id LIMIT 1) there ON true
    ) x;
    LOOP
      -- Each is in exactly one place in one look; until it is locked there it may move, and then we look again.
      SELECT array_agg(x.child) AS children, array_agg(x.seq) AS seqs, array_agg(x.queue) AS queues, array_agg(x.id) AS ids,
        array_agg(x.place) AS places INTO f
      FROM (
        SELECT g.child, g.queue, g.id, g.stands, l.seq, l.place
        FROM unnest(w.children, w.queues, w.ids, w.stands) AS g(child, queue, id, stands)
        LEFT JOIN LATERAL (
          SELECT a.seq, a.place FROM (
            SELECT m.seq, 'messages' AS place FROM {messages} m WHERE m.managed AND m.id = g.id AND m.queue = g.queue
            UNION ALL SELECT d.seq, 'deferred' FROM {deferred} d WHERE d.managed AND d.queue = g.queue AND d.id = g.id
            UNION ALL SELECT h.seq, 'held' FROM {held} h WHERE h.queue = g.queue AND h.id = g.id
            UNION ALL SELECT b.seq, 'blocked' FROM {blocked} b WHERE b.queue = g.queue AND b.id = g.id
            UNION ALL SELECT e.seq, e.state FROM {finished} e WHERE e.queue = g.queue AND e.id = g.id
            UNION ALL SELECT o.seq, 'dead' FROM {dead_letters} o WHERE o.managed AND o.queue = g.queue AND o.id = g.id
          ) a WHERE a.seq <> g.child ORDER BY a.seq DESC LIMIT 1) l ON true
        WHERE l.seq IS NOT NULL OR NOT g.stands
      ) x;
      SELECT x.queue, x.id INTO missing FROM unnest(f.queues, f.ids, f.seqs) AS x(queue, id, seq) WHERE x.seq IS NULL LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION 'message.depends_on: there is no message `%` in the queue `%`', missing.id, missing.queue USING ERRCODE = '22023';
      END IF;
      SELECT count(DISTINCT x.seq) INTO wanted FROM unnest(f.seqs, f.places) AS x(seq, place) WHERE x.place <> 'done';
      PERFORM FROM {messages} m WHERE m.managed AND m.id = ANY (f.ids) AND m.seq = ANY (f.seqs) ORDER BY m.seq FOR KEY SHARE;
      GET DIAGNOSTICS locked = ROW_COUNT;
      PERFORM FROM {deferred} d WHERE d.seq = ANY (f.seqs) ORDER BY d.seq FOR KEY SHARE;
      GET DIAGNOSTICS found_rows = ROW_COUNT; locked := locked + found_rows;
      PERFORM FROM {held} h WHERE h.seq = ANY (f.seqs) ORDER BY h.seq FOR KEY SHARE;
      GET DIAGNOSTICS found_rows = ROW_COUNT; locked := locked + found_rows;
      PERFORM FROM {blocked} b WHERE b.seq = ANY (f.seqs) ORDER BY b.seq FOR KEY SHARE;
      GET DIAGNOSTICS found_rows = ROW_COUNT; locked := locked + found_rows;
      PERFORM FROM {dead_letters} o WHERE o.seq = ANY (f.seqs) ORDER BY o.seq FOR KEY SHARE;
      GET DIAGNOSTICS found_rows = ROW_COUNT; locked := locked + found_rows;
      PERFORM FROM {finished} e WHERE e.seq = ANY (f.seqs) AND e.state <> 'done' ORDER BY e.seq FOR KEY SHARE;
      GET DIAGNOSTICS found_rows = ROW_COUNT; locked := locked + found_rows;
      EXIT WHEN locked = wanted AND NOT EXISTS (
        -- one that ended while we waited for it may have been found twice on its way
        SELECT FROM unnest(f.seqs, f.places) AS x(seq, place) WHERE x.place NOT IN ('done', 'cancelled', 'dead')
          AND (EXISTS (SELECT FROM {dead_letters} o WHERE o.seq = x.seq) OR EXISTS (SELECT FROM {finished} e WHERE e.seq = x.seq)));
    END LOOP;
    INSERT INTO {dependencies} (parent, child, queue, id)
    SELECT DISTINCT x.seq, x.child, x.queue, x.id FROM unnest(f.seqs, f.children, f.queues, f.ids) AS x(seq, child, queue, id)
    ON CONFLICT DO NOTHING;
    SELECT array_agg(x.seq) AS seqs, array_agg(x.place <> 'done') AS failed INTO w
    FROM (SELECT DISTINCT x.seq, x.place FROM unnest(f.seqs, f.places) AS x(seq, place)) x WHERE x.place IN ('done', 'cancelled', 'dead');
    IF w.seqs IS NOT NULL THEN
      PERFORM {resolve}(w.seqs, w.failed);
    END IF;
    PERFORM {unblock}(ARRAY(SELECT b.seq FROM {blocked} b WHERE b.seq = ANY (c.seqs)
      AND NOT EXISTS (SELECT FROM {dependencies} d WHERE d.child = b.seq)));
  END IF;
  RETURN QUERY SELECT x.n, x.id FROM unnest(p.numbers, p.ids) AS x(n, id);
END $$;

-- As before. What it settles for good it tells to those that wait for it; each row says too in which queues that left more to
-- claim. Rows are taken in the order of their numbers, as by those who lock what they wait for.
DROP FUNCTION {settle}(text[], smallint[], bigint[], bigint[], text[], timestamptz[], bigint[], jsonb[], jsonb[]);
CREATE FUNCTION {settle}(
  queues text[], priorities smallint[], seqs bigint[], tokens bigint[], verdicts text[], ats timestamptz[], delays_us bigint[],
  reasons jsonb[], outputs jsonb[]
) RETURNS TABLE (settled_seq bigint, settled_token bigint, admitted integer, woken text[]) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  crowded bigint[] := '{}'; w record; there text; did record; opened integer := 0; awake text[];
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
    ORDER BY u.seq
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
    array_agg(j.seq) FILTER (WHERE j.fate NOT IN ('retry', 'snooze')) AS over,
    array_agg(j.fate <> 'done') FILTER (WHERE j.fate NOT IN ('retry', 'snooze')) AS failed,
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
  IF EXISTS (SELECT FROM {dependencies} d WHERE d.parent = ANY (did.over)) THEN
    awake := {resolve}(did.over, did.failed);
  END IF;
  IF did.freed_gates IS NOT NULL THEN
    opened := {open_gates}(did.freed_queues, did.freed_gates, array_fill(1, ARRAY[cardinality(did.freed_gates)]));
  END IF;
  RETURN QUERY SELECT s.seq, s.token, opened, awake FROM unnest(did.seqs, did.tokens) AS s(seq, token);
END $$;

-- As before, with those that wait for others: first those, because one that stops to wait at this moment is found in the next
-- place. How long a queue keeps what has ended counts for those that were never claimed too.
CREATE OR REPLACE FUNCTION {end_messages}(the_queue text, the_ids text[], verdict text, its_output jsonb) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  now_at timestamptz := {now}();
  queue_options jsonb := (SELECT q.options FROM {queues} q WHERE q.name = the_queue);
  b record; m record; d record; h record; gates text[]; ended text[]; over bigint[];
BEGIN
  WITH gone AS (
    DELETE FROM {blocked} x WHERE x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.*
  ), cut AS (
    DELETE FROM {dependencies} x USING gone g WHERE x.child = g.seq
  ), kept AS (
    INSERT INTO {finished} (
      state, finished_at, output,
      queue, priority, seq, failures, lost, delays, max_attempts, created_at, id, tenant, type, source,
      subject, recipient, data, headers, key, gate, keep_until, options, managed)
    SELECT CASE verdict WHEN 'done' THEN 'done' ELSE 'cancelled' END, now_at, its_output,
      g.queue, g.priority, g.seq, 0, 0, 0, g.max_attempts, g.created_at, g.id, g.tenant, g.type, g.source,
      g.subject, g.recipient, g.data, g.headers, g.key, g.gate, now_at + k.keep_us * interval '1 microsecond', g.options, true
    FROM gone g CROSS JOIN LATERAL (SELECT coalesce(((coalesce(queue_options, '{}') || coalesce(g.options, '{}'))->>'keep_finished_us')::bigint,
      604800000000) AS keep_us) k WHERE verdict <> 'drop' AND k.keep_us > 0
  )
  SELECT array_agg(g.id) AS ids, array_agg(coalesce(g.key, '')) AS keys, array_agg(g.seq) AS seqs INTO b FROM gone g;
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
    FROM gone g CROSS JOIN LATERAL (SELECT coalesce(((coalesce(queue_options, '{}') || coalesce(g.options, '{}'))->>'keep_finished_us')::bigint,
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
    FROM gone g CROSS JOIN LATERAL (SELECT coalesce(((coalesce(queue_options, '{}') || coalesce(g.options, '{}'))->>'keep_finished_us')::bigint,
      604800000000) AS keep_us) k WHERE verdict <> 'drop' AND k.keep_us > 0
  )
  SELECT array_agg(g.id) AS ids, array_agg(g.gate) AS gates, array_agg(coalesce(g.key, '')) AS keys, array_agg(g.seq) AS seqs
  INTO h FROM gone g;
  ended := coalesce(b.ids, '{}') || coalesce(m.ids, '{}') || coalesce(d.ids, '{}') || coalesce(h.ids, '{}');
  DELETE FROM {keys} k WHERE k.ctid = ANY (ARRAY(
    SELECT x.ctid FROM unnest(b.keys || d.keys || h.keys, b.seqs || d.seqs || h.seqs) AS e(key, seq)
    JOIN {keys} x ON x.queue = the_queue AND x.key = e.key AND x.seq = e.seq
    WHERE x.scope IN ('queued', 'unfinished', 'retry') OR (verdict <> 'done' AND x.scope LIKE 'slot %')
    FOR UPDATE OF x SKIP LOCKED));
  IF m.total > 0 THEN
    PERFORM FROM {settle}(array_fill(the_queue, ARRAY[m.total]), m.priorities, m.seqs, array_fill(NULL::bigint, ARRAY[m.total]),
      array_fill(verdict, ARRAY[m.total]), array_fill(NULL::timestamptz, ARRAY[m.total]), array_fill(NULL::bigint, ARRAY[m.total]),
      array_fill(NULL::jsonb, ARRAY[m.total]), array_fill(its_output, ARRAY[m.total]));
  END IF;
  over := b.seqs || d.seqs || h.seqs;
  IF EXISTS (SELECT FROM {dependencies} x WHERE x.parent = ANY (over)) THEN
    PERFORM {resolve}(over, array_fill(verdict <> 'done', ARRAY[cardinality(over)]));
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

-- Deletes all messages of a queue that wait, are claimed, or have ended; how many. Those that wait for them learn of it.
ALTER FUNCTION {empty_queue}(text, boolean, boolean, boolean) RENAME TO {prefix}empty_unblocked;
CREATE FUNCTION {empty_queue}(the_queue text, waiting boolean, claimed boolean, ended boolean) RETURNS bigint LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE total bigint := 0; over bigint[];
BEGIN
  IF waiting THEN
    WITH gone AS (
      DELETE FROM {blocked} b WHERE b.queue = the_queue RETURNING b.seq
    ), cut AS (
      DELETE FROM {dependencies} d USING gone g WHERE d.child = g.seq
    ) SELECT count(*) INTO total FROM gone;
  END IF;
  total := total + {empty_unblocked}(the_queue, waiting, claimed, ended);
  over := ARRAY(SELECT DISTINCT d.parent FROM {dependencies} d WHERE d.queue = the_queue
    AND NOT EXISTS (SELECT FROM {messages} m WHERE m.managed AND m.id = d.id AND m.seq = d.parent)
    AND NOT EXISTS (SELECT FROM {deferred} x WHERE x.seq = d.parent)
    AND NOT EXISTS (SELECT FROM {held} h WHERE h.seq = d.parent)
    AND NOT EXISTS (SELECT FROM {blocked} b WHERE b.seq = d.parent));
  IF cardinality(over) > 0 THEN
    PERFORM {resolve}(over, array_fill(true, ARRAY[cardinality(over)]));
  END IF;
  RETURN total;
END $$;

-- The waiting messages of one key, the oldest first.
CREATE OR REPLACE FUNCTION {waiting_of_key}(the_queue text, the_key text) RETURNS TABLE (id text, seq bigint) LANGUAGE sql STABLE AS $$
  SELECT m.id, m.seq FROM {messages} m WHERE m.queue = the_queue AND m.key = the_key AND m.holder IS NULL
  UNION ALL SELECT d.id, d.seq FROM {deferred} d WHERE d.queue = the_queue AND d.key = the_key
  UNION ALL SELECT h.id, h.seq FROM {held} h WHERE h.queue = the_queue AND h.key = the_key
  UNION ALL SELECT b.id, b.seq FROM {blocked} b WHERE b.queue = the_queue AND b.key = the_key
  ORDER BY 2
$$;

-- Changes messages that wait, for others too.
ALTER FUNCTION {change_messages}(text, text[], jsonb, jsonb, smallint, integer, jsonb, timestamptz) RENAME TO {prefix}change_unblocked;
CREATE FUNCTION {change_messages}(the_queue text, the_ids text[], new_data jsonb, new_headers jsonb, new_priority smallint,
  new_attempts integer, new_options jsonb, new_due timestamptz) RETURNS SETOF text LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  RETURN QUERY UPDATE {blocked} x SET data = coalesce(new_data, x.data), headers = coalesce(new_headers, x.headers),
      priority = coalesce(new_priority, x.priority), max_attempts = coalesce(new_attempts, x.max_attempts),
      options = CASE WHEN new_options IS NULL THEN x.options ELSE coalesce(x.options, '{}') || new_options END,
      available_at = coalesce(new_due, x.available_at)
    WHERE x.queue = the_queue AND x.id = ANY (the_ids) RETURNING x.id;
  RETURN QUERY SELECT c.id FROM {change_unblocked}(the_queue, the_ids, new_data, new_headers, new_priority, new_attempts, new_options,
    new_due) AS c(id);
END $$;

-- Takes back claimed messages that gave no sign of life, as when their worker dies; how many.
CREATE FUNCTION {expire_beats}() RETURNS bigint LANGUAGE sql
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
  WITH late AS (
    DELETE FROM {beats} b WHERE b.seq = ANY (ARRAY(SELECT x.seq FROM {beats} x WHERE x.expires_at <= {now}()
      ORDER BY x.expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED))
    RETURNING b.*
  ), freed AS (
    UPDATE {messages} m SET holder = NULL, token = 0, lost = m.lost + 1 FROM late l
    WHERE m.queue = l.queue AND m.priority = l.priority AND m.seq = l.seq AND m.token = l.token
    RETURNING m.seq
  )
  SELECT count(*) FROM freed
$$;

-- As before; `depends_on` is an array of {"queue", "id"}, and `parent_failure` one of wait, run, fail.
DROP FUNCTION {push}(text, text, jsonb, text, integer, interval, timestamptz, integer, jsonb, text, text, text, text, text, text, text, text, interval, boolean);
CREATE FUNCTION {push}(
  queue text, type text, data jsonb, key text DEFAULT NULL, priority integer DEFAULT NULL, delay interval DEFAULT NULL,
  at timestamptz DEFAULT NULL, max_attempts integer DEFAULT NULL, headers jsonb DEFAULT NULL, id text DEFAULT NULL,
  tenant text DEFAULT '', source text DEFAULT NULL, subject text DEFAULT NULL, recipient text DEFAULT NULL,
  group_id text DEFAULT NULL, tier text DEFAULT NULL, unique_by text DEFAULT NULL, unique_for interval DEFAULT NULL,
  wake boolean DEFAULT false, depends_on jsonb DEFAULT NULL, parent_failure text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  now_at timestamptz := {now}();
  own jsonb := jsonb_strip_nulls(jsonb_build_object('group', group_id, 'tier', tier, 'parent_failure', parent_failure));
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
  ELSIF parent_failure NOT IN ('wait', 'run', 'fail') THEN
    RAISE EXCEPTION 'message.parent_failure: `%` is not wait, run or fail', left(parent_failure, 40) USING ERRCODE = '22023';
  END IF;
  IF depends_on IS NOT NULL THEN
    IF jsonb_typeof(depends_on) <> 'array' OR depends_on @? '$[*] ? (@.queue.type() != "string" || !exists(@.queue) || @.id.type() != "string" || !exists(@.id))' THEN
      RAISE EXCEPTION 'message.depends_on: is not an array of objects with a queue and an id' USING ERRCODE = '22023';
    ELSIF jsonb_array_length(depends_on) > 1000 THEN
      RAISE EXCEPTION 'message.depends_on: % messages, at most 1000 are allowed', jsonb_array_length(depends_on) USING ERRCODE = '22023';
    ELSIF depends_on @> jsonb_build_array(jsonb_build_object('queue', queue, 'id', id)) THEN
      RAISE EXCEPTION 'message.depends_on: message `%` of queue `%` waits for itself', id, queue USING ERRCODE = '22023';
    END IF;
    depends_on := nullif(depends_on, '[]');
  END IF;
  PERFORM {check_json}('message.data', data, 1048576);
  headers := nullif(headers, '{}');
  IF headers IS NOT NULL THEN
    PERFORM {check_json}('message.headers', headers, 16384);
  END IF;
  at := coalesce(at, now_at + delay);
  IF depends_on IS NOT NULL THEN
    SELECT p.duplicate_of INTO there FROM {place_dependent}(ARRAY[queue], ARRAY[priority::smallint], ARRAY[max_attempts], ARRAY[id],
      ARRAY[coalesce(tenant, '')], ARRAY[type], ARRAY[source], ARRAY[subject], ARRAY[recipient], ARRAY[data], ARRAY[headers],
      ARRAY[key], ARRAY[nullif(own, '{}')], ARRAY[at], ARRAY[NULL::bigint], ARRAY[unique_by], ARRAY[unique_us::bigint],
      ARRAY[depends_on]) p
      WHERE p.n > 0;
  ELSIF own <> '{}' OR key IS NOT NULL OR unique_by IS NOT NULL OR EXISTS (SELECT FROM {queues} q WHERE q.name = queue) THEN
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
