-- Resume tokens. The secret itself is never stored, only its SHA-256.
CREATE TABLE {resume_tokens} (
  hash         bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  id           text COLLATE "C" NOT NULL,
  execution_id text COLLATE "C" NOT NULL,
  step_id      text NOT NULL,
  status       text COLLATE "C" NOT NULL CHECK (status IN ('pending', 'used', 'revoked', 'expired')),
  metadata     jsonb NOT NULL,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz CHECK (isfinite(expires_at)),
  used_at      timestamptz,
  CONSTRAINT {prefix}tokens_execution FOREIGN KEY (execution_id) REFERENCES {executions} (id) ON DELETE CASCADE,
  CONSTRAINT {prefix}tokens_used CHECK ((used_at IS NOT NULL) = (status = 'used'))
);

CREATE INDEX {prefix}tokens_by_execution ON {resume_tokens} (execution_id, created_at);
CREATE INDEX {prefix}tokens_expiry ON {resume_tokens} (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;
