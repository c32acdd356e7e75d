-- The log. One table, one append, one reader; LIST partitions by what writes a stream. There is no DEFAULT partition: a row
-- in one would block the partition it should have been in.
CREATE SEQUENCE {event_position};

-- Streams that are not an execution's history: the last position given out, and the first one that is still a part of the
-- stream. When that is beyond the last one, the stream was deleted. The history of an execution has its head in the
-- execution's row instead. A head at 0 is in a transaction that is about to append.
CREATE TABLE {streams} (
  partition       text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  stream          text COLLATE "C" NOT NULL,
  stream_position bigint NOT NULL CHECK (stream_position >= 0),
  live_from       bigint NOT NULL DEFAULT 1 CHECK (live_from BETWEEN 1 AND stream_position + 1),
  created_at      timestamptz NOT NULL,
  archived_at     timestamptz,
  stream_type     text COLLATE "C",
  PRIMARY KEY (partition, stream, tenant)
) WITH (fillfactor = 60);

CREATE TABLE {events} (
  partition       text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  stream          text COLLATE "C" NOT NULL,
  stream_position bigint NOT NULL,
  global_position bigint NOT NULL DEFAULT nextval('{event_position}'),
  created_at      timestamptz NOT NULL,
  type            text COLLATE "C" NOT NULL,
  subject         text,
  data            jsonb NOT NULL,
  metadata        jsonb,
  correlation_id  text,
  causation_id    text,
  event_id        text COLLATE "C",
  schema_version  integer,
  PRIMARY KEY (partition, stream, tenant, stream_position)
) PARTITION BY LIST (partition);

CREATE TABLE {events_executions} PARTITION OF {events} FOR VALUES IN ('executions');
CREATE TABLE {events_streams} PARTITION OF {events} FOR VALUES IN ('streams');

CREATE INDEX {prefix}events_global ON {events} (global_position);
CREATE INDEX {prefix}events_time ON {events} USING brin (created_at);
-- Both only for the events that have one: histories have neither.
CREATE UNIQUE INDEX {prefix}events_id ON {events} (partition, stream, tenant, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX {prefix}events_correlation ON {events} (correlation_id, global_position) WHERE correlation_id IS NOT NULL;

-- The events of archived streams, out of the way of everything that reads the log.
CREATE TABLE {events_archive} (
  LIKE {events} INCLUDING DEFAULTS,
  PRIMARY KEY (partition, stream, tenant, stream_position)
);

-- The last state of a stream that somebody wants to fold from. Never the truth: it can be deleted at any time.
CREATE TABLE {snapshots} (
  partition       text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  stream          text COLLATE "C" NOT NULL,
  name            text COLLATE "C" NOT NULL,
  schema_version  integer NOT NULL,
  stream_position bigint NOT NULL CHECK (stream_position > 0),
  created_at      timestamptz NOT NULL,
  state           jsonb NOT NULL,
  PRIMARY KEY (partition, stream, tenant, name)
) WITH (fillfactor = 60);

-- The partitions that were made, and the tables behind them. A row with the empty tenant is the partition itself; one with a
-- tenant is storage of that tenant's own in it.
CREATE TABLE {event_partitions} (
  partition  text COLLATE "C" NOT NULL,
  tenant     text COLLATE "C" NOT NULL,
  relation   text COLLATE "C" NOT NULL UNIQUE,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (partition, tenant)
);

-- Makes a partition, or storage for one of its tenants; whether it is new, and NULL when the partition does not exist. The
-- tables are named after a digest of both names, so that no two names share one and none is too long; what a person can read
-- of them stands in front. Tables are attached after they are made, which stops no writer.
CREATE FUNCTION {create_event_partition}(partition_name text, tenant_name text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE
  AS $$
    DECLARE
      name text := '{prefix}events_' || substr(regexp_replace(lower(partition_name), '[^a-z0-9]+', '_', 'g'), 1, 8)
        || substr(regexp_replace(lower('_' || tenant_name), '[^a-z0-9]+', '_', 'g'), 1, 9) || '_'
        || substr(pg_catalog.md5(length(partition_name) || ':' || partition_name || ':' || tenant_name), 1, 12);
      parent text;
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{event_partitions}'), 0);
      IF EXISTS (SELECT FROM {event_partitions} p WHERE p.partition = partition_name AND p.tenant = tenant_name) THEN
        RETURN false;
      END IF;
      IF tenant_name = '' THEN
        EXECUTE pg_catalog.format('CREATE TABLE {schema}.%I (LIKE {events} INCLUDING DEFAULTS) PARTITION BY LIST (tenant)', name);
        EXECUTE pg_catalog.format('CREATE TABLE {schema}.%I PARTITION OF {schema}.%I DEFAULT', name || '_r', name);
        EXECUTE pg_catalog.format('ALTER TABLE {events} ATTACH PARTITION {schema}.%I FOR VALUES IN (%L)', name, partition_name);
      ELSE
        SELECT p.relation INTO parent FROM {event_partitions} p WHERE p.partition = partition_name AND p.tenant = '';
        IF parent IS NULL THEN
          RETURN NULL;
        END IF;
        EXECUTE pg_catalog.format('CREATE TABLE {schema}.%I (LIKE {events} INCLUDING DEFAULTS)', name);
        EXECUTE pg_catalog.format('LOCK TABLE {schema}.%I IN ACCESS EXCLUSIVE MODE', parent || '_r');
        EXECUTE pg_catalog.format('WITH moved AS (DELETE FROM {schema}.%I WHERE tenant = %L RETURNING *) '
          'INSERT INTO {schema}.%I SELECT * FROM moved', parent || '_r', tenant_name, name);
        EXECUTE pg_catalog.format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES IN (%L)',
          parent, name, tenant_name);
      END IF;
      INSERT INTO {event_partitions} VALUES (partition_name, tenant_name, name, {now}());
      RETURN true;
    END
  $$;

-- The position fence: a writer takes this shared lock before its first position, so that a reader can tell, from the locks
-- that are held, below which position everything is settled. The lock holds 15 bits of the log's name and 48 of a position:
-- the last one given out, which is none (0) as long as the sequence was not used.
CREATE FUNCTION {event_fence}() RETURNS void
  LANGUAGE plpgsql VOLATILE
  AS $$
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock_shared(
        ((pg_catalog.hashtext('{event_position}') & 32767)::bigint << 48) | (s.last_value - (NOT s.is_called)::int))
      FROM {event_position} s;
    END
  $$;
