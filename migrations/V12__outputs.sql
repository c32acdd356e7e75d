-- Output streams: how many chunks each has, which is where the next one goes. Who writes holds the row until it commits, so
-- that indexes have no gaps and become visible in order. A stream of an execution goes with it; `owner` is empty for others.
CREATE TABLE {output_streams} (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner        text COLLATE "C" NOT NULL,
  name         text COLLATE "C" NOT NULL,
  execution_id text COLLATE "C" GENERATED ALWAYS AS (nullif(owner, '')) STORED,
  chunks       bigint NOT NULL CHECK (chunks >= 0),
  created_at   timestamptz NOT NULL,
  closed_at    timestamptz,
  CONSTRAINT {prefix}output_key UNIQUE (owner, name),
  CONSTRAINT {prefix}output_execution FOREIGN KEY (execution_id) REFERENCES {executions} (id) ON DELETE CASCADE
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX {prefix}output_of_execution ON {output_streams} (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX {prefix}output_closed ON {output_streams} (closed_at) WHERE closed_at IS NOT NULL;

-- Written once, read in order. A foreign key would be looked up for every chunk; the row of the stream is locked by whoever
-- adds to it and by whoever deletes it, so that none is left behind.
CREATE TABLE {output_chunks} (
  stream bigint NOT NULL,
  index  bigint NOT NULL,
  data   bytea NOT NULL,
  PRIMARY KEY (stream, index)
);

CREATE FUNCTION {delete_chunks}() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    DELETE FROM {output_chunks} WHERE stream = old.id;
    RETURN NULL;
  END
$$;
CREATE TRIGGER {prefix}output_deleted AFTER DELETE ON {output_streams} FOR EACH ROW EXECUTE FUNCTION {delete_chunks}();
