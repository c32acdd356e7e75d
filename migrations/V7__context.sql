-- Large values beside the executions that own them.
CREATE TABLE {context_values} (
  execution_id text COLLATE "C" NOT NULL,
  key          text COLLATE "C" NOT NULL,
  data         jsonb NOT NULL,
  size_bytes   bigint NOT NULL,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (execution_id, key),
  CONSTRAINT {prefix}context_execution FOREIGN KEY (execution_id) REFERENCES {executions} (id) ON DELETE CASCADE
);
