-- Search attributes, and what retention asks. Adding the column rewrites nothing. The index of the attributes is only of executions
-- that have some, and a step that leaves them as they are stays within its page.
ALTER TABLE {executions} ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}';
CREATE INDEX {prefix}executions_attributes ON {executions} USING gin (attributes jsonb_path_ops) WHERE attributes <> '{}';
-- By the end, so that finished executions are removed in the order in which they finished.
CREATE INDEX {prefix}executions_over ON {executions} (flow_id, finished_at) WHERE finished_at IS NOT NULL;
