-- `{commit}` again, and of what it writes to a history it knows where that ends: an execution whose events would leave a gap is not
-- as it was expected to be. It has room for metadata, which whatever is traced has. `{commit}` stays for processes of the version
-- before; what is said there holds here.
CREATE FUNCTION {commit_call}(
  the_mark bigint,
  ids text[], expected bigint[], befores bigint[], statuses text[], events bigint[], step_counts integer[], steps text[],
  drivers text[], holders text[], contexts jsonb[], metadatas jsonb[],
  new_ids text[], new_events bigint[], new_drivers text[], new_contexts jsonb[], new_metadatas jsonb[], new_status text,
  new_flow text, new_version text, new_step text, new_tenant text, new_queue text, new_holder text, new_timeout bigint,
  new_wait bigint,
  streams text[], positions bigint[], types text[], subjects text[], datas jsonb[], event_metadatas jsonb[], event_tenant text
) RETURNS timestamptz
  LANGUAGE plpgsql VOLATILE
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off
  SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
  AS $$
    DECLARE
      at CONSTANT timestamptz := {now}();
      written bigint;
    BEGIN
      IF ids IS NOT NULL THEN
        UPDATE {executions} e SET
          status = u.status, revision = e.revision + 1, position = e.position + u.events, step_count = u.step_count,
          current_step = u.current_step, driver = u.driver, holder = u.holder, wake_at = NULL, wait_reason = NULL,
          wait_started_at = NULL, wait_deadline_at = NULL, updated_at = at,
          finished_at = CASE WHEN u.status IN ('completed', 'failed', 'cancelled') THEN at END,
          context = u.context, retries = '{}', metadata = coalesce(u.metadata, '{}'), error = NULL, cancellation = NULL,
          attributes = '{}', mark = the_mark
        FROM (
          SELECT i.*, r.row FROM (
            SELECT pg_catalog.unnest(ids) AS id, pg_catalog.unnest(expected) AS expected, pg_catalog.unnest(befores) AS before,
              pg_catalog.unnest(statuses) AS status, pg_catalog.unnest(events) AS events,
              pg_catalog.unnest(step_counts) AS step_count, pg_catalog.unnest(steps) AS current_step,
              pg_catalog.unnest(drivers) AS driver, pg_catalog.unnest(holders) AS holder,
              pg_catalog.unnest(contexts) AS context, pg_catalog.unnest(metadatas) AS metadata
          ) i CROSS JOIN LATERAL (SELECT x.ctid AS row FROM {executions} x WHERE x.id = i.id OFFSET 0) r OFFSET 0) u
        WHERE e.ctid = u.row AND e.revision = u.expected AND e.status NOT IN ('completed', 'failed', 'cancelled')
          AND (u.events = 0 OR e.position = u.before);
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written < pg_catalog.cardinality(ids) THEN
          RAISE EXCEPTION 'an execution is no longer as it was' USING ERRCODE = 'MS001';
        END IF;
      END IF;
      IF new_ids IS NOT NULL THEN
        INSERT INTO {executions} (
          id, status, revision, position, step_count, flow_id, flow_version, current_step, tenant, queue, driver, holder,
          deadline_at, execution_timeout_ms, wait_timeout_ms, root_execution_id, created_at, updated_at, context, retries,
          metadata, mark)
        SELECT u.id, new_status, 1, u.events, 0, new_flow, new_version, new_step, new_tenant, new_queue, u.driver, new_holder,
          at + new_timeout * interval '1 millisecond', new_timeout, new_wait, u.id, at, at, u.context, '{}',
          coalesce(u.metadata, '{}'), the_mark
        FROM (
          SELECT pg_catalog.unnest(new_ids) AS id, pg_catalog.unnest(new_events) AS events,
            pg_catalog.unnest(new_drivers) AS driver, pg_catalog.unnest(new_contexts) AS context,
            pg_catalog.unnest(new_metadatas) AS metadata) u
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written < pg_catalog.cardinality(new_ids) THEN
          RAISE EXCEPTION 'an execution is there already' USING ERRCODE = 'MS001';
        END IF;
      END IF;
      IF streams IS NOT NULL THEN
        -- Before the first row is there, so before the first global position.
        PERFORM {event_fence}();
        INSERT INTO {events_executions} (partition, tenant, stream, stream_position, created_at, type, subject, data, metadata)
        SELECT 'executions', event_tenant, u.stream, u.stream_position, at, u.type, u.subject, u.data, u.metadata
        FROM (
          SELECT pg_catalog.unnest(streams) AS stream, pg_catalog.unnest(positions) AS stream_position,
            pg_catalog.unnest(types) AS type, pg_catalog.unnest(subjects) AS subject, pg_catalog.unnest(datas) AS data,
            pg_catalog.unnest(event_metadatas) AS metadata) u;
      END IF;
      RETURN at;
    END
  $$;
