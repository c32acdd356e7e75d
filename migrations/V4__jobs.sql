-- Jobs: the durable record of doing one step out of line. `token` grows with every claim and is the fence of every write.
CREATE SEQUENCE {job_token};

CREATE TABLE {jobs} (
  id               text COLLATE "C" PRIMARY KEY,
  tenant           text NOT NULL DEFAULT '',
  execution_id     text COLLATE "C" NOT NULL,
  step_id          text NOT NULL,
  handler          text NOT NULL,
  status           text COLLATE "C" NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
  input            jsonb NOT NULL,
  result           jsonb,
  error            jsonb,
  holder           text,
  token            bigint NOT NULL DEFAULT 0,
  heartbeat_at     timestamptz,
  stalled_after_ms bigint NOT NULL CHECK (stalled_after_ms > 0),
  attempts         integer NOT NULL DEFAULT 0,
  lost             integer NOT NULL DEFAULT 0,
  max_attempts     integer NOT NULL CHECK (max_attempts BETWEEN 1 AND 1000),
  checkpoint       jsonb NOT NULL DEFAULT '{}',
  progress         jsonb,
  reply            jsonb,
  created_at       timestamptz NOT NULL,
  updated_at       timestamptz NOT NULL,
  finished_at      timestamptz,
  CONSTRAINT {prefix}jobs_execution FOREIGN KEY (execution_id) REFERENCES {executions} (id) ON DELETE CASCADE,
  CONSTRAINT {prefix}jobs_running CHECK ((status = 'running') = (holder IS NOT NULL AND heartbeat_at IS NOT NULL)),
  CONSTRAINT {prefix}jobs_finished CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
);

CREATE INDEX {prefix}jobs_by_execution ON {jobs} (execution_id, created_at);
CREATE INDEX {prefix}jobs_by_status ON {jobs} (status, created_at);
CREATE INDEX {prefix}jobs_old ON {jobs} (finished_at) WHERE finished_at IS NOT NULL;
