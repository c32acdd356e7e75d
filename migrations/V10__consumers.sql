-- How far each processor of a consumer is, and who may move it on. `*` is every partition or tenant. The lease is the row:
-- whoever has a transaction open on it is alive, and the token fences everybody else.
CREATE TABLE {processors} (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text COLLATE "C" NOT NULL,
  version    integer NOT NULL CHECK (version > 0),
  partition  text COLLATE "C" NOT NULL,
  tenant     text COLLATE "C" NOT NULL,
  shard      integer NOT NULL,
  shards     integer NOT NULL CHECK (shard >= 0 AND shard < shards),
  position   bigint NOT NULL CHECK (position >= 0),
  token      bigint NOT NULL DEFAULT 0,
  holder     text,
  expires_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CONSTRAINT {prefix}processors_key UNIQUE (name, version, partition, tenant, shard),
  CONSTRAINT {prefix}processors_held CHECK ((holder IS NULL) = (expires_at IS NULL))
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Events a processor gave up on, by where they are in the log: what is deleted there is gone here too.
CREATE TABLE {parked} (
  processor       bigint NOT NULL,
  global_position bigint NOT NULL,
  partition       text COLLATE "C" NOT NULL,
  tenant          text COLLATE "C" NOT NULL,
  stream          text COLLATE "C" NOT NULL,
  stream_position bigint NOT NULL,
  type            text NOT NULL,
  attempts        integer NOT NULL,
  error           text NOT NULL,
  redrive         boolean NOT NULL DEFAULT false,
  parked_at       timestamptz NOT NULL,
  PRIMARY KEY (processor, global_position),
  CONSTRAINT {prefix}parked_processor FOREIGN KEY (processor) REFERENCES {processors} (id) ON DELETE CASCADE
);
CREATE INDEX {prefix}parked_redrive ON {parked} (processor, global_position) WHERE redrive;

-- Projections and their versions. What is read is the active version, of which there is one at most.
CREATE TABLE {projections} (
  name       text COLLATE "C" NOT NULL,
  version    integer NOT NULL CHECK (version > 0),
  kind       text NOT NULL CHECK (kind IN ('inline', 'async')),
  status     text NOT NULL CHECK (status IN ('active', 'building', 'inactive')),
  definition jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX {prefix}projections_active ON {projections} (name) WHERE status = 'active';

-- What an inline projection asks before it writes: takes the shared lock of its name, and then looks at its status, as it is
-- when the lock is held. NULL when it is not registered. Who changes the status of an inline projection takes the lock for
-- himself first, so that every writer of events is either done or sees the change.
CREATE FUNCTION {projection_status}(projection text, number integer) RETURNS text
  LANGUAGE plpgsql VOLATILE
  AS $$
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock_shared(
        pg_catalog.hashtext('{projections}'), pg_catalog.hashtext(projection));
      RETURN (SELECT p.status FROM {projections} p WHERE p.name = projection AND p.version = number);
    END
  $$;

-- What document projections write, and documents of the application. `position` is that of the last event taken in.
CREATE TABLE {documents} (
  collection text COLLATE "C" NOT NULL,
  version    integer NOT NULL,
  tenant     text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  revision   bigint NOT NULL CHECK (revision > 0),
  position   bigint NOT NULL,
  data       jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (collection, version, tenant, id)
) WITH (fillfactor = 60);
