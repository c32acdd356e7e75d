-- As `claim_front.sql`, from where earlier claims left off. Each of $6 to $8 is a stretch of the order, the best first: its best and
-- its worst priority and the number it begins with. They are walked one after the other until there are enough.
WITH suspects AS MATERIALIZED (
  SELECT ctid AS row FROM {messages}
  WHERE queue = $1 AND holder IS NULL AND lost >= 2
  ORDER BY priority DESC, seq LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0 ELSE $5::bigint END
  FOR UPDATE SKIP LOCKED
), others AS MATERIALIZED (
  SELECT x.row FROM unnest($6::smallint[], $7::smallint[], $8::bigint[]) AS s(best, worst, first)
  CROSS JOIN LATERAL (
    SELECT m.ctid AS row FROM {messages} m
    WHERE m.queue = $1 AND m.priority BETWEEN s.worst AND s.best AND m.seq >= s.first AND m.holder IS NULL AND m.lost < 2
    ORDER BY m.priority DESC, m.seq
    FOR UPDATE SKIP LOCKED) x
  LIMIT CASE WHEN EXISTS (SELECT FROM {queues} WHERE name = $1) THEN 0
             ELSE $2::bigint - (SELECT count(*) FROM suspects) END
