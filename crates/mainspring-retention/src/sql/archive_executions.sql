-- Everything that goes with an execution, but the secrets of its tokens, in one row.
INSERT INTO {archive} (kind, id, tenant, ended_at, archived_at, data)
SELECT 'executions', x.id, x.tenant, x.finished_at, {now}(), to_jsonb(x) || jsonb_strip_nulls(jsonb_build_object(
  'history', (SELECT jsonb_agg(to_jsonb(e) - '{partition,tenant,stream}'::text[] ORDER BY e.stream_position) FROM {events_executions} e
    WHERE e.partition = 'executions' AND e.tenant = x.tenant AND e.stream = 'execution-' || x.id),
  'sent', (SELECT jsonb_agg(to_jsonb(e) - '{partition,tenant}'::text[] ORDER BY e.global_position) FROM {events_streams} e
    WHERE e.partition = 'streams' AND e.tenant = x.tenant AND e.stream IN ('execution-' || x.id, 'inbox-' || x.id)),
  'jobs', (SELECT jsonb_agg(to_jsonb(j) ORDER BY j.created_at, j.id) FROM {jobs} j WHERE j.execution_id = x.id),
  'tokens', (SELECT jsonb_agg(to_jsonb(t) - 'hash' ORDER BY t.created_at, t.id) FROM {resume_tokens} t WHERE t.execution_id = x.id),
  'contexts', (SELECT jsonb_object_agg(v.key, v.data) FROM {context_values} v WHERE v.execution_id = x.id),
  'outputs', (SELECT jsonb_object_agg(o.name, (SELECT jsonb_agg(encode(k.data, 'base64') ORDER BY k.index) FROM {output_chunks} k
    WHERE k.stream = o.id)) FROM {output_streams} o WHERE o.execution_id = x.id)))
FROM {executions} x WHERE x.id = ANY ($1::text[])
