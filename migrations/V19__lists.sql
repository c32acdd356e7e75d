-- Lists of executions, the newest first: of all, and of one flow. Building them locks `executions` against writes.
CREATE INDEX {prefix}executions_created ON {executions} (created_at, id);
CREATE INDEX {prefix}executions_flow ON {executions} (flow_id, created_at, id);
