-- The one clock. Every statement of the library reads it, so a test can own time by replacing this function.
-- Declared STABLE, though clock_timestamp() is not, so that `x <= {now}()` may use an index; within one statement the
-- few microseconds between two calls do not matter.
CREATE FUNCTION {now}() RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT pg_catalog.clock_timestamp() $$;
