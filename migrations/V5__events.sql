-- The log. One table, one append, one reader; LIST partitions by what writes a stream. There is no DEFAULT partition: a row
-- in one would block the partition it should have been in.
CREATE SEQUENCE {event_position};

-- Streams that are not an execution's history. The history of an execution has its head in the execution's row instead.
CREATE TABLE {streams} (
  partition       text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  stream          text COLLATE "C" NOT NULL,
  stream_position bigint NOT NULL CHECK (stream_position > 0),
  created_at      timestamptz NOT NULL,
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
  PRIMARY KEY (partition, stream, tenant, stream_position)
) PARTITION BY LIST (partition);

CREATE TABLE {events_executions} PARTITION OF {events} FOR VALUES IN ('executions');
CREATE TABLE {events_streams} PARTITION OF {events} FOR VALUES IN ('streams');

CREATE INDEX {prefix}events_global ON {events} (global_position);
CREATE INDEX {prefix}events_time ON {events} USING brin (created_at);

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
