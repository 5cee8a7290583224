-- reporting_lags: one row per (facility, kind of fact): within how many days facts of the last two years became known, the last thirty days left out, of which
-- only the quick ones are known yet. `lag_days`: what 99 of 100 did not exceed, in whole days.
WITH lagged AS (
    SELECT s.facility, s.fact, greatest(0, to_unixtime(s.known_at) - to_unixtime(s.own_at)) AS seconds
    FROM reported_facts AS s JOIN watermarks AS w ON w.facility = s.facility
    WHERE s.own_at <= w.watermark - INTERVAL '30 days' AND s.own_at > w.watermark - INTERVAL '730 days'
),
ranked AS (
    SELECT facility, fact, seconds, row_number() OVER (PARTITION BY facility, fact ORDER BY seconds) AS place, count(*) OVER (PARTITION BY facility, fact) AS n
    FROM lagged
)
SELECT facility, fact, max(n) AS n,
       CAST(ceil(min(seconds) FILTER (WHERE place >= n * 0.5) / 86400.0) AS BIGINT) AS median_days,
       CAST(ceil(min(seconds) FILTER (WHERE place >= n * 0.99) / 86400.0) AS BIGINT) AS lag_days
FROM ranked GROUP BY facility, fact
