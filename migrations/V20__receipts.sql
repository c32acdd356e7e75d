-- What was handled once, by whom: committed with what came of it, and looked at before it is handled again. Only the time is ever
-- changed.
CREATE TABLE {receipts} (
  queue      text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  keep_until timestamptz NOT NULL,
  PRIMARY KEY (queue, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX {prefix}receipts_keep ON {receipts} USING brin (keep_until);

-- Leases on names. A row whose time is over counts for nothing, and is taken over in place.
CREATE TABLE {leases} (
  name        text COLLATE "C" PRIMARY KEY,
  holder      text NOT NULL,
  token       bigint NOT NULL,
  acquired_at timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  CONSTRAINT {prefix}leases_time CHECK (expires_at > acquired_at)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
