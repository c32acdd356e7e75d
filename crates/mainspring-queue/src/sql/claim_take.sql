-- Who is claimed, one token for all, and a sign of life of the holder. What comes before ends within `others`.
-- A standby that missed the last moments hands out their numbers once more, so a token also has 20 bits of chance.
), next AS MATERIALIZED (
  SELECT row FROM suspects UNION ALL SELECT row FROM others
), claim AS MATERIALIZED (
  SELECT nextval('{claim_token}') * 1048576 + floor(random() * 1048576)::bigint AS token FROM next LIMIT 1
), alive AS (
  INSERT INTO {workers} AS w (id, expires_at, started_at, lease_us)
  SELECT $3, {now}() + $4::bigint * interval '1 microsecond', {now}(), $4 FROM claim
  ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, lease_us = excluded.lease_us
  WHERE w.expires_at < excluded.expires_at - $4::bigint * interval '0.5 microsecond'
