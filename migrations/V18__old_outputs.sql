-- What is deleted by age are the output streams of nobody; those of executions go with them, and may be old and many.
CREATE INDEX {prefix}output_old ON {output_streams} (closed_at) WHERE closed_at IS NOT NULL AND owner = '';
DROP INDEX {schema}.{prefix}output_closed;
