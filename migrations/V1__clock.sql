-- The one clock. Every statement of the library reads it, so a test can own time by replacing this function.
-- Declared STABLE, though clock_timestamp() is not, so that `x <= {now}()` may use an index; within one statement the
-- few microseconds between two calls do not matter. In plpgsql, whose plans are kept: an SQL function is planned anew by
-- every statement that calls it.
CREATE FUNCTION {now}() RETURNS timestamptz
  LANGUAGE plpgsql STABLE PARALLEL SAFE
  AS $$ BEGIN RETURN pg_catalog.clock_timestamp(); END $$;
