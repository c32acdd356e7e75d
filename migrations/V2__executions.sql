-- Executions: one row per running instance. A step writes only columns that no index and no index predicate mentions, so
-- the update stays within its page (HOT); fillfactor leaves the room.
CREATE TABLE {executions} (
  id                     text COLLATE "C" PRIMARY KEY,
  status                 text COLLATE "C" NOT NULL
    CHECK (status IN ('pending', 'running', 'waiting', 'cancelling', 'completed', 'failed', 'cancelled')),
  revision               bigint NOT NULL CHECK (revision > 0),
  position               bigint NOT NULL DEFAULT 0,
  step_count             integer NOT NULL DEFAULT 0,
  flow_id                text NOT NULL,
  flow_version           text NOT NULL,
  current_step           text NOT NULL,
  tenant                 text NOT NULL DEFAULT '',
  queue                  text NOT NULL,
  driver                 text,
  holder                 text,
  wake_at                timestamptz CHECK (isfinite(wake_at)),
  wait_reason            text,
  wait_started_at        timestamptz,
  wait_deadline_at       timestamptz,
  deadline_at            timestamptz NOT NULL,
  execution_timeout_ms   bigint NOT NULL,
  wait_timeout_ms        bigint NOT NULL,
  parent_execution_id    text COLLATE "C" CHECK (parent_execution_id <> id),
  root_execution_id      text COLLATE "C" NOT NULL,
  idempotency_key        text COLLATE "C",
  idempotency_expires_at timestamptz,
  created_at             timestamptz NOT NULL,
  updated_at             timestamptz NOT NULL,
  finished_at            timestamptz,
  context                jsonb NOT NULL,
  retries                jsonb NOT NULL,
  metadata               jsonb NOT NULL,
  error                  jsonb,
  cancellation           jsonb,
  reply                  jsonb,
  CONSTRAINT {prefix}executions_finished CHECK
    ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
  CONSTRAINT {prefix}executions_waiting CHECK (wake_at IS NULL OR status = 'waiting'),
  CONSTRAINT {prefix}executions_window CHECK ((idempotency_key IS NULL) = (idempotency_expires_at IS NULL))
) WITH (fillfactor = 60);

CREATE INDEX {prefix}executions_status ON {executions} (status, created_at, id);
CREATE INDEX {prefix}executions_tenant ON {executions} (tenant, created_at, id) WHERE tenant <> '';
CREATE INDEX {prefix}executions_deadline ON {executions} (deadline_at) WHERE finished_at IS NULL;
CREATE INDEX {prefix}executions_wake ON {executions} (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX {prefix}executions_wait ON {executions} (wait_deadline_at) WHERE wait_deadline_at IS NOT NULL;
CREATE INDEX {prefix}executions_parent ON {executions} (parent_execution_id, created_at) WHERE parent_execution_id IS NOT NULL;
-- Those that a process drives itself, which are few. By id: one holder has many, and a b-tree suffers from equal keys.
CREATE INDEX {prefix}executions_held ON {executions} (id) WHERE holder IS NOT NULL;
-- The race-safe window: a second create with the same key waits for the first and then finds it. A create clears the key of
-- a row whose window is over before it inserts its own.
CREATE UNIQUE INDEX {prefix}executions_idempotency ON {executions} (tenant, flow_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
