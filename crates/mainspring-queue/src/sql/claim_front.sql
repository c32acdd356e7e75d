-- For queues that were never created; of others it brings nothing.
-- MATERIALIZED is a fence: without it the planner may run the limited subquery once per row and claim far too many.
-- The order of locks is the order of the index, and locked rows are skipped, so two claims never wait for each other.
WITH suspects AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost >= 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0 ELSE $5::bigint END
  FOR UPDATE SKIP LOCKED
), others AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost < 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0
                                    ELSE $2::bigint - (SELECT count(*) FROM suspects) END
  FOR UPDATE SKIP LOCKED
