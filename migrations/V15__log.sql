-- The position fence, once for each transaction: the first lock of a transaction is the lowest, so that the others would say
-- nothing more, and each takes a place in a table of the server's. What is remembered goes with the lock when a savepoint is
-- rolled back to.
CREATE OR REPLACE FUNCTION {event_fence}() RETURNS void
  LANGUAGE plpgsql VOLATILE
  AS $$
    DECLARE
      taken CONSTANT text := 'mainspring.fence_' || pg_catalog.to_hex(pg_catalog.hashtext('{event_position}'));
      this CONSTANT text := pg_catalog.pg_current_xact_id()::text;
    BEGIN
      IF pg_catalog.current_setting(taken, true) = this THEN
        RETURN;
      END IF;
      PERFORM pg_catalog.pg_advisory_xact_lock_shared(
        ((pg_catalog.hashtext('{event_position}') & 32767)::bigint << 48) | (s.last_value - (NOT s.is_called)::int))
      FROM {event_position} s;
      PERFORM pg_catalog.set_config(taken, this, true);
    END
  $$;

-- Takes a partition out of the log with everything in it; how many events it had, and NULL when there is none. It waits for
-- whoever reads or writes the log, and they for it.
CREATE FUNCTION {drop_event_partition}(partition_name text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE
  AS $$
    DECLARE
      name text;
      gone bigint;
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{event_partitions}'), 0);
      SELECT p.relation INTO name FROM {event_partitions} p WHERE p.partition = partition_name AND p.tenant = '';
      IF name IS NULL THEN
        RETURN NULL;
      END IF;
      -- In the order in which writers take them.
      LOCK TABLE {streams} IN SHARE ROW EXCLUSIVE MODE;
      LOCK TABLE {events} IN ACCESS EXCLUSIVE MODE;
      EXECUTE pg_catalog.format('SELECT count(*) FROM {schema}.%I', name) INTO gone;
      gone := gone + (SELECT count(*) FROM {events_archive} WHERE partition = partition_name);
      EXECUTE pg_catalog.format('DROP TABLE {schema}.%I', name);
      DELETE FROM {events_archive} WHERE partition = partition_name;
      DELETE FROM {snapshots} WHERE partition = partition_name;
      DELETE FROM {streams} WHERE partition = partition_name;
      DELETE FROM {event_partitions} WHERE partition = partition_name;
      RETURN gone;
    END
  $$;

-- Empties the log, but for the histories of executions. Positions may begin anew when there are none of those.
CREATE FUNCTION {empty_log}(restart boolean) RETURNS boolean
  LANGUAGE plpgsql VOLATILE
  AS $$
    DECLARE
      name text;
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{event_partitions}'), 0);
      LOCK TABLE {streams} IN ACCESS EXCLUSIVE MODE;
      LOCK TABLE {events} IN ACCESS EXCLUSIVE MODE;
      IF restart AND EXISTS (SELECT FROM {events_executions}) THEN
        RETURN false;
      END IF;
      FOR name IN SELECT p.relation FROM {event_partitions} p WHERE p.tenant = '' LOOP
        EXECUTE pg_catalog.format('TRUNCATE {schema}.%I', name);
      END LOOP;
      TRUNCATE {streams}, {events_streams}, {events_archive}, {snapshots};
      IF restart THEN
        ALTER SEQUENCE {event_position} RESTART;
      END IF;
      RETURN true;
    END
  $$;
