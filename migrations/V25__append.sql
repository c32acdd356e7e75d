-- Appends in one call, as commits of executions are since V22.

-- The mark of the last call that moved the head: by it the caller of a call whose answer was lost finds out what became of it.
ALTER TABLE {streams} ADD COLUMN mark bigint;

-- Appends of one tenant to streams of the partition that is always there, each of which is expected at one position: all of
-- them, or an error when a stream is not where it was expected. Streams that begin and streams that go on are each in the order
-- of their names, in which heads are locked; a stream that was deleted and begins again is refused, since it does not begin at
-- 0. Positions are known before, and no event has an id. Answers the time that all of it happened, and the global positions in
-- the order of the events. Absent parts are NULL.
--
-- The settings are those of a flight: plans that are kept, and that go by index whatever the tables' statistics say. Arrays are
-- unnested side by side in the list of a SELECT, where none is made a table of its own.
CREATE FUNCTION {append}(
  the_mark bigint, the_tenant text,
  new_streams text[], new_counts bigint[], new_types text[],
  moved_streams text[], moved_counts bigint[], moved_from bigint[],
  event_streams text[], positions bigint[], types text[], datas jsonb[], subjects text[], metadatas jsonb[],
  correlations text[], causations text[], versions integer[],
  OUT appended_at timestamptz, OUT placed bigint[]
)
  LANGUAGE plpgsql VOLATILE
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off
  SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
  AS $$
    DECLARE
      written bigint;
    BEGIN
      appended_at := {now}();
      IF new_streams IS NOT NULL THEN
        INSERT INTO {streams} (partition, tenant, stream, stream_position, created_at, stream_type, mark)
        SELECT 'streams', the_tenant, u.stream, u.events, appended_at, u.stream_type, the_mark
        FROM (
          SELECT pg_catalog.unnest(new_streams) AS stream, pg_catalog.unnest(new_counts) AS events,
            pg_catalog.unnest(new_types) AS stream_type) u
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written < pg_catalog.cardinality(new_streams) THEN
          RAISE EXCEPTION 'a stream is there already' USING ERRCODE = 'MS001';
        END IF;
      END IF;
      IF moved_streams IS NOT NULL THEN
        UPDATE {streams} s SET stream_position = s.stream_position + u.events, mark = the_mark
        FROM (
          SELECT pg_catalog.unnest(moved_streams) AS stream, pg_catalog.unnest(moved_counts) AS events,
            pg_catalog.unnest(moved_from) AS stream_position OFFSET 0) u
        WHERE s.partition = 'streams' AND s.stream = u.stream AND s.tenant = the_tenant
          AND s.stream_position = u.stream_position AND s.live_from <= s.stream_position AND s.archived_at IS NULL;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written < pg_catalog.cardinality(moved_streams) THEN
          RAISE EXCEPTION 'a stream is no longer where it was' USING ERRCODE = 'MS001';
        END IF;
      END IF;
      -- Before the first row is there, so before the first global position.
      PERFORM {event_fence}();
      WITH inserted AS (
        INSERT INTO {events_streams} (partition, tenant, stream, stream_position, created_at, type, data, subject, metadata,
                                      correlation_id, causation_id, schema_version)
        SELECT 'streams', the_tenant, u.stream, u.stream_position, appended_at, u.type, u.data, u.subject, u.metadata,
               u.correlation_id, u.causation_id, u.schema_version
        FROM (
          SELECT pg_catalog.unnest(event_streams) AS stream, pg_catalog.unnest(positions) AS stream_position,
            pg_catalog.unnest(types) AS type, pg_catalog.unnest(datas) AS data, pg_catalog.unnest(subjects) AS subject,
            pg_catalog.unnest(metadatas) AS metadata, pg_catalog.unnest(correlations) AS correlation_id,
            pg_catalog.unnest(causations) AS causation_id, pg_catalog.unnest(versions) AS schema_version) u
        RETURNING global_position)
      SELECT pg_catalog.array_agg(w.global_position) INTO placed FROM inserted w;
    END
  $$;
