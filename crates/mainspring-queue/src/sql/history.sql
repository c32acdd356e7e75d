-- Buckets begin at multiples of their width since 1970; the microseconds of a time fit a bigint until the year 294246.
WITH bucketed AS (
  SELECT us - us % $4::bigint AS bucket, ready, claimed, deferred, held, blocked, dead, oldest_us
  FROM (SELECT (extract(epoch FROM at) * 1000000)::bigint AS us, ready, claimed, deferred, held, blocked, dead, oldest_us
        FROM {queue_stats} WHERE queue = $1 AND at >= $2 AND at < $3) s
), points AS (
  SELECT bucket,
    CASE $6::text WHEN 'max' THEN max(ready) WHEN 'min' THEN min(ready) ELSE round(avg(ready)) END::bigint AS ready,
    CASE $6 WHEN 'max' THEN max(claimed) WHEN 'min' THEN min(claimed) ELSE round(avg(claimed)) END::bigint AS claimed,
    CASE $6 WHEN 'max' THEN max(deferred) WHEN 'min' THEN min(deferred) ELSE round(avg(deferred)) END::bigint AS deferred,
    CASE $6 WHEN 'max' THEN max(held) WHEN 'min' THEN min(held) ELSE round(avg(held)) END::bigint AS held,
    CASE $6 WHEN 'max' THEN max(blocked) WHEN 'min' THEN min(blocked) ELSE round(avg(blocked)) END::bigint AS blocked,
    CASE $6 WHEN 'max' THEN max(dead) WHEN 'min' THEN min(dead) ELSE round(avg(dead)) END::bigint AS dead,
    CASE $6 WHEN 'max' THEN max(oldest_us) WHEN 'min' THEN min(oldest_us) ELSE round(avg(oldest_us)) END::bigint AS oldest_us
  FROM bucketed GROUP BY bucket ORDER BY bucket DESC LIMIT $5
)
SELECT $1::text, to_timestamp(bucket / 1000000.0), ready, claimed, deferred, held, blocked, dead, oldest_us FROM points ORDER BY bucket
